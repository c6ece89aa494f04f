// Folder names: UTF-8, levels separated by "/", INBOX exactly so. No I/O.
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

// The name as it is stored: a trailing separator dropped (RFC 9051 §6.3.4), a first
// level of INBOX in any case written so (§5.1). kInvalidArgument: no UTF-8, an empty
// or overlong level, control characters.
absl::StatusOr<std::string> CanonicalName(absl::string_view name);

// Of a canonical name.
std::vector<std::string> SplitName(absl::string_view name);
std::string JoinName(absl::string_view parent, absl::string_view level);

// "" or an attribute of RFC 6154 §2 (or \Important, RFC 8457).
bool IsSpecialUse(absl::string_view attribute);

}  // namespace posthouse::mailbox
