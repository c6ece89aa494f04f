#include "tools/posthousectl/output.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/duration.pb.h>
#include <google/protobuf/message.h>
#include <google/protobuf/timestamp.pb.h>

#include <algorithm>
#include <limits>
#include <ostream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/common/log/json.h"
#include "services/common/time/proto_time.h"
#include "services/common/utf8/utf8.h"

namespace posthouse::ctl {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

void AppendText(absl::string_view text, std::string* out) {
  log::AppendJsonString(text, std::numeric_limits<size_t>::max(), out);
}

void AppendMessage(const Message& message, std::string* out);

// One value: a singular field, or entry `index` of a repeated one.
void AppendValue(const Message& message, const FieldDescriptor* field, int index, std::string* out) {
  const Reflection& r = *message.GetReflection();
  const bool many = field->is_repeated();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      absl::StrAppend(out, many ? r.GetRepeatedInt32(message, field, index) : r.GetInt32(message, field));
      return;
    case FieldDescriptor::CPPTYPE_INT64:
      absl::StrAppend(out, many ? r.GetRepeatedInt64(message, field, index) : r.GetInt64(message, field));
      return;
    case FieldDescriptor::CPPTYPE_UINT32:
      absl::StrAppend(out, many ? r.GetRepeatedUInt32(message, field, index) : r.GetUInt32(message, field));
      return;
    case FieldDescriptor::CPPTYPE_UINT64:
      absl::StrAppend(out, many ? r.GetRepeatedUInt64(message, field, index) : r.GetUInt64(message, field));
      return;
    case FieldDescriptor::CPPTYPE_DOUBLE:
      absl::StrAppend(out, many ? r.GetRepeatedDouble(message, field, index) : r.GetDouble(message, field));
      return;
    case FieldDescriptor::CPPTYPE_FLOAT:
      absl::StrAppend(out, many ? r.GetRepeatedFloat(message, field, index) : r.GetFloat(message, field));
      return;
    case FieldDescriptor::CPPTYPE_BOOL:
      out->append((many ? r.GetRepeatedBool(message, field, index) : r.GetBool(message, field)) ? "true" : "false");
      return;
    case FieldDescriptor::CPPTYPE_ENUM:
      AppendText((many ? r.GetRepeatedEnum(message, field, index) : r.GetEnum(message, field))->name(), out);
      return;
    case FieldDescriptor::CPPTYPE_STRING:
      AppendText(many ? r.GetRepeatedString(message, field, index) : r.GetString(message, field), out);
      return;
    case FieldDescriptor::CPPTYPE_MESSAGE:
      AppendMessage(many ? r.GetRepeatedMessage(message, field, index) : r.GetMessage(message, field), out);
      return;
  }
}

void AppendMessage(const Message& message, std::string* out) {
  const google::protobuf::Descriptor* type = message.GetDescriptor();
  if (type == google::protobuf::Timestamp::descriptor()) {
    const absl::Time time = FromProto(static_cast<const google::protobuf::Timestamp&>(message));
    AppendText(absl::FormatTime("%Y-%m-%d%ET%H:%M:%E3SZ", time, absl::UTCTimeZone()), out);
    return;
  }
  if (type == google::protobuf::Duration::descriptor()) {
    const auto& span = static_cast<const google::protobuf::Duration&>(message);
    absl::StrAppend(out, static_cast<double>(span.seconds()) + span.nanos() / 1e9);
    return;
  }
  // A number or an answer of yes or no is there when it is 0 or false, too: scripts need not know the default.
  std::vector<const FieldDescriptor*> fields;
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* const field = type->field(i);
    const bool plain = !field->is_repeated() && !field->has_presence() &&
                       field->cpp_type() != FieldDescriptor::CPPTYPE_STRING &&
                       field->cpp_type() != FieldDescriptor::CPPTYPE_ENUM;
    const bool set = field->is_repeated() ? message.GetReflection()->FieldSize(message, field) > 0
                                          : message.GetReflection()->HasField(message, field);
    if (plain || set) fields.push_back(field);
  }
  out->push_back('{');
  bool first = true;
  for (const FieldDescriptor* field : fields) {
    if (!first) out->push_back(',');
    first = false;
    AppendText(field->name(), out);
    out->push_back(':');
    if (!field->is_repeated()) {
      AppendValue(message, field, 0, out);
      continue;
    }
    out->push_back('[');
    const int count = message.GetReflection()->FieldSize(message, field);
    for (int i = 0; i < count; ++i) {
      if (i > 0) out->push_back(',');
      AppendValue(message, field, i, out);
    }
    out->push_back(']');
  }
  out->push_back('}');
}

// Columns on a terminal, roughly: one for each code point.
size_t Width(absl::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

std::string Table(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const std::string& cell : head) widths.push_back(Width(cell));
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Width(row[i]));
  }
  std::string out;
  const auto line = [&](const std::vector<std::string>& cells) {
    for (size_t i = 0; i < cells.size(); ++i) {
      out.append(cells[i]);
      if (i + 1 < cells.size()) out.append(widths[i] - Width(cells[i]) + 2, ' ');
    }
    out.push_back('\n');
  };
  line(head);
  for (const auto& row : rows) line(row);
  return out;
}

std::string ToJson(const Message& message) {
  std::string out;
  AppendMessage(message, &out);
  return out;
}

std::string Printable(absl::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    const char c = text[0];
    if (length == 0) {
      out.append("\xEF\xBF\xBD");  // U+FFFD
    } else if (length > 1) {
      out.append(text.data(), length);
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out.push_back(' ');
    } else {
      out.push_back(absl::ascii_iscntrl(static_cast<unsigned char>(c)) ? '?' : c);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

std::string ShowTime(absl::Time time) {
  if (time == absl::UnixEpoch()) return "-";
  return absl::FormatTime("%Y-%m-%d %H:%M:%E3S %Ez", time, absl::LocalTimeZone());
}

std::string FormatBytes(uint64_t bytes) {
  if (bytes < 1024) return absl::StrCat(bytes, " B");
  double value = static_cast<double>(bytes) / 1024;
  const char* const units[] = {"KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(units)) {
    value /= 1024;
    ++unit;
  }
  return absl::StrFormat("%.1f %s", value, units[unit]);
}

std::string FormatAge(absl::Duration age) {
  if (age < absl::Seconds(1)) return absl::StrFormat("%d ms", std::max<int64_t>(0, absl::ToInt64Milliseconds(age)));
  if (age < absl::Minutes(2)) return absl::StrFormat("%.1f s", absl::ToDoubleSeconds(age));
  if (age < absl::Hours(2)) return absl::StrFormat("%d min", absl::ToInt64Minutes(age));
  if (age < absl::Hours(48)) return absl::StrFormat("%d h", absl::ToInt64Hours(age));
  return absl::StrFormat("%d d", absl::ToInt64Hours(age) / 24);
}

Listing::Listing(bool json, std::ostream& out, std::vector<std::string> head)
    : json_(json), out_(out), head_(std::move(head)) {}

void Listing::Add(const Message& message, std::vector<std::string> row) {
  if (json_) out_ << ToJson(message) << "\n";
  rows_.push_back(std::move(row));
}

void Listing::Finish() const {
  if (!json_) out_ << Table(head_, rows_);
}

}  // namespace posthouse::ctl
