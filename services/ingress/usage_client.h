// UsageClient: asks the mailbox how full an account is, for the reply to RCPT.
//
// Answers are kept for kKeep, and messages that were accepted meanwhile count as stored: they are on their way. No
// answer is kept that says "full", since the owner may make room. A store that fails is not asked for kSkip, so that
// its accounts do not wait at each RCPT: over quota is then found at delivery. Threads: any; a call resumes on its
// caller's executor. Outlives its calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/ids/ids.h"
#include "services/common/rpc/live_peers.h"
#include "services/common/rpc/trace.h"
#include "services/ingress/envelope.h"

namespace posthouse::common::v1 {
class AccountRef;
}

namespace posthouse::ingress {

class UsageClient {
 public:
  static constexpr absl::Duration kDeadline = absl::Seconds(1);
  static constexpr absl::Duration kKeep = absl::Seconds(2);
  static constexpr absl::Duration kSkip = absl::Seconds(5);
  static constexpr size_t kMaxEntries = 10000;  // then all are forgotten

  explicit UsageClient(std::shared_ptr<const rpc::LivePeers> peers) : peers_(std::move(peers)) {}
  // nullopt: the account has no quota, or the store did not answer. `account` has the limits
  // that the directory knows, and lives until the call ends.
  Task<std::optional<MailboxUsage>> Of(const rpc::TraceContext& trace, const common::v1::AccountRef& account);
  // A message of this size was accepted for `account`.
  void Accepted(const common::v1::AccountRef& account, uint64_t bytes);

 private:
  struct Entry {
    std::optional<MailboxUsage> usage;
    absl::Time expires;
  };

  const std::shared_ptr<const rpc::LivePeers> peers_;
  absl::Mutex mutex_;
  absl::flat_hash_map<std::string, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<Home, absl::Time> skip_until_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::ingress
