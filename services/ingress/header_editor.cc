#include "services/ingress/header_editor.h"

#include <cstddef>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"

namespace posthouse::ingress {
namespace {

// Field names that matter are short; a longer one is some other field.
constexpr size_t kMaxName = 76;

// ftext = %d33-57 / %d59-126 (RFC 5322 §2.2); obsolete syntax has spaces before ":".
bool IsNameByte(char c) { return (c > 32 && c < 127 && c != ':') || c == ' ' || c == '\t'; }

}  // namespace

HeaderEditor::HeaderEditor(Completion completion) : complete_(true), completion_(std::move(completion)) {}

void HeaderEditor::Feed(absl::string_view input, std::string* out) {
  size_t i = 0;
  while (i < input.size()) {
    switch (where_) {
      case Where::kBody:
        out->append(input.data() + i, input.size() - i);
        return;
      case Where::kLineStart:
        // A folded line belongs to the field before it.
        where_ = input[i] == ' ' || input[i] == '\t' ? Where::kValue : Where::kName;
        break;
      case Where::kName:
        // A CR here begins a blank line: LF follows, there is no bare CR in this input.
        if ((IsNameByte(input[i]) && name_.size() < kMaxName) || (input[i] == '\r' && name_.empty())) {
          name_.push_back(input[i++]);
        } else if (name_ == "\r") {
          EndOfHeader(/*blank_line_follows=*/true, out);
        } else if (input[i] == ':' || name_.size() >= kMaxName) {
          EndOfName(out);
        } else {
          // Not a field: the body began without a blank line.
          EndOfHeader(/*blank_line_follows=*/false, out);
        }
        break;
      case Where::kValue: {
        const size_t lf = input.find('\n', i);
        const size_t end = lf == absl::string_view::npos ? input.size() : lf + 1;
        if (!dropping_) out->append(input.data() + i, end - i);
        if (lf != absl::string_view::npos) where_ = Where::kLineStart;
        i = end;
        break;
      }
    }
  }
}

void HeaderEditor::EndOfName(std::string* out) {
  const absl::string_view name = absl::StripTrailingAsciiWhitespace(name_);
  if (absl::EqualsIgnoreCase(name, "Received")) ++received_;
  if (absl::EqualsIgnoreCase(name, "Date")) has_date_ = true;
  if (absl::EqualsIgnoreCase(name, "Message-ID")) has_message_id_ = true;
  // RFC 5321 §4.4: a message has no Return-Path before its final delivery.
  dropping_ = complete_ && (absl::EqualsIgnoreCase(name, "Bcc") || absl::EqualsIgnoreCase(name, "Return-Path"));
  if (!dropping_) out->append(name_);
  name_.clear();
  where_ = Where::kValue;
}

void HeaderEditor::EndOfHeader(bool blank_line_follows, std::string* out) {
  if (complete_) {
    // RFC 6409 §8.2, §8.3
    if (!has_date_) out->append(completion_.date);
    if (!has_message_id_) out->append(completion_.message_id);
    if (!blank_line_follows) out->append("\r\n");
  }
  out->append(name_);
  name_.clear();
  where_ = Where::kBody;
}

void HeaderEditor::Finish(std::string* out) {
  if (where_ == Where::kBody) return;
  // Every line was complete: nothing is held back but a name without its line.
  EndOfHeader(/*blank_line_follows=*/name_.empty(), out);
}

}  // namespace posthouse::ingress
