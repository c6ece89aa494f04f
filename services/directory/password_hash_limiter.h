// PasswordHashLimiter: runs password work on the blocking pool. At most `concurrent` run
// at a time, since the pool has other work, and at most `max_waiting` wait. The waiters of
// each client address (an IPv6 /64) have a line of their own, and the lines take turns (FairGate).
//
// Threads: any; a task resumes on its own executor.
#pragma once

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/async/executor.h"
#include "services/common/async/fair_gate.h"
#include "services/common/async/task.h"
#include "services/common/ip_address/ip_address.h"

namespace posthouse::directory {

class PasswordHashLimiter {
 public:
  // `pool` outlives the limiter, which outlives its Run()s.
  PasswordHashLimiter(Executor& pool, size_t concurrent, size_t max_waiting)
      : pool_(pool), gate_(concurrent, max_waiting) {}

  // Returns what `work` returns; kResourceExhausted when too many wait. `client` names the line.
  // `work` may capture by reference: it is done before this returns.
  template <typename Work, typename R = std::invoke_result_t<Work&>>
  Task<absl::StatusOr<R>> Run(std::string client, Work work) {
    if (!co_await gate_.Enter(ClientOf(client)))
      co_return absl::ResourceExhaustedError("too many password checks are waiting, try again later");
    R result = co_await RunOn(pool_, [&work] { return work(); });
    gate_.Leave();
    co_return std::move(result);
  }

  size_t waiting() const { return gate_.waiting(); }

 private:
  Executor& pool_;
  FairGate gate_;
};

}  // namespace posthouse::directory
