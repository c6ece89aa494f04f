// HeaderReader: the fields of one header after the other, within the limits of Limits. Part of
// Parser, which finds the lines and the headers' ends.
//
// Threads: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/mail_formats/message/parser.h"

namespace posthouse::message {

class HeaderReader {
 public:
  // Which fields of a header are kept.
  enum class Keeps {
    kAll,       // of the message itself
    kEnvelope,  // of a message in a message: Content-*, and what ENVELOPE needs
    kContent,   // of a part: Content-*
  };

  explicit HeaderReader(const Limits& limits) : limits_(limits) {}

  // A header begins.
  void Begin(Keeps keeps);
  // One line of [start, end), a field or a part of one. `text` is without its line end of `eol`
  // bytes, and may be cut after room() bytes.
  void Line(absl::string_view text, uint64_t start, uint64_t end, size_t eol);
  // The header has ended.
  void End() { CommitField(); }

  // Of the header that has ended.
  std::vector<Field> TakeFields() { return std::move(fields_); }
  // The first fields of that name, kept or not.
  const std::optional<std::string>& content_type() const { return type_; }
  const std::optional<std::string>& transfer_encoding() const { return encoding_; }
  const std::optional<std::string>& disposition() const { return disposition_; }

  // Bytes of this header that may still be kept.
  size_t room() const { return limits_.max_header_bytes > kept_ ? limits_.max_header_bytes - kept_ : 0; }
  // Takes from what all headers together may keep; false: nothing was taken, it would be too much.
  bool TakeTotal(size_t bytes);
  // Something was not kept for a limit.
  bool truncated() const { return truncated_; }

  // The length of a line that is always looked at: a field's name, and any delimiter.
  static constexpr size_t kLineHead = 256 + 5;

 private:
  bool Keep(size_t bytes);
  void BeginField(absl::string_view text, uint64_t start);
  void Continue(absl::string_view text);
  void CommitField();
  bool Wanted(absl::string_view name) const;

  const Limits limits_;
  bool truncated_ = false;
  size_t total_kept_ = 0;  // bytes of all headers
  // This header.
  Keeps keeps_ = Keeps::kAll;
  size_t kept_ = 0;   // bytes
  size_t count_ = 0;  // fields
  std::vector<Field> fields_;
  std::optional<std::string> type_, encoding_, disposition_;
  // The field that is being read.
  bool have_field_ = false, field_kept_ = false;
  Field field_;
  size_t field_eol_ = 0;
};

}  // namespace posthouse::message
