#include "services/mailbox/message/quota_append.h"

#include <utility>

#include "services/common/status/status.h"

namespace posthouse::mailbox {

NewMessage MessageOf(const ReceivedMessage& received) {
  NewMessage message;
  message.size_bytes = received.size_bytes;
  message.blob = received.blob;
  message.thread_id = received.cached->thread_id;
  message.cached = received.cached;
  return message;
}

Task<AppendOutcome> AppendWithinQuota(Mailboxes& mailboxes, std::shared_ptr<Account> account,
                                      std::shared_ptr<Folder> folder, Quota quota, NewMessage message) {
  if (quota.limited()) {
    const absl::Status counted = co_await mailboxes.CountUsage(account);
    if (!counted.ok()) co_return AppendOutcome{counted};
  }
  const Usage::Reservation room = account->usage()->Reserve({static_cast<int64_t>(message.size_bytes), 1}, quota);
  if (room.ok()) co_return AppendOutcome{co_await folder->Append(std::move(message)), false, false, /*tried=*/true};
  if (!message.dedupe_key.empty()) {
    const absl::StatusOr<std::optional<Uid>> before = co_await folder->FindStoredUid(message.dedupe_key);
    if (!before.ok()) co_return AppendOutcome{before.status()};
    if (before->has_value()) co_return AppendOutcome{AppendResult{**before, /*duplicate=*/true}};
  }
  if (quota.bytes > 0 && message.size_bytes > quota.bytes) {
    co_return AppendOutcome{absl::ResourceExhaustedError("the message is larger than the whole quota"),
                            /*over_quota=*/true, /*never_fits=*/true};
  }
  co_return AppendOutcome{absl::ResourceExhaustedError("over quota"), /*over_quota=*/true};
}

}  // namespace posthouse::mailbox
