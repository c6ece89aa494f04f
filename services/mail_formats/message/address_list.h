// Address lists of header fields: RFC 5322 §3.4 with groups, the obsolete forms, and
// the errors of real mail (missing commas, unquoted specials in names, raw 8-bit,
// unbalanced quotes). Parsing never fails: an unreadable address has `broken` set, and
// `mailbox` or `host` empty. The envelope's grammar is mail_formats/smtp/path.h.
//
// Threads: stateless; values.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace posthouse::message {

struct Address {
  enum class Kind { kMailbox, kGroupStart, kGroupEnd };
  Kind kind = Kind::kMailbox;
  std::string name;  // display name or comment, unquoted; encoded words as sent
  bool has_name = false;
  std::string route;    // "@a,@b" (obs-route)
  std::string mailbox;  // local part, unquoted; of kGroupStart: the group's name
  std::string host;
  bool broken = false;

  friend bool operator==(const Address&, const Address&) = default;
};

// `raw` may be folded. At most `max` entries; the rest is dropped.
std::vector<Address> ParseAddresses(absl::string_view raw, size_t max = 10000);

}  // namespace posthouse::message
