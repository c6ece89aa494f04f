#include "services/mail_formats/message/header_reader.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/match.h"

namespace posthouse::message {
namespace {

// The fields of ENVELOPE.
constexpr std::array<absl::string_view, 10> kEnvelopeFields = {"date", "subject", "from", "sender",      "reply-to",
                                                               "to",   "cc",      "bcc",  "in-reply-to", "message-id"};

bool IsFieldNameChar(char c) { return c > 32 && c < 127; }  // RFC 5322 §2.2: ftext

}  // namespace

void HeaderReader::Begin(Keeps keeps) {
  keeps_ = keeps;
  kept_ = 0;
  count_ = 0;
  fields_.clear();
  type_.reset();
  encoding_.reset();
  disposition_.reset();
}

void HeaderReader::Line(absl::string_view text, uint64_t start, uint64_t end, size_t eol) {
  if ((text[0] == ' ' || text[0] == '\t') && have_field_) {
    Continue(text);
  } else {
    CommitField();
    BeginField(text, start);
  }
  field_.bytes = end - field_.offset;
  field_eol_ = eol;
}

// Takes from what may be kept of this header; false: nothing is left.
bool HeaderReader::Keep(size_t bytes) {
  if (kept_ + bytes > limits_.max_header_bytes) {
    kept_ = limits_.max_header_bytes;
    truncated_ = true;
    return false;
  }
  kept_ += bytes;
  return true;
}

bool HeaderReader::TakeTotal(size_t bytes) {
  if (total_kept_ + bytes > limits_.max_total_header_bytes) {
    truncated_ = true;
    return false;
  }
  total_kept_ += bytes;
  return true;
}

void HeaderReader::BeginField(absl::string_view text, uint64_t start) {
  have_field_ = true;
  field_ = Field();
  field_.offset = start;
  const size_t colon = text.find(':');
  size_t name_end = colon == absl::string_view::npos ? 0 : colon;
  while (name_end > 0 && (text[name_end - 1] == ' ' || text[name_end - 1] == '\t')) --name_end;  // RFC 5322 §4.5
  const absl::string_view name = text.substr(0, name_end);
  field_kept_ = Keep(text.size());
  if (!field_kept_) {
    text = text.substr(0, std::min(text.size(), kLineHead));
    field_kept_ = count_ == 0;  // of a single huge field, the beginning
  }
  if (!name.empty() && name.size() <= text.size() && std::all_of(name.begin(), name.end(), IsFieldNameChar)) {
    field_.name = std::string(name);
    field_.value = std::string(text.substr(std::min(text.size(), colon + 1)));
  } else {
    field_.value = std::string(text);
  }
}

void HeaderReader::Continue(absl::string_view text) {
  if (!field_kept_ || !Keep(text.size() + 2)) return;
  field_.value.append(field_eol_ == 2 ? "\r\n" : "\n");
  field_.value.append(text.data(), text.size());
}

void HeaderReader::CommitField() {
  if (!std::exchange(have_field_, false) || !field_kept_) return;
  if (++count_ > limits_.max_fields) {
    truncated_ = true;
    return;
  }
  if (!type_ && absl::EqualsIgnoreCase(field_.name, "content-type")) type_ = field_.value;
  if (!encoding_ && absl::EqualsIgnoreCase(field_.name, "content-transfer-encoding")) encoding_ = field_.value;
  if (!disposition_ && absl::EqualsIgnoreCase(field_.name, "content-disposition")) disposition_ = field_.value;
  if (!Wanted(field_.name)) return;
  if (TakeTotal(field_.name.size() + field_.value.size())) fields_.push_back(std::move(field_));
}

bool HeaderReader::Wanted(absl::string_view name) const {
  if (keeps_ == Keeps::kAll || absl::StartsWithIgnoreCase(name, "content-")) return true;
  if (keeps_ == Keeps::kContent) return false;
  return std::any_of(kEnvelopeFields.begin(), kEnvelopeFields.end(),
                     [&](absl::string_view wanted) { return absl::EqualsIgnoreCase(name, wanted); });
}

}  // namespace posthouse::message
