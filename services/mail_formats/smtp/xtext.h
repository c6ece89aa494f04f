// xtext of RFC 3461 §4: how ENVID, ORCPT and AUTH= carry any octets.
// Threads: stateless.
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace posthouse::smtp {

// "+" and "=" and what is not printable ASCII become "+XX".
std::string EncodeXtext(absl::string_view text);
// nullopt: not xtext ("+" without two upper-case hex digits, "=", a space, a control).
std::optional<std::string> DecodeXtext(absl::string_view text);

}  // namespace posthouse::smtp
