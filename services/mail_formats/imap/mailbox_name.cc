#include "services/mail_formats/imap/mailbox_name.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/utf8/utf8.h"

namespace posthouse::imap {
namespace {

constexpr char kBase64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";
constexpr size_t kMaxNameBytes = 1000;
constexpr size_t kMaxPatternBytes = 1024;

int Base64Value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  if (c == ',') return 63;
  return -1;
}

// Reads one code point; -1: not UTF-8 (overlong forms and surrogates included).
int32_t NextCodePoint(absl::string_view text, size_t* at) {
  uint32_t code = 0;
  const int length = Utf8Sequence(text.substr(*at), &code);
  if (length <= 0) return -1;
  *at += static_cast<size_t>(length);
  return static_cast<int32_t>(code);
}

// Decodes one "&...-" run from after the "&"; `at` is moved behind the "-".
bool DecodeShifted(absl::string_view wire, size_t* at, std::string* out) {
  uint32_t bits = 0;
  int have = 0;
  uint32_t high = 0;  // a high surrogate waits for its other half
  for (; *at < wire.size() && wire[*at] != '-'; ++*at) {
    const int value = Base64Value(wire[*at]);
    if (value < 0) return false;
    bits = bits << 6 | static_cast<uint32_t>(value);
    have += 6;
    if (have < 16) continue;
    have -= 16;
    const uint32_t unit = bits >> have & 0xffff;
    bits &= (1u << have) - 1;
    if (high != 0) {
      if (unit < 0xdc00 || unit > 0xdfff) return false;
      AppendUtf8(0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00), out);
      high = 0;
    } else if (unit >= 0xd800 && unit < 0xdc00) {
      high = unit;
    } else if (unit >= 0xdc00 && unit < 0xe000) {
      return false;
    } else {
      AppendUtf8(unit, out);
    }
  }
  if (*at >= wire.size()) return false;  // the shift is never closed
  ++*at;
  return high == 0 && have < 6 && bits == 0;
}

// INBOX is case-insensitive, as a whole name and as the first level (RFC 9051 §5.1).
void CanonicalInbox(std::string& name) {
  if (absl::StartsWithIgnoreCase(name, "INBOX") && (name.size() == 5 || name[5] == kSeparator)) {
    name.replace(0, 5, "INBOX");
  }
}

std::string DecodeLoosely(absl::string_view wire, bool utf8) {
  if (utf8) return std::string(wire);
  std::optional<std::string> decoded = DecodeModifiedUtf7(wire);
  return decoded.has_value() ? *std::move(decoded) : std::string(wire);
}

}  // namespace

std::string EncodeModifiedUtf7(absl::string_view utf8) {
  std::string out;
  uint32_t bits = 0;
  int have = 0;
  bool shifted = false;
  const auto unit = [&](uint32_t value) {
    bits = bits << 16 | value;
    have += 16;
    while (have >= 6) {
      have -= 6;
      out.push_back(kBase64[bits >> have & 63]);
    }
    bits &= (1u << have) - 1;
  };
  const auto close = [&] {
    if (!shifted) return;
    if (have > 0) out.push_back(kBase64[bits << (6 - have) & 63]);
    out.push_back('-');
    bits = 0;
    have = 0;
    shifted = false;
  };
  for (size_t at = 0; at < utf8.size();) {
    int32_t code = NextCodePoint(utf8, &at);
    if (code < 0) {
      ++at;
      code = 0xfffd;
    }
    if (code >= 0x20 && code < 0x7f) {
      close();
      out.push_back(static_cast<char>(code));
      if (code == '&') out.push_back('-');
      continue;
    }
    if (!shifted) out.push_back('&');
    shifted = true;
    if (code >= 0x10000) {
      unit(0xd800 + (static_cast<uint32_t>(code - 0x10000) >> 10));
      unit(0xdc00 + (static_cast<uint32_t>(code - 0x10000) & 0x3ff));
    } else {
      unit(static_cast<uint32_t>(code));
    }
  }
  close();
  return out;
}

std::optional<std::string> DecodeModifiedUtf7(absl::string_view wire) {
  std::string out;
  for (size_t at = 0; at < wire.size();) {
    const char c = wire[at];
    if (c != '&') {
      // Some clients send raw UTF-8 although they must not; it is kept.
      out.push_back(c);
      ++at;
      continue;
    }
    ++at;
    if (at < wire.size() && wire[at] == '-') {
      out.push_back('&');
      ++at;
    } else if (!DecodeShifted(wire, &at, &out)) {
      return std::nullopt;
    }
  }
  if (!IsUtf8(out)) return std::nullopt;
  return out;
}

std::optional<std::string> DecodeMailboxName(absl::string_view wire, bool utf8) {
  if (wire.size() > 4 * kMaxNameBytes) return std::nullopt;
  std::optional<std::string> name = utf8 ? std::string(wire) : DecodeModifiedUtf7(wire);
  if (!name.has_value() || !IsUtf8(*name)) return std::nullopt;
  if (!name->empty() && name->back() == kSeparator) name->pop_back();
  const bool control = std::any_of(name->begin(), name->end(), [](char c) { return absl::ascii_iscntrl(c); });
  if (name->empty() || control || name->size() > kMaxNameBytes) return std::nullopt;
  if (name->front() == kSeparator || name->back() == kSeparator || absl::StrContains(*name, "//")) return std::nullopt;
  CanonicalInbox(*name);
  return name;
}

ListPattern::ListPattern(absl::string_view reference, absl::string_view pattern, bool utf8) {
  pattern_ = absl::StrCat(DecodeLoosely(reference, utf8), DecodeLoosely(pattern, utf8));
  if (pattern_.size() > kMaxPatternBytes) pattern_.resize(kMaxPatternBytes);
}

bool ListPattern::Matches(absl::string_view name) const {
  const size_t inbox = absl::StartsWith(name, "INBOX") && (name.size() == 5 || name[5] == kSeparator) ? 5 : 0;
  // states[i]: the first i characters of the pattern match what was read so far.
  std::vector<bool> states(pattern_.size() + 1, false);
  const auto pass_wildcards = [this](std::vector<bool>& at) {  // a wildcard may match nothing
    for (size_t i = 0; i < pattern_.size(); ++i) {
      if (at[i] && (pattern_[i] == '*' || pattern_[i] == '%')) at[i + 1] = true;
    }
  };
  states[0] = true;
  pass_wildcards(states);
  for (size_t n = 0; n < name.size(); ++n) {
    const char c = name[n];
    std::vector<bool> next(pattern_.size() + 1, false);
    for (size_t i = 0; i < pattern_.size(); ++i) {
      if (!states[i]) continue;
      const char p = pattern_[i];
      if (p == '*' || (p == '%' && c != kSeparator)) next[i] = true;
      const bool same = n < inbox ? absl::ascii_tolower(p) == absl::ascii_tolower(c) : p == c;
      if (same && p != '*' && p != '%') next[i + 1] = true;
    }
    states.swap(next);
    pass_wildcards(states);
  }
  return states[pattern_.size()];
}

}  // namespace posthouse::imap
