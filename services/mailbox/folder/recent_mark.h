// RecentMark: up to which UID the sessions of a folder were told about its messages as \Recent.
//
// RFC 3501 §2.3.2: the first session that is notified of a message has it as \Recent, later ones do
// not. A session claims what it is about to tell. The mark is a row of its own and not in the head:
// a claim is no change of the folder, takes no modseq and wakes nobody.
//
// Durability: a claim is one small commit, guarded by the row that it replaces, and only when there
// is something to claim. When it cannot be written (the store is full, or away) the mark moves in
// memory alone. Then the messages are \Recent once more after a restart, as RFC 3501 allows where a
// server cannot tell.
//
// Several processes: the guard gives each message to one claim. Told() may miss the newest claims of
// others.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/async/sync.h"
#include "services/common/async/task.h"
#include "services/common/ids/ids.h"
#include "services/common/store/store.h"

namespace posthouse::mailbox {

class RecentMark {
 public:
  // `partition` is that of the folder; the store outlives the object.
  RecentMark(store::Store& store, store::Partition partition) : store_(store), partition_(std::move(partition)) {}

  // All UIDs up to it were claimed; empty: none.
  Task<absl::StatusOr<Uid>> Told();
  // Claims all UIDs up to `uid` and answers what Told() was before: those in between are the caller's.
  Task<absl::StatusOr<Uid>> Claim(Uid uid);

 private:
  Task<absl::Status> Load();

  store::Store& store_;
  const store::Partition partition_;
  AsyncMutex mutex_;  // held over reads and commits; guards what follows
  bool loaded_ = false;
  std::optional<std::string> row_;  // as stored
  Uid told_;                        // may be ahead of the row
};

}  // namespace posthouse::mailbox
