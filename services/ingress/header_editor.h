// HeaderEditor: edits the header section of a message as it streams by.
//
// It counts Received fields (RFC 5321 §6.3). For submitted mail (RFC 6409 §8) it also
// removes Bcc and Return-Path fields, and adds Date and Message-ID at the end of the section when
// they are missing. Everything else passes byte for byte, and so does the body.
//
// Input has CRLF line ends (DataDecoder's output) and may be cut anywhere; memory is
// O(1).
//
// Threads: one at a time; no I/O.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace posthouse::ingress {

class HeaderEditor {
 public:
  // Fields for submitted mail that lacks them, each with its CRLF.
  struct Completion {
    std::string date;
    std::string message_id;
  };

  HeaderEditor() = default;                      // counts only
  explicit HeaderEditor(Completion completion);  // submission

  void Feed(absl::string_view input, std::string* out);
  // The message ended. Completes a header section without a body, too.
  void Finish(std::string* out);

  bool in_body() const { return where_ == Where::kBody; }
  uint32_t received() const { return received_; }

 private:
  enum class Where { kLineStart, kName, kValue, kBody };

  void EndOfName(std::string* out);
  void EndOfHeader(bool blank_line_follows, std::string* out);

  const bool complete_ = false;
  const Completion completion_;
  Where where_ = Where::kLineStart;
  std::string name_;       // bytes of a line whose field is not known yet
  bool dropping_ = false;  // the present field
  bool has_date_ = false, has_message_id_ = false;
  uint32_t received_ = 0;
};

}  // namespace posthouse::ingress
