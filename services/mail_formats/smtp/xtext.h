// xtext (RFC 3461 §4): the encoding of any octets in ENVID, ORCPT and AUTH=.
// Threads: stateless.
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace posthouse::smtp {

// "+", "=", and octets that are not printable ASCII become "+XX".
std::string EncodeXtext(absl::string_view text);
// nullopt: not xtext ("+" without two upper-case hex digits, "=", a space, a control).
std::optional<std::string> DecodeXtext(absl::string_view text);

}  // namespace posthouse::smtp
