// Folder names: UTF-8, levels separated by "/"; the first level INBOX is in upper case. No I/O.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace posthouse::mailbox {

inline constexpr char kInbox[] = "INBOX";
inline constexpr size_t kMaxNameBytes = 900;
inline constexpr size_t kMaxLevelBytes = 255;
inline constexpr size_t kMaxLevels = 32;

// The name as it is stored: without a trailing separator (RFC 9051 §6.3.4), and with a first
// level INBOX in upper case (§5.1). kInvalidArgument: not UTF-8, control characters, an empty
// or overlong level, or too many levels.
absl::StatusOr<std::string> CanonicalName(absl::string_view name);

// The levels of a canonical name, and the reverse.
std::vector<std::string> SplitName(absl::string_view name);
std::string JoinName(absl::string_view parent, absl::string_view level);

// "" or an attribute of RFC 6154 §2 (or \Important, RFC 8457).
bool IsSpecialUse(absl::string_view attribute);

}  // namespace posthouse::mailbox
