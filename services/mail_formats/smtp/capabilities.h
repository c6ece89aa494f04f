// Capabilities: the extensions of a server's last EHLO reply.
//
// Unknown keywords are ignored. The size is bounded by the reply (ReplyLimits). The
// fuzz target of replies covers this parser.
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
