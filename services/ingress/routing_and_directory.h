// RoutingAndDirectory: the calls of SMTP sessions to routing and directory, and to the
// mailbox for the usage of an account.
//
// It retries nothing: a temporary failure becomes a 4yz reply, and the client retries.
// Threads: any; a call resumes on its caller's executor. Outlives its calls.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "services/common/async/executor.h"
#include "services/common/async/task.h"
#include "services/common/rpc/live_peers.h"
#include "services/common/rpc/login_checks.h"
#include "services/common/rpc/trace.h"
#include "services/ingress/envelope.h"

namespace posthouse::ingress {

// Login::may_send_as, of the addresses that the directory says.
std::vector<std::string> NormalizeSenders(absl::Span<const std::string> addresses);

class RoutingAndDirectory {
 public:
  // `cache_entries`: resolved recipients to keep, each for the time that routing allows.
  // A change in the directory makes it forget them earlier. `executor` outlives Stop().
  static std::unique_ptr<RoutingAndDirectory> Create(const std::shared_ptr<const rpc::LivePeers>& peers,
                                                     size_t cache_entries, Executor& executor);
  virtual ~RoutingAndDirectory() = default;

  // A failed call is Outcome::kTemporary. When one mailbox is the only recipient, its store
  // is asked for its usage, unless an answer of the last two seconds is known and says that
  // it is not full. A store that
  // does not answer within a second delays no other recipient for some seconds: mail for
  // its accounts is taken without `usage`.
  virtual Task<Resolution> Resolve(rpc::TraceContext trace, std::string address, bool may_relay) = 0;
  // The queue has taken a message of this size for the envelope: its mailboxes are that much fuller.
  virtual void Accepted(const Envelope& envelope, uint64_t bytes) = 0;
  virtual Task<absl::StatusOr<Login>> Authenticate(rpc::PasswordLogin login) = 0;
  // The other services may shut down after this: no call starts any more. Not on `executor`.
  virtual void Stop() = 0;
};

}  // namespace posthouse::ingress
