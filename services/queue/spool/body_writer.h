// BodyWriter: takes the bytes of one message before an item names them.
//
// A body of up to the engine's max_row_body_bytes stays in memory and becomes a row. A larger one goes
// to a blob. Up to kMaxMemoryBodyBytes, and while all bodies in memory together keep
// within the budget, a larger body stays in memory too, so that its first delivery does
// not read it back.
//
// Threads: a BodyWriter belongs to one task; MemoryUse and BlobsInProgress any.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/store/store.h"
#include "services/queue/spool/queue_id.h"

namespace posthouse::queue {

inline constexpr size_t kMaxMemoryBodyBytes = 256 * 1024;

// Bytes of all bodies in memory: those being written and those kept for a delivery.
using MemoryUse = std::shared_ptr<std::atomic<size_t>>;

// Names of the blobs that this process is writing and that no item names yet.
class BlobsInProgress : public std::enable_shared_from_this<BlobsInProgress> {
 public:
  // The name counts as in progress until the last copy of the guard is gone.
  std::shared_ptr<void> Guard(const QueueId& name) {
    absl::MutexLock lock(&mutex_);
    names_.insert(name);
    return std::shared_ptr<void>(nullptr, [self = shared_from_this(), name](void*) {
      absl::MutexLock unlock(&self->mutex_);
      self->names_.erase(name);
    });
  }
  bool Contains(const QueueId& name) const {
    absl::MutexLock lock(&mutex_);
    return names_.contains(name);
  }

 private:
  mutable absl::Mutex mutex_;
  absl::flat_hash_set<QueueId> names_ ABSL_GUARDED_BY(mutex_);
};

// The bytes of one message, written and not yet owned by an item.
struct Body {
  QueueId queue_id;  // made with it
  uint64_t size_bytes = 0;
  bool blob = false;                          // else `memory` is what is stored
  std::shared_ptr<const std::string> memory;  // the whole; null when it was too large to keep
  std::shared_ptr<void> write_guard;          // keeps SweepBlobs() away from the blob
};

// Destroyed before Finish(): nothing was stored.
class BodyWriter {
 public:
  BodyWriter(store::Store& store, absl::Time now, MemoryUse use, size_t budget,
             std::shared_ptr<BlobsInProgress> in_progress);
  ~BodyWriter();
  BodyWriter(const BodyWriter&) = delete;
  BodyWriter& operator=(const BodyWriter&) = delete;

  // Errors: those of BlobWriter::Append(). Await one call before the next.
  Task<absl::Status> Append(std::string piece);
  Task<absl::StatusOr<Body>> Finish();
  uint64_t size() const { return size_; }
  const QueueId& queue_id() const { return queue_id_; }

 private:
  void Keep(std::string piece);
  void KeepNothing();  // gives `kept_` back
  bool MayKeep(size_t more) const;

  store::Store& store_;
  const MemoryUse use_;
  const size_t budget_;
  const std::shared_ptr<BlobsInProgress> in_progress_;
  const QueueId queue_id_;
  std::unique_ptr<store::BlobWriter> blob_;
  std::string kept_;  // all bytes so far, while `keep_`; counted in `use_`
  uint64_t size_ = 0;
  bool keep_ = true;
  std::shared_ptr<void> write_guard_;
};

}  // namespace posthouse::queue
