// Usage: what one account holds, as the sum over its folders' heads. Counted once,
// folder by folder, then kept by every commit; reservations stop parallel additions
// from passing the limit together. Threads: any.
#pragma once

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "services/common/ids/ids.h"

namespace posthouse::mailbox {

// 0: no limit.
struct Quota {
  uint64_t bytes = 0;
  uint64_t messages = 0;
  bool limited() const { return bytes != 0 || messages != 0; }
};

class Usage {
 public:
  struct Amount {
    int64_t bytes = 0;
    int64_t messages = 0;
    friend Amount operator-(const Amount& a, const Amount& b) { return {a.bytes - b.bytes, a.messages - b.messages}; }
  };

  // The folder's head has `amount`. Call it where no commit can change the head meanwhile.
  void Count(const FolderId& folder_id, Amount amount);
  // A commit changed the folder by `delta`. Ignored while the folder is not counted.
  void Changed(const FolderId& folder_id, Amount delta);
  // The folder is gone.
  void Forget(const FolderId& folder_id, Amount amount);
  bool Counted(const FolderId& folder_id) const;
  Amount Total() const;

  // Room for `amount` within `quota`, held until it is destroyed.
  class Reservation {
   public:
    Reservation() = default;
    Reservation(Reservation&& other) noexcept;
    Reservation& operator=(Reservation&&) = delete;
    ~Reservation();
    bool ok() const { return usage_ != nullptr; }
    // Gives back `amount`, which a commit has added to the usage.
    void Give(Amount amount);

   private:
    friend class Usage;
    Reservation(Usage* usage, Amount amount) : usage_(usage), amount_(amount) {}
    Usage* usage_ = nullptr;
    Amount amount_;
  };
  // Not ok(): the quota has no room for it.
  Reservation Reserve(Amount amount, const Quota& quota);

 private:
  mutable absl::Mutex mutex_;
  absl::flat_hash_set<FolderId> counted_ ABSL_GUARDED_BY(mutex_);
  Amount total_ ABSL_GUARDED_BY(mutex_);
  Amount reserved_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::mailbox
