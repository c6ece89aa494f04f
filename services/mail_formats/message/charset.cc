#include "services/mail_formats/message/charset.h"

#include <iconv.h>

#include <cerrno>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "services/common/utf8/utf8.h"

namespace posthouse::message {
namespace {

// windows-1252, 0x80 to 0x9F; 0 is undefined there.
constexpr uint16_t kWindows1252[32] = {0x20AC, 0,      0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021,
                                       0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0,      0x017D, 0,
                                       0,      0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
                                       0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0,      0x017E, 0x0178};

uint32_t FromWindows1252(uint8_t byte) {
  if (byte < 0x80 || byte > 0x9F) return byte;
  const uint16_t c = kWindows1252[byte - 0x80];
  return c == 0 ? kReplacementCharacter : c;
}

enum class Kind { kUtf8, kWindows1252, kGuess, kIconv };

struct Alias {
  absl::string_view name;
  absl::string_view iconv_name;
};
// Names that mail uses and iconv(3) does not know, or that mean a superset.
constexpr Alias kAliases[] = {
    {"shift_jis", "CP932"},      {"shift-jis", "CP932"},         {"sjis", "CP932"},
    {"x-sjis", "CP932"},         {"windows-31j", "CP932"},       {"gb2312", "GB18030"},
    {"gbk", "GB18030"},          {"x-gbk", "GB18030"},           {"hz-gb-2312", "HZ"},
    {"ks_c_5601-1987", "CP949"}, {"ks_c_5601", "CP949"},         {"euc-kr", "CP949"},
    {"big5", "BIG5-HKSCS"},      {"iso-8859-8-i", "ISO-8859-8"}, {"iso-8859-8-e", "ISO-8859-8"},
    {"iso-8859-9", "CP1254"},    {"iso-8859-11", "CP874"},       {"windows-874", "CP874"},
    {"tis-620", "CP874"},        {"x-mac-roman", "MACINTOSH"},   {"unicode-1-1-utf-7", "UTF-7"},
    {"x-euc-jp", "EUC-JP"},
};

// An iconv(3) name, or empty for one not to be asked for.
std::string IconvName(absl::string_view lower) {
  for (const Alias& alias : kAliases) {
    if (lower == alias.name) return std::string(alias.iconv_name);
  }
  if (lower.empty() || lower.size() > 40) return "";
  for (const char c : lower) {
    // No "/": iconv's suffixes are not the sender's to choose.
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && !absl::StrContains("-_.:+()", absl::string_view(&c, 1)))
      return "";
  }
  if (absl::StartsWith(lower, "cp-")) return absl::StartsWith(lower, "cp-0") ? "" : "CP" + std::string(lower.substr(3));
  return absl::AsciiStrToUpper(lower);
}

Kind KindOf(absl::string_view lower) {
  if (lower == "utf-8" || lower == "utf8" || lower == "unicode-1-1-utf-8") return Kind::kUtf8;
  // iso-8859-1's control characters 0x80-0x9F never occur in mail; windows-1252's
  // letters do, under either name.
  if (lower == "iso-8859-1" || lower == "iso8859-1" || lower == "latin1" || lower == "windows-1252" ||
      lower == "cp1252" || lower == "iso_8859-1" || lower == "iso-8859-1:1987") {
    return Kind::kWindows1252;
  }
  if (lower.empty() || lower == "us-ascii" || lower == "ascii" || lower == "ansi_x3.4-1968" || lower == "iso646-us" ||
      lower == "unknown-8bit" || lower == "x-unknown" || lower == "unknown" || lower == "default_charset" ||
      lower == "x-user-defined") {
    return Kind::kGuess;
  }
  return Kind::kIconv;
}

}  // namespace

struct CharsetDecoder::State {
  Kind kind = Kind::kGuess;
  bool known = true;
  iconv_t converter = reinterpret_cast<iconv_t>(-1);
  std::string carry;  // a cut-off character

  ~State() {
    if (converter != reinterpret_cast<iconv_t>(-1)) iconv_close(converter);
  }
  void Utf8(absl::string_view bytes, std::string* out);
  void Iconv(absl::string_view bytes, std::string* out);
};

void CharsetDecoder::State::Utf8(absl::string_view bytes, std::string* out) {
  size_t pos = 0;
  while (pos < bytes.size()) {
    size_t run = pos;
    while (run < bytes.size() && static_cast<uint8_t>(bytes[run]) < 0x80) ++run;
    out->append(bytes.data() + pos, run - pos);
    pos = run;
    if (pos == bytes.size()) return;
    uint32_t c = 0;
    const int length = Utf8Sequence(bytes.substr(pos), &c);
    if (length > 0) {
      out->append(bytes.data() + pos, static_cast<size_t>(length));
      pos += static_cast<size_t>(length);
    } else if (length < 0) {
      carry.assign(bytes.data() + pos, bytes.size() - pos);
      return;
    } else {
      AppendUtf8(kind == Kind::kGuess ? FromWindows1252(static_cast<uint8_t>(bytes[pos])) : kReplacementCharacter, out);
      ++pos;
    }
  }
}

void CharsetDecoder::State::Iconv(absl::string_view bytes, std::string* out) {
  char* in = const_cast<char*>(bytes.data());  // iconv(3) does not write to it
  size_t in_left = bytes.size();
  char buffer[4096];
  while (in_left > 0) {
    char* to = buffer;
    size_t room = sizeof(buffer);
    const size_t result = iconv(converter, &in, &in_left, &to, &room);
    const int error = errno;
    out->append(buffer, sizeof(buffer) - room);
    if (result != static_cast<size_t>(-1) || error == E2BIG) continue;
    if (error == EINVAL && in_left <= 16) {
      carry.assign(in, in_left);
      return;
    }
    AppendUtf8(kReplacementCharacter, out);
    ++in;
    --in_left;
  }
}

CharsetDecoder::CharsetDecoder(absl::string_view charset) : state_(std::make_unique<State>()) {
  const std::string lower = absl::AsciiStrToLower(absl::StripAsciiWhitespace(charset));
  state_->kind = KindOf(lower);
  if (state_->kind != Kind::kIconv) return;
  const std::string name = IconvName(lower);
  if (!name.empty()) state_->converter = iconv_open("UTF-8", name.c_str());
  if (state_->converter == reinterpret_cast<iconv_t>(-1)) {
    state_->kind = Kind::kGuess;
    state_->known = false;
  }
}

CharsetDecoder::~CharsetDecoder() = default;
CharsetDecoder::CharsetDecoder(CharsetDecoder&&) noexcept = default;

bool CharsetDecoder::known() const { return state_->known; }

void CharsetDecoder::Feed(absl::string_view chunk, std::string* out) {
  if (chunk.empty()) return;
  if (state_->kind == Kind::kWindows1252) {
    for (const char c : chunk) AppendUtf8(FromWindows1252(static_cast<uint8_t>(c)), out);
    return;
  }
  std::string joined;
  if (!state_->carry.empty()) {
    joined = std::exchange(state_->carry, {});
    joined.append(chunk.data(), chunk.size());
    chunk = joined;
  }
  if (state_->kind == Kind::kIconv) {
    state_->Iconv(chunk, out);
  } else {
    state_->Utf8(chunk, out);
  }
}

void CharsetDecoder::Finish(std::string* out) {
  const std::string carry = std::exchange(state_->carry, {});
  if (carry.empty()) return;
  if (state_->kind == Kind::kGuess) {
    for (const char c : carry) AppendUtf8(FromWindows1252(static_cast<uint8_t>(c)), out);
  } else {
    AppendUtf8(kReplacementCharacter, out);
  }
}

std::string ToUtf8(absl::string_view charset, absl::string_view bytes) {
  std::string out;
  CharsetDecoder decoder(charset);
  decoder.Feed(bytes, &out);
  decoder.Finish(&out);
  return out;
}

std::string GuessUtf8(absl::string_view bytes) {
  if (IsUtf8(bytes)) return std::string(bytes);
  // Not mixed: a field is one or the other.
  return ToUtf8("windows-1252", bytes);
}

uint32_t NextCodePoint(absl::string_view bytes, size_t* pos) {
  uint32_t c = 0;
  const int length = Utf8Sequence(bytes.substr(*pos), &c);
  if (length > 0) {
    *pos += static_cast<size_t>(length);
    return c;
  }
  ++*pos;
  return kReplacementCharacter;
}

}  // namespace posthouse::message
