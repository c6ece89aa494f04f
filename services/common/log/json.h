// JSON strings from bytes that may be anything: log lines, and what posthousectl prints.
// Threads: stateless.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace posthouse::log {

// Appends `value` as a JSON string (RFC 8259 §7), quotes included: control characters
// are escaped, bytes that are no well-formed UTF-8 become U+FFFD. After about
// `max_bytes` the rest is cut and "..." says so.
void AppendJsonString(absl::string_view value, size_t max_bytes, std::string* out);

}  // namespace posthouse::log
