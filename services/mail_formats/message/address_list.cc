#include "services/mail_formats/message/address_list.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/mail_formats/message/chars.h"
#include "services/mail_formats/message/fields.h"

namespace posthouse::message {
namespace {

bool In(absl::string_view set, char c) { return set.find(c) != absl::string_view::npos; }

// One word of an entry, as it is read.
struct Token {
  std::string text;
  bool at = false;  // the "@" of an address without angle brackets
  bool quoted = false;
  bool space_before = false;
};

// address-list = (address *("," address)) / obs-addr-list, read to the end whatever it is.
class AddressReader {
 public:
  AddressReader(absl::string_view text, size_t max) : text_(text), max_(max) {}

  std::vector<Address> Read() {
    while (pos_ < text_.size() && result_.size() < max_) Step();
    EndEntry();
    if (in_group_) EndGroup();
    return std::move(result_);
  }

 private:
  void Step() {
    const char c = text_[pos_];
    if (IsBlank(c) || c == '\0') {
      ++pos_;
      space_ = true;
    } else if (c == '(') {
      comment_ = Comment();
      space_ = true;
    } else if (c == ',') {
      ++pos_;
      EndEntry();
    } else if (c == ';') {
      ++pos_;  // ends a group; elsewhere some mailers separate with it
      EndEntry();
      if (in_group_) EndGroup();
    } else if (c == '<') {
      if (angle_) EndEntry();  // the comma is missing
      Angle();
    } else if (c == '>' || c == ')') {
      ++pos_;  // unbalanced
    } else {
      if (angle_) EndEntry();  // text after ">" begins another address
      if (c == ':' && !in_group_ && !HasAt() && !tokens_.empty()) {
        ++pos_;
        BeginGroup();
      } else {
        Word(c);
      }
    }
  }

  void Word(char c) {
    Token token;
    token.space_before = std::exchange(space_, false);
    if (c == '"' && !no_more_quotes_ && Quoted(&token.text)) {
      token.quoted = true;
    } else if (c == '@') {
      ++pos_;
      token.text = "@";
      token.at = true;
    } else if (c == '[' && !tokens_.empty() && tokens_.back().at) {
      token.text = DomainLiteral();
    } else {
      token.text = Atom();
    }
    tokens_.push_back(std::move(token));
  }

  // Takes at least one character, except for '"' that stands alone (dropped).
  std::string Atom() {
    std::string out;
    if (In("\":", text_[pos_])) {
      if (text_[pos_] == ':') out.push_back(':');
      ++pos_;
    }
    while (pos_ < text_.size() && !IsBlank(text_[pos_]) && !In("(),;:<>@\"", text_[pos_])) {
      if (text_[pos_] == '\\' && pos_ + 1 < text_.size()) ++pos_;  // obs-qp outside of quotes
      out.push_back(text_[pos_++]);
    }
    return out;
  }

  bool Quoted(std::string* out) {
    size_t i = pos_ + 1;
    for (; i < text_.size() && text_[i] != '"'; ++i) {
      if (text_[i] == '\\' && i + 1 < text_.size()) ++i;
      out->push_back(text_[i]);
    }
    if (i >= text_.size()) {
      no_more_quotes_ = true;  // searched once only
      out->clear();
      return false;
    }
    pos_ = i + 1;
    return true;
  }

  std::string DomainLiteral() {
    const size_t end = text_.find_first_of("],;>", pos_);
    const size_t stop = end == absl::string_view::npos ? text_.size() : end + (text_[end] == ']' ? 1 : 0);
    std::string out(text_.substr(pos_, stop - pos_));
    pos_ = stop;
    return out;
  }

  // The comment's text without the outer parentheses; to the end when unbalanced.
  std::string Comment() {
    std::string out;
    int depth = 0;
    for (; pos_ < text_.size(); ++pos_) {
      char c = text_[pos_];
      if (c == '(' && depth++ == 0) continue;
      if (c == ')' && --depth == 0) {
        ++pos_;
        break;
      }
      if (c == '\\' && pos_ + 1 < text_.size()) c = text_[++pos_];
      out.push_back(c);
    }
    return std::string(absl::StripAsciiWhitespace(out));
  }

  // angle-addr = "<" [obs-route] addr-spec ">"
  void Angle() {
    while (pos_ < text_.size() && text_[pos_] == '<') ++pos_;
    angle_ = true;
    std::string local, part;
    bool at = false;
    bool route_possible = true;
    while (pos_ < text_.size() && text_[pos_] != '>') {
      const char c = text_[pos_];
      std::string quoted;
      if (c == '(') {
        Comment();
      } else if (c == '"' && !no_more_quotes_ && Quoted(&quoted)) {
        part += quoted;
        route_possible = false;
      } else if (c == ':' && route_possible && at && local.empty()) {
        entry_.route = absl::StrCat("@", part);
        part.clear();
        at = false;
        ++pos_;
        route_possible = false;
      } else if (c == '@' && !(at && local.empty() && route_possible)) {
        if (at) {  // a second one: the last decides
          absl::StrAppend(&local, "@", part);
          entry_.broken = true;
        } else {
          local = std::exchange(part, {});
        }
        part.clear();
        at = true;
        ++pos_;
      } else if (c == ',' && !(route_possible && at && local.empty())) {
        break;  // "<a@b, c@d": the bracket is missing
      } else {
        if (!IsBlank(c) && c != '\0' && c != '<') part.push_back(c);
        ++pos_;
      }
    }
    if (pos_ < text_.size() && text_[pos_] == '>') ++pos_;
    entry_.mailbox = at ? local : part;
    entry_.host = at ? part : "";
    space_ = false;
  }

  bool HasAt() const {
    return std::any_of(tokens_.begin(), tokens_.end(), [](const Token& t) { return t.at; });
  }

  // Words as a display name: one blank where there were blanks.
  static std::string Phrase(const Token* begin, const Token* end) {
    std::string out;
    for (const Token* t = begin; t != end; ++t) {
      if (!out.empty() && t->space_before) out.push_back(' ');
      out += t->text;
    }
    return out;
  }

  // addr-spec without brackets: the words that touch the "@", a display name before.
  void FromTokens() {
    const Token* begin = tokens_.data();
    const Token* end = begin + tokens_.size();
    const Token* at = std::find_if(begin, end, [](const Token& t) { return t.at; });
    if (at == end) {
      if (tokens_.size() == 1) {
        entry_.mailbox = tokens_[0].text;
      } else {
        SetName(Phrase(begin, end));
      }
      return;
    }
    const Token* local = at;
    while (local != begin) {
      const Token* before = local - 1;
      // "john . doe @ x" and "a".b@x: a dot or no blank joins.
      const bool joined = local == at || !local->space_before || absl::StartsWith(local->text, ".") ||
                          absl::EndsWith(before->text, ".");
      if (!joined) break;
      local = before;
    }
    for (const Token* t = local; t != at; ++t) entry_.mailbox += t->text;
    if (local != begin) SetName(Phrase(begin, local));
    const Token* rest = at + 1;
    for (; rest != end && (rest == at + 1 || !rest->space_before || absl::StartsWith(rest->text, ".") ||
                           absl::EndsWith(entry_.host, "."));
         ++rest) {
      if (rest->at) {
        entry_.mailbox += absl::StrCat("@", entry_.host);
        entry_.host.clear();
        entry_.broken = true;
      } else {
        entry_.host += rest->text;
      }
    }
    if (rest != end) entry_.broken = true;
  }

  void SetName(std::string name) {
    entry_.name = std::move(name);
    entry_.has_name = true;
  }

  void EndEntry() {
    const bool any = angle_ || !tokens_.empty();
    if (any) {
      if (!angle_) {
        FromTokens();
      } else if (!tokens_.empty()) {
        SetName(Phrase(tokens_.data(), tokens_.data() + tokens_.size()));
      }
      // RFC 822 style: user@host (Full Name).
      if (!entry_.has_name && !comment_.empty()) SetName(comment_);
      if (entry_.mailbox.empty() || entry_.host.empty()) entry_.broken = true;
      if (result_.size() < max_) result_.push_back(std::move(entry_));
    }
    entry_ = Address();
    tokens_.clear();
    comment_.clear();
    angle_ = false;
    space_ = false;
  }

  void BeginGroup() {
    Address group;
    group.kind = Address::Kind::kGroupStart;
    group.mailbox = Phrase(tokens_.data(), tokens_.data() + tokens_.size());
    result_.push_back(std::move(group));
    tokens_.clear();
    comment_.clear();
    in_group_ = true;
  }
  void EndGroup() {
    Address group;
    group.kind = Address::Kind::kGroupEnd;
    result_.push_back(std::move(group));  // even over `max_`: a group is always closed
    in_group_ = false;
  }

  const absl::string_view text_;
  const size_t max_;
  size_t pos_ = 0;
  bool no_more_quotes_ = false;
  std::vector<Address> result_;
  bool in_group_ = false;
  // The entry being read.
  Address entry_;
  std::vector<Token> tokens_;
  std::string comment_;
  bool angle_ = false;  // its "<...>" was read
  bool space_ = false;  // a blank came before the next word
};

}  // namespace

std::vector<Address> ParseAddresses(absl::string_view raw, size_t max) {
  const std::string text = Unfold(raw);
  return AddressReader(text, max).Read();
}

}  // namespace posthouse::message
