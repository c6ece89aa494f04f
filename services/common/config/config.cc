#include "services/common/config/config.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/duration.pb.h>
#include <google/protobuf/message.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <limits>
#include <set>
#include <system_error>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/cli/suggest.h"
#include "services/common/status/status.h"

namespace posthouse::config {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Limits of a file, so that no file exhausts memory or stack.
constexpr size_t kMaxFileBytes = 4 * 1024 * 1024;

std::string Nearest(const Descriptor& type, absl::string_view key) {
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
  const std::string nearest = cli::Nearest(key, names);
  return nearest.empty() ? absl::StrCat("allowed here: ", absl::StrJoin(names, ", "))
                         : absl::StrCat("did you mean \"", nearest, "\"?");
}

bool IsDuration(const FieldDescriptor& field) {
  return field.message_type() != nullptr && field.message_type()->full_name() == "google.protobuf.Duration";
}

class Loader {
 public:
  Loader(absl::string_view file, const cli::Environment& environment) : file_(file), environment_(environment) {}

  absl::Status Fill(const YAML::Node& node, const std::string& path, Message& message) const {
    if (node.IsNull()) return absl::OkStatus();  // "ingress:" with nothing below
    if (!node.IsMap()) return Error(node, path, "must be a mapping of keys");
    std::set<std::string> seen;
    for (const auto& entry : node) {
      if (!entry.first.IsScalar()) return Error(entry.first, path, "keys are plain words");
      const std::string key = entry.first.Scalar();
      const std::string key_path = path.empty() ? key : absl::StrCat(path, ".", key);
      const FieldDescriptor* const field = message.GetDescriptor()->FindFieldByName(key);
      if (field == nullptr) {
        return Error(entry.first, key_path, absl::StrCat("unknown key (", Nearest(*message.GetDescriptor(), key), ")"));
      }
      if (!seen.insert(key).second) return Error(entry.first, key_path, "this key is written twice");
      PH_RETURN_IF_ERROR(SetField(entry.second, key_path, *field, message));
    }
    return absl::OkStatus();
  }

  absl::Status Error(const YAML::Node& node, const std::string& path, absl::string_view what) const {
    const YAML::Mark mark = node.Mark();
    return absl::InvalidArgumentError(absl::StrCat(file_, ":", mark.line + 1, ":", mark.column + 1, ": ",
                                                   path.empty() ? "the file" : path, ": ", what));
  }

 private:
  absl::Status SetField(const YAML::Node& node, const std::string& path, const FieldDescriptor& field,
                        Message& message) const {
    if (!field.is_repeated()) return SetValue(node, path, field, message);
    if (node.IsNull()) return absl::OkStatus();
    if (!node.IsSequence()) return Error(node, path, "must be a list");
    int i = 0;
    for (const YAML::Node& element : node) {
      PH_RETURN_IF_ERROR(SetValue(element, absl::StrCat(path, "[", i++, "]"), field, message));
    }
    return absl::OkStatus();
  }

  absl::Status SetValue(const YAML::Node& node, const std::string& path, const FieldDescriptor& field,
                        Message& message) const {
    const Reflection& reflection = *message.GetReflection();
    if (field.message_type() != nullptr && !IsDuration(field)) {
      Message* const child =
          field.is_repeated() ? reflection.AddMessage(&message, &field) : reflection.MutableMessage(&message, &field);
      return Fill(node, path, *child);
    }
    if (!node.IsScalar()) return Error(node, path, absl::StrCat("must be ", TypeName(field)));
    const absl::StatusOr<std::string> replaced = ReplaceVariables(node.Scalar(), environment_);
    if (!replaced.ok()) return Error(node, path, replaced.status().message());
    const std::string& text = *replaced;
    if (IsDuration(field)) {
      const absl::StatusOr<int64_t> nanos = ParseDurationNanos(text);
      if (!nanos.ok()) return Error(node, path, nanos.status().message());
      auto* const duration = static_cast<google::protobuf::Duration*>(reflection.MutableMessage(&message, &field));
      duration->set_seconds(*nanos / 1'000'000'000);
      duration->set_nanos(static_cast<int32_t>(*nanos % 1'000'000'000));
      return absl::OkStatus();
    }
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        if (text.find('\0') != std::string::npos) return Error(node, path, "must not hold NUL");
        if (field.is_repeated()) {
          reflection.AddString(&message, &field, text);
        } else {
          reflection.SetString(&message, &field, text);
        }
        return absl::OkStatus();
      case FieldDescriptor::CPPTYPE_BOOL:
        if (text != "true" && text != "false")
          return Error(node, path, absl::StrCat("\"", text, "\": must be true or false"));
        reflection.SetBool(&message, &field, text == "true");
        return absl::OkStatus();
      case FieldDescriptor::CPPTYPE_DOUBLE: {
        double value;
        if (!absl::SimpleAtod(text, &value) || value < 0)
          return Error(node, path, absl::StrCat("\"", text, "\": must be a number, not negative"));
        reflection.SetDouble(&message, &field, value);
        return absl::OkStatus();
      }
      default:
        return SetInteger(node, text, path, field, message);
    }
  }

  absl::Status SetInteger(const YAML::Node& node, const std::string& text, const std::string& path,
                          const FieldDescriptor& field, Message& message) const {
    const bool is_size = absl::EndsWith(field.name(), "_bytes");
    const uint64_t max = field.name() == "port"                                ? 65535
                         : field.cpp_type() == FieldDescriptor::CPPTYPE_UINT32 ? std::numeric_limits<uint32_t>::max()
                                                                               : std::numeric_limits<uint64_t>::max();
    uint64_t value = 0;
    if (is_size) {
      const absl::StatusOr<uint64_t> size = ParseSize(text);
      if (!size.ok()) return Error(node, path, size.status().message());
      value = *size;
    } else if (!absl::SimpleAtoi(text, &value)) {
      return Error(node, path, absl::StrCat("\"", text, "\": must be a whole number, 0 to ", max));
    }
    if (value > max) return Error(node, path, absl::StrCat("\"", text, "\": must be at most ", max));
    const Reflection& reflection = *message.GetReflection();
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_UINT32) {
      reflection.SetUInt32(&message, &field, static_cast<uint32_t>(value));
    } else {
      reflection.SetUInt64(&message, &field, value);
    }
    return absl::OkStatus();
  }

  static absl::string_view TypeName(const FieldDescriptor& field) {
    if (IsDuration(field)) return "a duration like \"30s\"";
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        return "a text";
      case FieldDescriptor::CPPTYPE_BOOL:
        return "true or false";
      default:
        return "a number";
    }
  }

  const std::string file_;
  const cli::Environment& environment_;
};

std::string Quoted(absl::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out + "\"";
}

// "scheme://user:secret@host" without "user:secret@".
std::string WithoutUserinfo(const std::string& text) {
  const size_t scheme = text.find("://");
  const size_t at = text.find('@', scheme == std::string::npos ? 0 : scheme);
  if (scheme == std::string::npos || at == std::string::npos) return text;
  return absl::StrCat(text.substr(0, scheme + 3), "[redacted]", text.substr(at));
}

std::string ScalarText(const Message& message, const FieldDescriptor& field, int index) {
  const Reflection& reflection = *message.GetReflection();
  const bool repeated = index >= 0;
  if (IsDuration(field)) {
    const auto& d = static_cast<const google::protobuf::Duration&>(reflection.GetMessage(message, &field));
    return d.nanos() == 0 ? absl::StrCat("\"", d.seconds(), "s\"")
                          : absl::StrCat("\"", d.seconds() * 1000 + d.nanos() / 1000000, "ms\"");
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return Quoted(WithoutUserinfo(repeated ? reflection.GetRepeatedString(message, &field, index)
                                             : reflection.GetString(message, &field)));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_UINT32:
      return absl::StrCat(reflection.GetUInt32(message, &field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return absl::StrCat(reflection.GetUInt64(message, &field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return absl::StrCat(reflection.GetDouble(message, &field));
    default:
      return "";
  }
}

void Print(const Message& message, const std::string& indent, std::string* out);

// A key that is set, with the keys below it.
void PrintField(const Message& message, const FieldDescriptor& field, const std::string& indent, std::string* out) {
  const Reflection& reflection = *message.GetReflection();
  const bool nested = field.message_type() != nullptr && !IsDuration(field);
  if (!field.is_repeated()) {
    absl::StrAppend(out, indent, field.name(), nested ? ":\n" : ": ");
    if (nested) {
      Print(reflection.GetMessage(message, &field), indent + "  ", out);
    } else {
      absl::StrAppend(out, ScalarText(message, field, -1), "\n");
    }
    return;
  }
  absl::StrAppend(out, indent, field.name(), ":\n");
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    if (nested) {
      std::string element;
      Print(reflection.GetRepeatedMessage(message, &field, i), indent + "    ", &element);
      const size_t start = std::min(element.size(), indent.size() + 4);
      absl::StrAppend(out, indent, "  - ", element.empty() ? "{}\n" : element.substr(start));
    } else {
      absl::StrAppend(out, indent, "  - ", ScalarText(message, field, i), "\n");
    }
  }
}

void Print(const Message& message, const std::string& indent, std::string* out) {
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) PrintField(message, *field, indent, out);
}

bool IsSet(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  return field.is_repeated() ? reflection.FieldSize(message, &field) > 0 : reflection.HasField(message, &field);
}

void Compare(const Message& before, const Message& after, const std::string& path, std::vector<std::string>* changed) {
  for (int i = 0; i < before.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *before.GetDescriptor()->field(i);
    const std::string key = path.empty() ? field.name() : absl::StrCat(path, ".", field.name());
    if (!field.is_repeated() && field.message_type() != nullptr && !IsDuration(field)) {
      Compare(before.GetReflection()->GetMessage(before, &field), after.GetReflection()->GetMessage(after, &field), key,
              changed);
      continue;
    }
    std::string old_text, new_text;
    if (IsSet(before, field)) PrintField(before, field, "", &old_text);
    if (IsSet(after, field)) PrintField(after, field, "", &new_text);
    if (old_text != new_text) changed->push_back(key);
  }
}

}  // namespace

absl::StatusOr<v1::Config> Parse(absl::string_view yaml, absl::string_view name, const cli::Environment& environment) {
  v1::Config config;
  if (yaml.size() > kMaxFileBytes)
    return absl::InvalidArgumentError(absl::StrCat(name, ": larger than ", kMaxFileBytes, " bytes"));
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(std::string(yaml));
    if (documents.size() > 1)
      return absl::InvalidArgumentError(absl::StrCat(name, ": holds more than one YAML document"));
    const Loader loader(name, environment);
    if (!documents.empty()) PH_RETURN_IF_ERROR(loader.Fill(documents[0], "", config));
    if (const absl::Status status = ExpandOrdinals(&config); !status.ok()) return Annotate(status, name);
  } catch (const YAML::Exception& e) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ":", e.mark.line + 1, ":", e.mark.column + 1, ": not YAML: ", e.msg));
  }
  return config;
}

absl::StatusOr<v1::Config> LoadFile(const std::string& path) {
  const auto unreadable = [&path](absl::string_view why) {
    return absl::NotFoundError(absl::StrCat(path, ": cannot read the configuration: ", why));
  };
  // A folder is the classic mistake with a mounted ConfigMap; reading one throws.
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return unreadable("it is a directory; name the file in it");
  FILE* const file = std::fopen(path.c_str(), "rbe");
  if (file == nullptr) return unreadable(strerror(errno));
  // One byte more than allowed, so that Parse() refuses; /dev/zero has no end.
  std::string text(kMaxFileBytes + 1, '\0');
  errno = 0;
  text.resize(std::fread(text.data(), 1, text.size(), file));
  const int failure = std::ferror(file) != 0 ? errno : 0;
  std::fclose(file);
  if (failure != 0) return unreadable(strerror(failure));
  return Parse(text, path);
}

std::string Redacted(const v1::Config& config) {
  std::string out;
  Print(config, "", &out);
  return out.empty() ? "# every key has its default\n" : out;
}

std::vector<std::string> ChangedKeys(const v1::Config& before, const v1::Config& after) {
  std::vector<std::string> changed;
  Compare(before, after, "", &changed);
  return changed;
}

}  // namespace posthouse::config
