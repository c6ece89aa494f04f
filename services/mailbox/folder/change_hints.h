// ChangeHints: tells each gateway which of the folders that it watches have changed.
//
// A hint says "read the changes". Hints of one folder coalesce while a stream is busy, so a
// stream never holds more hints than it has folders. Threads: any.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "services/common/async/sync.h"
#include "services/common/ids/ids.h"

namespace posthouse::mailbox {

struct Hint {
  AccountId account_id;
  FolderId folder_id;
  Modseq highest_modseq;  // empty: not known; the folder was deleted or could not be read
};

class ChangeHints {
 public:
  // The folders of one gateway, and the hints that it has not taken yet. It ends before the
  // ChangeHints that it was made with.
  class Stream {
   public:
    explicit Stream(ChangeHints& hints);
    ~Stream();
    Stream(const Stream&) = delete;
    // From its return on no change of the folder is missed.
    void Watch(const AccountId& account_id, const FolderId& folder_id);
    void Forget(const AccountId& account_id, const FolderId& folder_id);
    // Adds a hint, whether the folder is watched or not.
    void Push(Hint hint);
    // At most `limit` of the hints that wait.
    std::vector<Hint> Take(size_t limit);
    // Signalled when hints wait, and by Close().
    Wakeup& wakeup() { return wakeup_; }

   private:
    friend class ChangeHints;
    using Key = std::pair<AccountId, FolderId>;
    ChangeHints& hints_;
    Wakeup wakeup_;
    absl::flat_hash_set<Key> watched_ ABSL_GUARDED_BY(hints_.mutex_);
    absl::Mutex mutex_;
    absl::flat_hash_map<Key, Modseq> pending_ ABSL_GUARDED_BY(mutex_);
  };

  void FolderChanged(const AccountId& account_id, const FolderId& folder_id, Modseq modseq);
  // Sessions learn that the folder is gone when they read its changes.
  void FolderDeleted(const AccountId& account_id, const FolderId& folder_id);
  // Wakes every stream; closed() is true from now on.
  void Close();
  bool closed() const;
  size_t streams() const;
  size_t watched_folders() const;

 private:
  mutable absl::Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  absl::flat_hash_set<Stream*> streams_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<Stream::Key, std::vector<Stream*>> watchers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::mailbox
