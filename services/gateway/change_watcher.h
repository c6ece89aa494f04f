// ChangeWatcher: follows the folders that sessions have open.
//
// The process has one Watch stream per mailbox shard. The stream carries the folders of all
// sessions to the mailbox, and hints back: "read the changes". A stream that was lost names its
// folders again with the modseqs that the sessions have, so no change is missed; a hint that is
// lost all the same costs a poll interval. Threads: any.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/common/async/executor.h"
#include "services/common/async/task.h"
#include "services/common/ids/ids.h"
#include "services/gateway/mailbox_client.h"

namespace posthouse::gateway {

class ChangeWatcher {
  struct Shard;
  using FolderKey = std::pair<AccountId, FolderId>;

 public:
  // The interest of one session in one folder.
  class Subscription {
   public:
    ~Subscription();
    Subscription(const Subscription&) = delete;
    // True: the folder has changed after `known`, or may have.
    bool Changed(Modseq known) const { return latest_.load(std::memory_order_acquire) > known; }
    // Call these around each read of the changes.
    void BeginRead();
    void EndRead(Modseq modseq);  // the session has all changes up to `modseq`
    void FailRead();              // Changed() stays true

   private:
    friend class ChangeWatcher;
    Subscription(ChangeWatcher* watcher, std::shared_ptr<Shard> shard, FolderKey key, Modseq known,
                 std::function<void()> wake);
    ChangeWatcher* const watcher_;
    const std::shared_ptr<Shard> shard_;
    const FolderKey key_;
    const std::function<void()> wake_;
    std::atomic<Modseq> known_;
    std::atomic<Modseq> latest_{Modseq()};
  };

  // Streams run on `executor`. Both outlive the watcher.
  ChangeWatcher(MailboxClient& mailbox, Executor& executor, absl::Duration min_backoff = absl::Milliseconds(100),
                absl::Duration max_backoff = absl::Seconds(5));
  ~ChangeWatcher();  // Stop()s

  // From now on every change after `known` makes Changed() true and calls `wake`: on any
  // thread, briefly, never after the subscription is gone. `wake` must not call the watcher.
  std::unique_ptr<Subscription> Subscribe(const AccountRef& account, const FolderId& name, Modseq known,
                                          std::function<void()> wake);
  // Ends the streams; blocks until they have ended.
  void Stop();
  // Streams that are up now.
  size_t connected() const;

 private:
  Task<void> Follow(std::shared_ptr<Shard> shard);
  Task<bool> ReadHints(std::shared_ptr<Shard> shard, std::shared_ptr<WatchStream> stream);
  Task<bool> SendFolders(std::shared_ptr<Shard> shard, std::shared_ptr<WatchStream> stream);
  void Deliver(const Shard& shard, const mail::WatchResponse& response);
  // Puts what the mailbox does not know yet into `request`; false: nothing.
  bool NextRequest(Shard& shard, mail::WatchRequest* request);
  void Unsubscribe(Subscription* subscription);

  MailboxClient& mailbox_;
  Executor& executor_;
  const absl::Duration min_backoff_;
  const absl::Duration max_backoff_;
  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t connected_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<Home, std::shared_ptr<Shard>> shards_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::gateway
