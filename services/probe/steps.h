// The steps of a probe's journey. Each opens its own connection and closes it. Errors name what the server said.
// Threads: on the event loop of `Journey::loop`.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/net/connection.h"
#include "services/common/net/tls.h"
#include "services/probe/line_client.h"

namespace posthouse::probe {

struct Journey {
  net::EventLoop& loop;
  std::shared_ptr<net::TlsClientContext> tls;
  std::string tls_name;
  std::string account;  // its address is also sender and recipient
  std::string password;
  std::string token;  // of this message; its subject is kSubject and the token
  absl::Time deadline;
};

// Messages of probes, and of no other sender.
inline constexpr char kSubject[] = "posthouse-probe-";

// RFC 6409, RFC 8314 §3.3: logs in and submits the message. OK: the server has taken it.
Task<absl::Status> Submit(const Journey& journey, Target to);
// Waits in INBOX for the message and compares it. The result: its UID.
Task<absl::StatusOr<uint32_t>> ReadByImap(const Journey& journey, Target to);
// Finds the message among the newest of the maildrop and compares it.
Task<absl::Status> ReadByPop3(const Journey& journey, Target to);
// Deletes the message, and those of earlier journeys that were not completed.
Task<absl::Status> Delete(const Journey& journey, Target to);
// The MX port refuses to relay: OK when a recipient elsewhere is refused for good.
Task<absl::Status> RefusesRelay(const Journey& journey, Target to);

}  // namespace posthouse::probe
