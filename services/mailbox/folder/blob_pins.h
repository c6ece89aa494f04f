// BlobPins: blobs that an operation is writing or copying, and that no row may name yet. The
// sweeper keeps every blob that was pinned at any moment since its sweep began:
//
//   copy:    read the source row and Pin between two commits -> commit the target row -> unpin
//   sweep:   BeginSweep -> scan every row -> MayDelete(blob) -> delete -> EndSweep
//
// When a copy unpins before BeginSweep, the scan sees its row. BlobPins remembers later ones until
// EndSweep. Pins are of this process. Threads: any.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"

#include "services/common/ids/ids.h"

namespace posthouse::mailbox {

class BlobPins {
 public:
  // Holds blobs of one operation; lets them go when destroyed.
  class Hold {
   public:
    explicit Hold(BlobPins& pins) : pins_(pins) {}
    ~Hold();
    Hold(const Hold&) = delete;
    void Pin(const ObjectId& blob);

   private:
    BlobPins& pins_;
    std::vector<ObjectId> blobs_;
  };

  void BeginSweep();
  bool MayDelete(const ObjectId& blob) const;
  void EndSweep();
  size_t size() const;

 private:
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<ObjectId, int> held_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_set<ObjectId> released_ ABSL_GUARDED_BY(mutex_);  // during the sweep that runs
  bool sweeping_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace posthouse::mailbox
