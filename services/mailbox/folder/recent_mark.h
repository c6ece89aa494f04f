// RecentMark: up to which UID the sessions of a folder were told about its messages as \Recent.
//
// RFC 3501 §2.3.2: the first session that is notified of a message has it as \Recent, later ones do
// not. A session claims what it is about to tell. The mark is a row of its own and not in the head:
// a claim is no change of the folder, takes no modseq and wakes nobody.
//
// The row is the head of a store::GuardedPartition of its own: conflicts with other processes and
// unknown outcomes are worked on there. A claim is one small commit, and only when there is
// something to claim. When it cannot be written (the store is full, or away) the mark moves in
// memory alone. Then the messages are \Recent once more after a restart, as RFC 3501 allows where a
// server cannot tell.
//
// Several processes: the guard gives each message to one claim. Told() may miss the newest claims of
// others.
//
// Threads: any.
#pragma once

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "services/common/async/task.h"
#include "services/common/ids/ids.h"
#include "services/common/store/store.h"

namespace posthouse {
class Executor;
}
namespace posthouse::store {
template <typename Model>
class GuardedPartition;
}

namespace posthouse::mailbox {

class RecentModel;

class RecentMark {
 public:
  // `partition` is that of the folder. The store and the executor (where a claim waits between two
  // tries; null: it does not wait) outlive the object.
  RecentMark(store::Store& store, store::Partition partition, Executor* executor);
  ~RecentMark();

  // All UIDs up to it were claimed; empty: none. An error is that of reading the row.
  Task<absl::StatusOr<Uid>> Told();
  // Claims all UIDs up to `uid` and answers what Told() was before: those in between are the caller's.
  // An error: the row could never be read.
  Task<absl::StatusOr<Uid>> Claim(Uid uid);

 private:
  using Row = store::GuardedPartition<RecentModel>;
  std::shared_ptr<Row> row();
  // Moves the mark of this process to `uid`; answers where it was, `written` at least.
  Uid Reserve(Uid written, Uid uid);

  store::Store& store_;
  const store::Partition partition_;
  Executor* const executor_;
  absl::Mutex mutex_;
  std::shared_ptr<Row> row_ ABSL_GUARDED_BY(mutex_);  // made by the first call: most folders need none
  Uid reserved_ ABSL_GUARDED_BY(mutex_);              // by calls of this process; may be ahead of the row
};

}  // namespace posthouse::mailbox
