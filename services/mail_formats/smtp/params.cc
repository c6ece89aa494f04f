#include "services/mail_formats/smtp/params.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/common/utf8/utf8.h"
#include "services/mail_formats/smtp/xtext.h"

namespace posthouse::smtp {
namespace {

constexpr size_t kMaxEnvid = 100;  // RFC 3461 §4.4
constexpr size_t kMaxOrcpt = 500;  // RFC 3461 §4.2
constexpr size_t kMaxAuth = 500;   // RFC 4954 §5

bool IsControl(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }
bool HasControl(absl::string_view text) { return std::any_of(text.begin(), text.end(), IsControl); }

struct NotifyWord {
  const char* text;
  bool Notify::* flag;
};
constexpr NotifyWord kNotifyWords[] = {
    {"NEVER", &Notify::never}, {"SUCCESS", &Notify::success}, {"FAILURE", &Notify::failure}, {"DELAY", &Notify::delay}};

bool IsAddressType(absl::string_view type) {
  return !type.empty() && std::all_of(type.begin(), type.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-';
  });
}

bool IsUtf8Type(const Orcpt& orcpt) { return absl::EqualsIgnoreCase(orcpt.type, "utf-8"); }

}  // namespace

std::string Notify::ToString() const {
  if (never) return "NEVER";  // RFC 3461 §4.1: it must stand alone
  std::string out;
  for (const NotifyWord& word : kNotifyWords) {
    if (this->*word.flag) absl::StrAppend(&out, out.empty() ? "" : ",", word.text);
  }
  return out;
}

std::string Orcpt::ToString() const { return given() ? absl::StrCat(type, ";", address) : ""; }

Orcpt Orcpt::FromString(absl::string_view text) {
  const size_t semicolon = text.find(';');
  if (semicolon == absl::string_view::npos) return {};
  return {std::string(text.substr(0, semicolon)), std::string(text.substr(semicolon + 1))};
}

std::optional<uint64_t> ParseSize(absl::string_view value) {
  uint64_t size = 0;
  const bool digits = !value.empty() && value.size() <= 20 && std::all_of(value.begin(), value.end(), [](char c) {
    return absl::ascii_isdigit(static_cast<unsigned char>(c));
  });
  if (!digits || !absl::SimpleAtoi(value, &size)) return std::nullopt;
  return size;
}

std::optional<Body> ParseBody(absl::string_view value) {
  if (absl::EqualsIgnoreCase(value, "7BIT")) return Body::kSevenBit;
  if (absl::EqualsIgnoreCase(value, "8BITMIME")) return Body::kEightBitMime;
  if (absl::EqualsIgnoreCase(value, "BINARYMIME")) return Body::kBinaryMime;
  return std::nullopt;
}

std::optional<Ret> ParseRet(absl::string_view value) {
  if (absl::EqualsIgnoreCase(value, "FULL")) return Ret::kFull;
  if (absl::EqualsIgnoreCase(value, "HDRS")) return Ret::kHeaders;
  return std::nullopt;
}

std::optional<std::string> ParseEnvid(absl::string_view value) {
  std::optional<std::string> decoded = DecodeXtext(value);
  if (value.empty() || value.size() > kMaxEnvid || !decoded.has_value()) return std::nullopt;
  if (HasControl(*decoded) || !IsAscii(*decoded)) return std::nullopt;
  return decoded;
}

std::optional<std::string> ParseAuth(absl::string_view value) {
  if (value.empty() || value.size() > kMaxAuth) return std::nullopt;
  return DecodeXtext(value);
}

// notify-esmtp-value = "NEVER" / 1#notify-list-element
std::optional<Notify> ParseNotify(absl::string_view value) {
  Notify notify;
  for (const absl::string_view item : absl::StrSplit(value, ',')) {
    const NotifyWord* const word = std::find_if(std::begin(kNotifyWords), std::end(kNotifyWords),
                                                [&](const auto& w) { return absl::EqualsIgnoreCase(item, w.text); });
    if (word == std::end(kNotifyWords)) return std::nullopt;
    notify.*word->flag = true;
  }
  if (notify.never && (notify.success || notify.failure || notify.delay)) return std::nullopt;
  return notify;
}

// original-recipient-address = addr-type ";" xtext, at most 500 characters.
// RFC 6533 §3: type "utf-8" has UTF-8 (or \x{...}) in place of xtext; kept as given.
std::optional<Orcpt> ParseOrcpt(absl::string_view value) {
  Orcpt orcpt = Orcpt::FromString(value);
  if (value.size() > kMaxOrcpt || !IsAddressType(orcpt.type) || orcpt.address.empty()) return std::nullopt;
  if (IsUtf8Type(orcpt)) {
    if (!IsUtf8(orcpt.address)) return std::nullopt;
    return orcpt;
  }
  std::optional<std::string> decoded = DecodeXtext(orcpt.address);
  if (!decoded.has_value() || HasControl(*decoded)) return std::nullopt;
  orcpt.address = *std::move(decoded);
  return orcpt;
}

absl::string_view EncodeRet(Ret ret) { return ret == Ret::kFull ? "FULL" : "HDRS"; }

std::string EncodeEnvid(absl::string_view envid) { return EncodeXtext(envid); }

std::string EncodeOrcpt(const Orcpt& orcpt, bool smtputf8) {
  if (!IsAddressType(orcpt.type)) return "";
  if (!IsUtf8Type(orcpt)) return absl::StrCat(orcpt.type, ";", EncodeXtext(orcpt.address));
  const bool plain = !HasControl(orcpt.address) && !absl::StrContains(orcpt.address, ' ');
  return plain && (smtputf8 || IsAscii(orcpt.address)) ? orcpt.ToString() : "";
}

}  // namespace posthouse::smtp
