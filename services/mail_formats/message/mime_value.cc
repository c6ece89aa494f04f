#include "services/mail_formats/message/mime_value.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "services/mail_formats/message/chars.h"
#include "services/mail_formats/message/charset.h"
#include "services/mail_formats/message/fields.h"

namespace posthouse::message {
namespace {

constexpr size_t kMaxParams = 200;

// Reads "type/subtype" and parameters; position and text of one field body.
class ValueReader {
 public:
  explicit ValueReader(absl::string_view text) : text_(text) {}

  // RFC 822 comments and blanks, nested comments bounded by the text.
  void SkipCfws() {
    while (pos_ < text_.size()) {
      if (IsSpace(text_[pos_])) {
        ++pos_;
      } else if (text_[pos_] == '(') {
        SkipComment();
      } else {
        return;
      }
    }
  }
  std::string Word(absl::string_view stop) {
    const size_t start = pos_;
    while (pos_ < text_.size() && !IsSpace(text_[pos_]) && !absl::StrContains(stop, text_.substr(pos_, 1))) ++pos_;
    return std::string(text_.substr(start, pos_ - start));
  }
  bool Take(char c) {
    if (pos_ >= text_.size() || text_[pos_] != c) return false;
    ++pos_;
    return true;
  }
  std::vector<Param> Params() {
    std::vector<Param> params;
    while (pos_ < text_.size() && params.size() < kMaxParams) {
      SkipCfws();
      if (Take(';') || Take(',')) continue;
      Param param;
      param.name = Word("=;(,\"");
      SkipCfws();
      if (!Take('=')) {
        // No parameter: its text up to the next semicolon is passed over.
        if (param.name.empty() && pos_ < text_.size() && text_[pos_] != ';') ++pos_;
        continue;
      }
      SkipCfws();
      param.value = Value();
      if (!param.name.empty()) params.push_back(std::move(param));
    }
    return params;
  }

 private:
  void SkipComment() {
    int depth = 0;
    for (; pos_ < text_.size(); ++pos_) {
      const char c = text_[pos_];
      if (c == '\\') {
        ++pos_;
      } else if (c == '(') {
        ++depth;
      } else if (c == ')' && --depth == 0) {
        ++pos_;
        return;
      }
    }
    pos_ = std::min(pos_, text_.size());
  }
  std::string Value() {
    std::string value;
    if (Take('"')) {
      while (pos_ < text_.size() && text_[pos_] != '"') {
        if (text_[pos_] == '\\' && pos_ + 1 < text_.size()) ++pos_;
        value.push_back(text_[pos_++]);
      }
      Take('"');
      return value;
    }
    value = Word(";");
    // `name=a report.pdf; x=y`: words belong to the value unless a parameter begins.
    while (pos_ < text_.size() && text_[pos_] != ';') {
      size_t next = pos_;
      while (next < text_.size() && IsSpace(text_[next])) ++next;
      if (next == text_.size() || text_[next] == ';' || text_[next] == '(') break;
      size_t end = next;
      while (end < text_.size() && !IsSpace(text_[end]) && text_[end] != ';' && text_[end] != '=') ++end;
      if (end < text_.size() && text_[end] == '=') break;
      value.push_back(' ');
      value.append(text_.data() + next, end - next);
      pos_ = end;
    }
    return value;
  }

  const absl::string_view text_;
  size_t pos_ = 0;
};

std::string PercentDecode(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && HexValue(text[i + 1]) >= 0 && HexValue(text[i + 2]) >= 0) {
      out.push_back(static_cast<char>(HexValue(text[i + 1]) * 16 + HexValue(text[i + 2])));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

struct Extended {
  std::string charset;
  std::string bytes;
};

// charset "'" language "'" text; takes the first two off `text`.
std::string TakeCharset(absl::string_view* text) {
  const size_t first = text->find('\'');
  if (first == absl::string_view::npos) return "";
  const size_t second = text->find('\'', first + 1);
  if (second == absl::string_view::npos) return "";
  std::string charset(text->substr(0, first));
  text->remove_prefix(second + 1);
  return charset;
}

// RFC 2231 §3, §4: name*=, name*0=, name*0*=, name*1=, ...
std::optional<Extended> FindExtended(const std::vector<Param>& params, absl::string_view name) {
  struct Piece {
    int number;
    size_t order;
    bool encoded;
    absl::string_view value;
  };
  std::vector<Piece> pieces;
  for (const Param& param : params) {
    absl::string_view rest = param.name;
    if (rest.size() <= name.size() || !absl::StartsWithIgnoreCase(rest, name) || rest[name.size()] != '*') continue;
    rest.remove_prefix(name.size() + 1);
    if (rest.empty()) {
      pieces.assign({Piece{0, 0, true, param.value}});
      break;  // whole: pieces beside it do not count
    }
    const bool encoded = absl::ConsumeSuffix(&rest, "*");
    int number = 0;
    if (rest.size() > 4 || !absl::SimpleAtoi(rest, &number) || number < 0) continue;
    pieces.push_back({number, pieces.size(), encoded, param.value});
  }
  std::sort(pieces.begin(), pieces.end(),
            [](const Piece& a, const Piece& b) { return std::pair(a.number, a.order) < std::pair(b.number, b.order); });
  Extended result;
  int expected = 0;
  for (const Piece& piece : pieces) {
    if (piece.number == expected - 1) continue;  // a repeated piece
    if (piece.number != expected) break;         // a gap ends it
    absl::string_view value = piece.value;
    if (piece.encoded && expected == 0) result.charset = TakeCharset(&value);
    result.bytes += piece.encoded ? PercentDecode(value) : std::string(value);
    ++expected;
  }
  if (expected == 0) return std::nullopt;
  return result;
}

// A parameter of RFC 2231 §3: name*<number>[*].
struct Continuation {
  absl::string_view name;
  int number = 0;
  bool encoded = false;
};
std::optional<Continuation> AsContinuation(absl::string_view name) {
  Continuation piece;
  piece.encoded = absl::ConsumeSuffix(&name, "*");
  const size_t star = name.rfind('*');
  if (star == absl::string_view::npos || star == 0) return std::nullopt;
  const absl::string_view number = name.substr(star + 1);
  // Digits alone: SimpleAtoi takes a sign and blanks, too.
  if (number.empty() || number.size() > 4 || !std::all_of(number.begin(), number.end(), absl::ascii_isdigit) ||
      !absl::SimpleAtoi(number, &piece.number)) {
    return std::nullopt;
  }
  piece.name = name.substr(0, star);
  return piece;
}

// attribute-char of RFC 2231 §7, and "%" for the rest.
void AppendPercentEncoded(absl::string_view bytes, std::string* out) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  for (const char c : bytes) {
    const auto u = static_cast<unsigned char>(c);
    if (u > 0x20 && u < 0x7f && std::strchr("*'%()<>@,;:\\\"/[]?=", c) == nullptr) {
      out->push_back(c);
    } else {
      out->push_back('%');
      out->push_back(kHex[u >> 4]);
      out->push_back(kHex[u & 15]);
    }
  }
}

const Param* FindPlain(const std::vector<Param>& params, absl::string_view name) {
  for (const Param& param : params) {
    if (absl::EqualsIgnoreCase(param.name, name)) return &param;
  }
  return nullptr;
}
}  // namespace

std::optional<std::string> MimeValue::Get(absl::string_view name) const {
  if (std::optional<Extended> extended = FindExtended(params, name)) {
    return extended->charset.empty() ? DecodeText(extended->bytes) : ToUtf8(extended->charset, extended->bytes);
  }
  const Param* plain = FindPlain(params, name);
  if (plain == nullptr) return std::nullopt;
  return DecodeText(plain->value);
}

std::optional<std::string> MimeValue::GetRaw(absl::string_view name) const {
  if (const Param* plain = FindPlain(params, name)) return plain->value;
  if (std::optional<Extended> extended = FindExtended(params, name)) return std::move(extended->bytes);
  return std::nullopt;
}

std::vector<Param> JoinContinuations(const std::vector<Param>& params) {
  struct Piece {
    Continuation what;
    size_t place;
  };
  absl::flat_hash_map<std::string, std::vector<Piece>> pieces;  // by name in lower case
  absl::flat_hash_set<std::string> whole;                       // names of the other parameters
  for (size_t i = 0; i < params.size(); ++i) {
    if (const std::optional<Continuation> piece = AsContinuation(params[i].name)) {
      pieces[absl::AsciiStrToLower(piece->name)].push_back({*piece, i});
    } else {
      whole.insert(absl::AsciiStrToLower(params[i].name));
    }
  }
  if (pieces.empty()) return params;
  std::vector<bool> used(params.size(), false);
  std::vector<std::optional<Param>> joined(params.size());  // at the place of the first piece
  for (auto& [name, list] : pieces) {
    // A parameter that stands there whole as well is not made once more.
    if (whole.contains(name) || whole.contains(absl::StrCat(name, "*"))) continue;
    std::sort(list.begin(), list.end(), [](const Piece& a, const Piece& b) {
      return std::pair(a.what.number, a.place) < std::pair(b.what.number, b.place);
    });
    std::vector<Piece> run;  // 0, 1, 2, ...
    size_t first = params.size();
    for (const Piece& piece : list) {
      const int last = static_cast<int>(run.size()) - 1;
      if (piece.what.number > last + 1) break;  // a gap ends it
      if (piece.what.number == last + 1) run.push_back(piece);
      used[piece.place] = true;  // a repeated piece does not count
      first = std::min(first, piece.place);
    }
    if (run.empty()) continue;
    const bool encoded = std::any_of(run.begin(), run.end(), [](const Piece& piece) { return piece.what.encoded; });
    Param param{std::string(run[0].what.name), ""};
    if (encoded) param.name += '*';
    // RFC 2231 §4: the first piece has the charset. When that is not encoded, there is none.
    if (encoded && !run[0].what.encoded) param.value = "''";
    for (const Piece& piece : run) {
      const std::string& value = params[piece.place].value;
      if (encoded && !piece.what.encoded) {
        AppendPercentEncoded(value, &param.value);
      } else {
        param.value += value;
      }
    }
    joined[first] = std::move(param);
  }
  std::vector<Param> out;
  for (size_t i = 0; i < params.size(); ++i) {
    if (joined[i].has_value()) {
      out.push_back(*std::move(joined[i]));
    } else if (!used[i]) {
      out.push_back(params[i]);
    }
  }
  return out;
}

// content := "Content-Type" ":" type "/" subtype *(";" parameter)
std::optional<MimeValue> ParseContentType(absl::string_view raw) {
  const std::string text = Unfold(raw);
  ValueReader reader(text);
  MimeValue value;
  reader.SkipCfws();
  value.type = reader.Word("/;(,\"=");
  reader.SkipCfws();
  if (reader.Take('/')) {
    reader.SkipCfws();
    value.subtype = reader.Word(";(,\"=");
  } else if (absl::EqualsIgnoreCase(value.type, "text")) {
    value.subtype = "plain";  // RFC 1049 mailers: "Content-Type: text"
  }
  if (value.type.empty() || value.subtype.empty()) return std::nullopt;
  value.params = reader.Params();
  return value;
}

std::optional<MimeValue> ParseDisposition(absl::string_view raw) {
  const std::string text = Unfold(raw);
  ValueReader reader(text);
  MimeValue value;
  reader.SkipCfws();
  value.type = reader.Word(";(,\"=");
  if (value.type.empty()) return std::nullopt;
  value.params = reader.Params();
  return value;
}
}  // namespace posthouse::message
