// Capabilities: what a server announced in its (last) EHLO reply.
//
// A server may write anything there; what is not understood is passed over, and what
// is kept is bounded by the reply (ReplyLimits). Fuzzed with the replies.
// Threads: stateless.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace posthouse::smtp {

struct Capabilities {
  bool esmtp = false;  // EHLO worked; false after the HELO fallback
  bool pipelining = false, eight_bit_mime = false, smtputf8 = false, dsn = false, starttls = false,
       enhanced_status_codes = false, chunking = false;
  std::optional<uint64_t> size;   // SIZE; 0: announced without a limit
  std::vector<std::string> auth;  // mechanisms, upper case
};
// From the lines of an EHLO reply; the first names the server.
Capabilities ParseCapabilities(const std::vector<std::string>& lines);

}  // namespace posthouse::smtp
