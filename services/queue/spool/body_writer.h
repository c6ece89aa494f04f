// The writer behind Spool::NewBody(), and what all writers of a spool share.
// Threads: MemoryUse and Writing any; a writer belongs to one task.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/common/store/store.h"
#include "services/queue/spool/spool.h"

namespace posthouse::queue {

// Counts bodies held in memory, wherever they are held.
using MemoryUse = std::shared_ptr<std::atomic<size_t>>;

// Names of blobs that this process is writing and no item names yet.
class Writing : public std::enable_shared_from_this<Writing> {
 public:
  // Until the last copy of the mark is gone, the name counts as being written.
  std::shared_ptr<void> Mark(const std::string& id) {
    absl::MutexLock lock(&mutex_);
    ids_.insert(id);
    return std::shared_ptr<void>(nullptr, [self = shared_from_this(), id](void*) {
      absl::MutexLock unmark(&self->mutex_);
      self->ids_.erase(id);
    });
  }
  bool Contains(const std::string& id) const {
    absl::MutexLock lock(&mutex_);
    return ids_.contains(id);
  }

 private:
  mutable absl::Mutex mutex_;
  absl::flat_hash_set<std::string> ids_ ABSL_GUARDED_BY(mutex_);
};

// A small body stays in memory and becomes a row; a larger one goes to a blob, and stays
// in memory too while all of them together keep within `budget`.
std::unique_ptr<BodyWriter> NewBodyWriter(store::Store& store, absl::Time now, MemoryUse use, size_t budget,
                                          std::shared_ptr<Writing> writing);

}  // namespace posthouse::queue
