// Mailbox names: modified UTF-7 on the wire, UTF-8 inside, and LIST patterns.
// Threads: stateless.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace posthouse::imap {

inline constexpr char kSeparator = '/';

// RFC 3501 §5.1.3. `utf8` must be valid UTF-8.
std::string EncodeModifiedUtf7(absl::string_view utf8);
// nullopt: not modified UTF-7 (bad base64, half a surrogate pair, open shift).
std::optional<std::string> DecodeModifiedUtf7(absl::string_view wire);

// A name as a client sent it, as UTF-8 with INBOX in capitals (as the first level
// too) and without a trailing separator (RFC 9051 §6.3.4). `utf8`: names are UTF-8
// on the wire; without it raw UTF-8 is accepted as well. nullopt: the name is empty,
// badly encoded, longer than 1000 bytes, or has control characters or empty levels.
std::optional<std::string> DecodeMailboxName(absl::string_view wire, bool utf8 = false);

// One LIST pattern with its reference (RFC 9051 §6.3.9): "*" matches anything, "%"
// anything but the separator.
class ListPattern {
 public:
  // Both as on the wire.
  ListPattern(absl::string_view reference, absl::string_view pattern, bool utf8 = false);
  // `name` is a decoded name. Time is at most |pattern| x |name|.
  bool Matches(absl::string_view name) const;
  bool empty() const { return pattern_.empty(); }

 private:
  std::string pattern_;
};

}  // namespace posthouse::imap
