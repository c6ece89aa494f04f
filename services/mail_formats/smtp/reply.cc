#include "services/mail_formats/smtp/reply.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace posthouse::smtp {
namespace {

void AppendLine(std::string* out, int code, char separator, absl::string_view enhanced, absl::string_view text) {
  absl::StrAppend(out, code);
  out->push_back(separator);
  if (!enhanced.empty()) {
    out->append(enhanced.data(), enhanced.size());
    out->push_back(' ');
  }
  // textstring = 1*(%d09 / %d32-126): text from a peer must not forge a line.
  for (const char c : text) {
    const unsigned char u = static_cast<unsigned char>(c);
    out->push_back(c == '\t' || (u >= 0x20 && u != 0x7f) ? c : '?');
  }
  out->append("\r\n");
}

// The code at the front of a reply line; 0: none. Three digits and a separator.
int CodeOf(absl::string_view line) {
  const bool digits = line.size() >= 3 && line[0] >= '2' && line[0] <= '5' &&
                      absl::ascii_isdigit(static_cast<unsigned char>(line[1])) &&
                      absl::ascii_isdigit(static_cast<unsigned char>(line[2]));
  if (!digits || (line.size() > 3 && line[3] != ' ' && line[3] != '-' && line[3] != '\t')) return 0;
  return (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0');
}

}  // namespace

std::string Reply::Text() const { return absl::StrJoin(lines, "\n"); }

std::string Reply::ToString() const {
  std::string out = absl::StrCat(code);
  if (!enhanced.empty()) absl::StrAppend(&out, " ", enhanced);
  for (const std::string& line : lines) {
    if (!line.empty()) absl::StrAppend(&out, " ", line);
  }
  return out;
}

void AppendReply(std::string* out, int code, absl::string_view enhanced, absl::string_view text) {
  size_t end;
  while ((end = text.find('\n')) != absl::string_view::npos) {
    AppendLine(out, code, '-', enhanced, text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  AppendLine(out, code, ' ', enhanced, text);
}

std::string Format(const Reply& reply) {
  std::string out;
  AppendReply(&out, reply.code, reply.enhanced, reply.Text());
  return out;
}

absl::StatusOr<std::optional<Reply>> ReplyParser::Feed(absl::string_view* input) {
  while (!input->empty()) {
    const size_t end = input->find('\n');
    const absl::string_view piece = input->substr(0, end);
    const size_t taken = std::min(input->size(), piece.size() + 1);
    absl::StrAppend(&line_, piece.substr(0, limits_.max_line - line_.size()));
    bytes_ += taken;
    input->remove_prefix(taken);
    if (bytes_ > limits_.max_bytes) return absl::ResourceExhaustedError("reply too long");
    if (end == absl::string_view::npos) break;
    const absl::StatusOr<bool> last = TakeLine(line_);
    if (!last.ok()) return last.status();
    line_.clear();
    if (*last) {
      bytes_ = 0;
      return std::optional<Reply>(std::exchange(reply_, Reply()));
    }
  }
  return std::optional<Reply>();
}

// Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
absl::StatusOr<bool> ReplyParser::TakeLine(absl::string_view line) {
  while (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  const int code = CodeOf(line);
  if (code == 0) {
    // Inside a reply the host's decision is known: the line cannot change it.
    if (reply_.code != 0) return false;
    return absl::InvalidArgumentError("not an SMTP reply");
  }
  const bool last = line.size() == 3 || line[3] != '-';
  absl::string_view text = line.size() > 4 ? line.substr(4) : absl::string_view();
  const std::string enhanced = TakeEnhancedCode(&text, code);
  if (!enhanced.empty() || reply_.code != code) reply_.enhanced = enhanced;
  reply_.code = code;
  if (reply_.lines.size() < limits_.max_lines) reply_.lines.emplace_back(text);
  return last;
}

std::optional<Reply> ReplyParser::TakeUnfinished() {
  // A line without its separator is no code yet: "250" may go on as "2500".
  if (line_.size() > 3 && CodeOf(line_) != 0) TakeLine(line_).status().IgnoreError();
  line_.clear();
  bytes_ = 0;
  if (reply_.code == 0) return std::nullopt;
  return std::exchange(reply_, Reply());
}

// status-code = class "." subject "." detail; class = "2" / "4" / "5";
// subject, detail = 1*3digit. Counts only when its class is the reply's (RFC 2034 §4).
std::string TakeEnhancedCode(absl::string_view* text, int code) {
  const absl::string_view in = *text;
  if (in.size() < 5 || in[0] - '0' != code / 100 || (in[0] != '2' && in[0] != '4' && in[0] != '5')) return "";
  size_t i = 1;
  for (int part = 0; part < 2; ++part) {
    if (i >= in.size() || in[i] != '.') return "";
    const size_t start = ++i;
    while (i < in.size() && i - start < 3 && absl::ascii_isdigit(static_cast<unsigned char>(in[i]))) ++i;
    if (i == start) return "";
  }
  if (i < in.size() && in[i] != ' ' && in[i] != '\t') return "";
  *text = i < in.size() ? in.substr(i + 1) : absl::string_view();
  return std::string(in.substr(0, i));
}

}  // namespace posthouse::smtp
