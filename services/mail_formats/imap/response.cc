#include "services/mail_formats/imap/response.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "services/mail_formats/imap/mailbox_name.h"

namespace posthouse::imap {
namespace {

constexpr size_t kMaxQuoted = 1024;

bool IsPlainAStringChar(char c) {
  const auto u = static_cast<unsigned char>(c);
  return u > 0x20 && u < 0x7f && absl::string_view("(){%*\"\\").find(c) == absl::string_view::npos;
}

void AppendQuoted(std::string& out, absl::string_view value) {
  out.push_back('"');
  for (const char c : value) {
    if (c == '"' || c == '\\') out.push_back('\\');
    out.push_back(c);
  }
  out.push_back('"');
}

}  // namespace

bool IsQuotable(absl::string_view value) {
  return value.size() <= kMaxQuoted && std::all_of(value.begin(), value.end(), [](char c) {
           return c != '\r' && c != '\n' && c != '\0' && static_cast<unsigned char>(c) < 0x80;
         });
}

void AppendString(std::string& out, absl::string_view value) {
  if (IsQuotable(value)) {
    AppendQuoted(out, value);
    return;
  }
  absl::StrAppend(&out, "{", value.size(), "}\r\n", value);
  std::replace(out.end() - static_cast<ptrdiff_t>(value.size()), out.end(), '\0', '?');
}

void AppendAString(std::string& out, absl::string_view value) {
  const bool atom = !value.empty() && std::all_of(value.begin(), value.end(), IsPlainAStringChar) &&
                    !(value.size() == 3 && (value[0] | 32) == 'n' && (value[1] | 32) == 'i' && (value[2] | 32) == 'l');
  if (atom) {
    absl::StrAppend(&out, value);
  } else {
    AppendString(out, value);
  }
}

void AppendMailbox(std::string& out, absl::string_view name, bool utf8) {
  if (utf8) {
    AppendQuoted(out, name);
  } else {
    AppendQuoted(out, EncodeModifiedUtf7(name));
  }
}

void AppendFlagList(std::string& out, uint32_t system, const std::vector<absl::string_view>& extra) {
  static constexpr struct {
    uint32_t bit;
    absl::string_view name;
  } kNames[] = {{kAnswered, "\\Answered"},
                {kFlagged, "\\Flagged"},
                {kDeleted, "\\Deleted"},
                {kSeen, "\\Seen"},
                {kDraft, "\\Draft"}};
  out.push_back('(');
  const size_t start = out.size();
  for (const auto& flag : kNames) {
    if ((system & flag.bit) == 0) continue;
    absl::StrAppend(&out, out.size() > start ? " " : "", flag.name);
  }
  for (const absl::string_view name : extra) absl::StrAppend(&out, out.size() > start ? " " : "", name);
  out.push_back(')');
}

void AppendDateTime(std::string& out, const DateTime& date) {
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const int zone = std::clamp(date.zone_minutes, -15 * 60, 15 * 60);
  const absl::CivilSecond t =
      absl::ToCivilSecond(absl::FromUnixSeconds(date.seconds + int64_t{60} * zone), absl::UTCTimeZone());
  char text[64];
  std::snprintf(text, sizeof text, "\"%02d-%s-%04d %02d:%02d:%02d %c%02d%02d\"", t.day(), kMonths[t.month() - 1],
                static_cast<int>(std::clamp<int64_t>(t.year(), 0, 9999)), t.hour(), t.minute(), t.second(),
                zone < 0 ? '-' : '+', std::abs(zone) / 60, std::abs(zone) % 60);
  out += text;
}

void AppendText(std::string& out, absl::string_view text) {
  for (const char c : text.substr(0, 400)) {
    const auto u = static_cast<unsigned char>(c);
    out.push_back(u < 0x20 || u >= 0x7f ? '?' : c);
  }
}

}  // namespace posthouse::imap
