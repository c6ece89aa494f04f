#include "services/mail_formats/message/fields.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "services/mail_formats/message/chars.h"
#include "services/mail_formats/message/charset.h"
#include "services/mail_formats/message/transfer.h"

namespace posthouse::message {
namespace {

constexpr size_t kMaxWords = 200;  // of a list
constexpr size_t kMaxCharsetName = 60;

// encoded-word = "=?" charset ["*" language] "?" encoding "?" encoded-text "?="
struct EncodedWord {
  absl::string_view charset;
  std::string bytes;  // decoded, in that charset
  size_t end = 0;     // after "?="
};

std::string DecodeQ(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '_') {
      out.push_back(' ');
    } else if (text[i] == '=' && i + 2 < text.size() && HexValue(text[i + 1]) >= 0 && HexValue(text[i + 2]) >= 0) {
      out.push_back(static_cast<char>(HexValue(text[i + 1]) * 16 + HexValue(text[i + 2])));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

class TextDecoder {
 public:
  explicit TextDecoder(absl::string_view text) : text_(text) {}

  std::string Decode() {
    size_t pos = 0;
    while (pos < text_.size()) {
      const size_t start = ends_ ? text_.find("=?", pos) : absl::string_view::npos;
      std::optional<EncodedWord> word;
      if (start != absl::string_view::npos) word = ReadWord(start);
      if (!word) {
        const size_t plain_end = start == absl::string_view::npos ? text_.size() : start + 2;
        Plain(text_.substr(pos, plain_end - pos));
        pos = plain_end;
        continue;
      }
      const absl::string_view between = text_.substr(pos, start - pos);
      // RFC 2047 §6.2: blanks between two encoded words are not shown.
      if (!(after_word_ && absl::StripAsciiWhitespace(between).empty())) Plain(between);
      Word(*word);
      pos = word->end;
    }
    FlushWord();
    return std::move(out_);
  }

 private:
  std::optional<EncodedWord> ReadWord(size_t start) {
    const size_t charset_end = text_.substr(start + 2, kMaxCharsetName).find('?');
    if (charset_end == absl::string_view::npos || charset_end == 0) return std::nullopt;
    absl::string_view charset = text_.substr(start + 2, charset_end);
    const size_t encoding = start + 2 + charset_end + 1;
    if (encoding + 1 >= text_.size() || text_[encoding + 1] != '?') return std::nullopt;
    const char e = absl::ascii_tolower(static_cast<unsigned char>(text_[encoding]));
    if (e != 'b' && e != 'q') return std::nullopt;  // before the search, or many such cost its square
    const size_t begin = encoding + 2;
    const size_t end = text_.find("?=", begin);
    if (end == absl::string_view::npos) {
      ends_ = false;  // nor will any later word end: one search is enough
      return std::nullopt;
    }
    const absl::string_view body = text_.substr(begin, end - begin);
    EncodedWord word;
    word.charset = charset.substr(0, charset.find('*'));  // RFC 2231 §5: language
    word.end = end + 2;
    word.bytes = e == 'b' ? DecodeBase64(body) : DecodeQ(body);
    return word;
  }

  // Characters split between adjacent words of one charset are joined.
  void Word(const EncodedWord& word) {
    if (!after_word_ || !absl::EqualsIgnoreCase(word.charset, charset_)) FlushWord();
    charset_ = std::string(word.charset);
    bytes_ += word.bytes;
    after_word_ = true;
  }
  void FlushWord() {
    if (!bytes_.empty()) out_ += ToUtf8(charset_, bytes_);
    bytes_.clear();
    after_word_ = false;
  }
  void Plain(absl::string_view text) {
    if (text.empty()) return;
    FlushWord();
    out_ += GuessUtf8(text);
  }

  const absl::string_view text_;
  bool ends_ = true;  // "?=" may still follow
  bool after_word_ = false;
  std::string charset_, bytes_, out_;
};
}  // namespace

std::string Unfold(absl::string_view raw) {
  while (!raw.empty() && IsSpace(raw.front())) raw.remove_prefix(1);
  while (!raw.empty() && IsSpace(raw.back())) raw.remove_suffix(1);
  std::string out;
  out.reserve(raw.size());
  while (!raw.empty()) {
    const size_t run = std::min(raw.find_first_of("\r\n"), raw.size());
    out.append(raw.data(), run);
    raw.remove_prefix(run);
    if (raw.empty()) break;
    while (!raw.empty() && (raw.front() == '\r' || raw.front() == '\n')) raw.remove_prefix(1);
    if (!IsBlank(raw.front())) out.push_back(' ');  // no fold
  }
  return out;
}

std::string DecodeText(absl::string_view raw) {
  const std::string text = Unfold(raw);
  return TextDecoder(text).Decode();
}
std::vector<std::string> ParseMessageIds(absl::string_view raw, size_t max) {
  std::vector<std::string> ids, words;
  std::string current;
  bool inside = false;
  const auto end_word = [&] {
    if (!inside && absl::StrContains(current, "@") && words.size() < max) words.push_back(current);
    current.clear();
  };
  for (const char c : raw) {
    if (c == '<') {
      end_word();
      current.clear();
      inside = true;
    } else if (c == '>') {
      if (inside && !current.empty() && ids.size() < max) ids.push_back(current);
      current.clear();
      inside = false;
    } else if (IsSpace(c) || (c == ',' && !inside)) {
      if (!inside) end_word();
    } else if (c != '\0') {
      current.push_back(c);
    }
  }
  if (inside && ids.empty() && absl::StrContains(current, "@")) return {current};  // "<id" cut off
  end_word();
  return ids.empty() ? words : ids;
}

std::vector<std::string> ParseWordList(absl::string_view raw) {
  std::vector<std::string> words;
  std::string current;
  int depth = 0;
  for (const char c : Unfold(raw)) {
    if (c == '(') {
      ++depth;
    } else if (c == ')' && depth > 0) {
      --depth;
    } else if (depth > 0) {
      continue;
    } else if (c == ',') {
      if (!current.empty() && words.size() < kMaxWords) words.push_back(std::exchange(current, {}));
      current.clear();
    } else if (!IsBlank(c)) {
      current.push_back(c);
    }
  }
  if (!current.empty()) words.push_back(current);
  return words;
}
}  // namespace posthouse::message
