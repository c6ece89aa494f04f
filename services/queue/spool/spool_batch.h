// How many changes become one commit: pure functions behind Spool.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "services/common/store/store.h"
#include "services/queue/spool/item_record.h"

namespace posthouse::queue {

// Enough to share an fsync among all that wait; the rest is the store's limits.
inline constexpr size_t kMaxBatchChanges = 200;

struct PendingChange {
  Change change;
  absl::AnyInvocable<void(absl::Status)> done;
};

// From the front of `pending`, at least one, as many as fit the store's limits.
// Two puts with one idempotency key do not meet in a batch: the second waits, and
// finds the first's row.
std::vector<PendingChange> TakeBatch(std::deque<PendingChange>* pending);

// `head` after `batch`, whose number is `sequence`.
v1::Head NextHead(v1::Head head, const std::vector<PendingChange>& batch, uint64_t sequence);

// One commit of all changes, guarded by the head's old value and by the absence of
// each idempotency key. Where two changes touch one row, the later one wins.
store::CommitRequest ToRequest(const store::Partition& partition, const std::string& head_key,
                               const std::string& old_head, const std::string& new_head,
                               const std::vector<PendingChange>& batch);

// Only what the changes remove (and rows they would rewrite as done marks are not
// written): what a full store still accepts.
store::CommitRequest ToRemovals(const store::Partition& partition, const std::string& head_key,
                                const std::string& old_head, const std::vector<PendingChange>& batch);

}  // namespace posthouse::queue
