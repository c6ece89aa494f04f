// The subject that threads of a conversation share (RFC 5256 §2.1).
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace posthouse::message {

// The base subject of a Subject field body as sent: decoded, without Re:, Fwd:, [list] and
// (fwd). UTF-8; of the first 8 KiB of `raw_subject`. Never fails; may be empty.
std::string BaseSubject(absl::string_view raw_subject);

}  // namespace posthouse::message
