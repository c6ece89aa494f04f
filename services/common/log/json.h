// JSON strings from arbitrary bytes, for log lines and the output of posthousectl.
// Threads: stateless.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace posthouse::log {

// Appends `value` as a JSON string (RFC 8259 §7), quotes included: control characters
// are escaped, and bytes outside well-formed UTF-8 become U+FFFD. Cuts the value
// after about `max_bytes` and then adds "...".
void AppendJsonString(absl::string_view value, size_t max_bytes, std::string* out);

}  // namespace posthouse::log
