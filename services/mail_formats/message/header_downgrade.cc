#include "services/mail_formats/message/header_downgrade.h"

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/common/utf8/utf8.h"
#include "services/mail_formats/message/charset.h"
#include "services/mail_formats/message/fields.h"
#include "services/mail_formats/message/mime_value.h"

namespace posthouse::message {
namespace {

// RFC 2047 §2: an encoded word has at most 75 characters, 12 of them "=?utf-8?B?" and "?=".
constexpr size_t kBytesPerWord = 45;
constexpr size_t kBytesOfFirstWord = 27;  // beside the field's name in 76 characters
constexpr size_t kFoldAt = 76;            // RFC 2047 §2
constexpr size_t kMaxLine = 998;

constexpr std::array<absl::string_view, 12> kAddressFields = {
    "from",        "to",        "cc",        "bcc",        "reply-to",        "sender",
    "resent-from", "resent-to", "resent-cc", "resent-bcc", "resent-reply-to", "resent-sender"};

std::string QuestionMarks(absl::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) >= 0x80) c = '?';
  }
  return out;
}

// "=?utf-8?B?...?= =?utf-8?B?...?=", cut between characters (RFC 2047 §5).
std::string EncodedWords(absl::string_view utf8) {
  std::string out;
  while (!utf8.empty()) {
    size_t end = 0;
    while (end < utf8.size()) {
      const size_t length = std::max<size_t>(Utf8Length(utf8.substr(end)), 1);
      if (end > 0 && end + length > (out.empty() ? kBytesOfFirstWord : kBytesPerWord)) break;
      end += length;
    }
    absl::StrAppend(&out, out.empty() ? "" : " ", "=?utf-8?B?", absl::Base64Escape(utf8.substr(0, end)), "?=");
    utf8.remove_prefix(end);
  }
  return out;
}

// Unstructured text: each run of words that are not ASCII becomes encoded words. A decoder
// drops the blank between two of them, so the run has its blanks inside.
std::string EncodeText(absl::string_view utf8) {
  std::vector<std::string> out;
  std::string run;
  for (const absl::string_view word : absl::StrSplit(utf8, ' ')) {
    if (!IsAscii(word)) {
      absl::StrAppend(&run, run.empty() ? "" : " ", word);
      continue;
    }
    if (!run.empty()) out.push_back(EncodedWords(run));
    run.clear();
    out.emplace_back(word);
  }
  if (!run.empty()) out.push_back(EncodedWords(run));
  std::string text;
  for (size_t i = 0; i < out.size(); ++i) absl::StrAppend(&text, i == 0 ? "" : " ", out[i]);
  return text;
}

// The end of the quoted string or comment that begins at `at`, behind its last character.
size_t EndOfQuoted(absl::string_view text, size_t at) {
  const char open = text[at];
  const char close = open == '"' ? '"' : ')';
  int depth = 1;
  size_t i = at + 1;
  for (; i < text.size() && depth > 0; ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == close) {
      --depth;
    } else if (text[i] == open) {
      ++depth;
    }
  }
  return std::min(i, text.size());
}

std::string Unquoted(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) ++i;
    out.push_back(text[i]);
  }
  return out;
}

// An address list (RFC 5322 §3.4): names and comments become encoded words.
std::string EncodeAddresses(absl::string_view utf8) {
  std::string out;
  for (size_t i = 0; i < utf8.size();) {
    const char c = utf8[i];
    size_t end = i + 1;
    if (c == '"' || c == '(') {
      end = EndOfQuoted(utf8, i);
      const absl::string_view whole = utf8.substr(i, end - i);
      // RFC 2047 §5 (3): no encoded word inside a quoted string, but instead of one.
      const bool local_part = c == '"' && end < utf8.size() && utf8[end] == '@';
      if (IsAscii(whole) || local_part) {
        absl::StrAppend(&out, QuestionMarks(whole));
      } else {
        const size_t inner = whole.size() > 1 && (whole.back() == '"' || whole.back() == ')') ? 2 : 1;
        const std::string words = EncodedWords(Unquoted(whole.substr(1, whole.size() - inner)));
        absl::StrAppend(&out, c == '(' ? "(" : "", words, c == '(' ? ")" : "");
      }
    } else if (c == '<') {
      end = std::min(utf8.find('>', i), utf8.size() - 1) + 1;
      absl::StrAppend(&out, QuestionMarks(utf8.substr(i, end - i)));
    } else if (c == ',' || c == ';' || c == ':' || c == '@' || c == ' ') {
      out.push_back(c);
    } else {
      end = std::min(utf8.find_first_of("\"(<,;:@", i), utf8.size());
      const absl::string_view run = utf8.substr(i, end - i);
      const absl::string_view words = absl::StripTrailingAsciiWhitespace(run);
      const bool address = (end < utf8.size() && utf8[end] == '@') || (i > 0 && utf8[i - 1] == '@');
      absl::StrAppend(&out, address ? QuestionMarks(words) : EncodeText(words), run.substr(words.size()));
    }
    i = end;
  }
  return out;
}

// RFC 2231 §4: name*=utf-8''%C3%BC
std::string EncodeParams(const MimeValue& value) {
  std::string out = value.subtype.empty() ? value.type : absl::StrCat(value.type, "/", value.subtype);
  out = QuestionMarks(out);
  for (const Param& param : value.params) {
    absl::StrAppend(&out, "; ", QuestionMarks(param.name));
    if (IsAscii(param.value)) {
      absl::StrAppend(&out, "=\"", absl::StrReplaceAll(param.value, {{"\\", "\\\\"}, {"\"", "\\\""}}), "\"");
      continue;
    }
    absl::StrAppend(&out, absl::EndsWith(param.name, "*") ? "=" : "*=utf-8''");
    for (const char c : GuessUtf8(param.value)) {
      if (absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' || c == '_') {
        out.push_back(c);
      } else {
        absl::StrAppendFormat(&out, "%%%02X", static_cast<unsigned>(static_cast<unsigned char>(c)));
      }
    }
  }
  return out;
}

// One line, without its line end. Only blanks can be lost.
void FoldLine(absl::string_view text, size_t wanted, size_t most, std::string* out) {
  constexpr absl::string_view kBlanks = " \t";
  bool folded = text.empty() || text[0] == ' ' || text[0] == '\t';
  size_t blank = 0;  // 1: the line has a blank of ours before `text`
  while (text.size() + blank > wanted) {
    const size_t end = text.find_last_not_of(kBlanks) + 1;
    if (end == 0) {  // blanks only; an empty line would end the header
      text = " ";
      break;
    }
    text = text.substr(0, end);
    // The first word stays with the field's name.
    size_t name = folded ? 0 : std::min(text.find(':'), text.size() - 1) + 1;
    if (name > most) name = 0;
    const size_t first = text.find_first_not_of(kBlanks, name);
    if (first == absl::string_view::npos) break;
    if (first > name + 1) {  // no line may have blanks only
      absl::StrAppend(out, text.substr(0, name));
      text.remove_prefix(first - 1);
      if (name > 0) absl::StrAppend(out, "\r\n");
      folded = true;
      continue;
    }
    size_t cut = text.find_last_of(kBlanks, wanted - blank);
    if (cut == absl::string_view::npos || cut <= first) cut = text.find_first_of(kBlanks, first);
    if (cut == absl::string_view::npos || cut > most - blank) {
      if (text.size() <= most - blank) break;
      cut = most - blank;
    }
    absl::StrAppend(out, text.substr(0, cut), "\r\n");
    text.remove_prefix(cut);
    blank = text[0] == ' ' || text[0] == '\t' ? 0 : 1;
    if (blank == 1) out->push_back(' ');
    folded = true;
  }
  absl::StrAppend(out, text);
}

std::string EncodeValue(const std::string& name, absl::string_view raw) {
  const bool disposition = name == "content-disposition";
  if (name == "content-type" || disposition) {
    const std::optional<MimeValue> value = disposition ? ParseDisposition(raw) : ParseContentType(raw);
    return value.has_value() ? EncodeParams(*value) : QuestionMarks(Unfold(raw));
  }
  const std::string utf8 = GuessUtf8(Unfold(raw));
  const bool addresses = std::find(kAddressFields.begin(), kAddressFields.end(), name) != kAddressFields.end();
  return addresses ? EncodeAddresses(utf8) : EncodeText(utf8);
}

}  // namespace

std::string EncodeField(absl::string_view field) {
  const size_t colon = field.find(':');
  if (colon == absl::string_view::npos || !IsAscii(field.substr(0, colon))) return QuestionMarks(field);
  const std::string name = absl::AsciiStrToLower(absl::StripTrailingAsciiWhitespace(field.substr(0, colon)));
  const std::string value = EncodeValue(name, field.substr(colon + 1));
  return FoldField(absl::StrCat(field.substr(0, colon), ": ", value, "\r\n"), kFoldAt, kMaxLine);
}

std::string FoldField(absl::string_view field, size_t wanted, size_t most) {
  std::string out;
  while (!field.empty()) {
    const size_t end = std::min(field.find('\n'), field.size() - 1) + 1;
    const absl::string_view line = field.substr(0, end);
    field.remove_prefix(end);
    const absl::string_view text = absl::StripSuffix(absl::StripSuffix(line, "\n"), "\r");
    FoldLine(text, wanted, most, &out);
    absl::StrAppend(&out, line.substr(text.size()));
  }
  return out;
}

}  // namespace posthouse::message
