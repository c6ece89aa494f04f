// ChangeFeed: the newest changes in memory, for watchers that resume.
//
// Bounded: the newest kFeedRecords records; a watcher that fell further behind is
// told kOutOfRange and starts anew. Threads: any.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "posthouse/directory/v1/store.pb.h"
#include "services/common/async/sync.h"
#include "services/common/async/task.h"

namespace posthouse::directory {

inline constexpr size_t kFeedRecords = 10000;

class ChangeFeed {
 public:
  // Changes up to `floor` are not known; `records` ascend and are above it;
  // `revision` is the newest ever given out.
  void Restore(uint64_t floor, uint64_t revision, std::vector<v1::ChangeRecord> records);
  // The newest change; wakes every watcher. Records without changes only move the revision.
  void Publish(v1::ChangeRecord record);
  uint64_t revision() const;

  // One watcher. Used by one task; Stop() from any thread.
  class Subscription {
   public:
    ~Subscription();
    // Records after the last ones returned, at most `limit`; empty after `wait`
    // without any, or after Stop(). kOutOfRange: fell off the end.
    Task<absl::StatusOr<std::vector<v1::ChangeRecord>>> Next(size_t limit, absl::Duration wait);
    uint64_t position() const { return after_; }
    void Stop();

   private:
    friend class ChangeFeed;
    Subscription(ChangeFeed& feed, uint64_t after);
    ChangeFeed& feed_;
    uint64_t after_;
    Wakeup wakeup_;
  };
  // `after` above the newest revision is kOutOfRange too: another store's revision.
  absl::StatusOr<std::unique_ptr<Subscription>> Subscribe(uint64_t after, bool only_new);
  size_t watchers() const;

 private:
  absl::StatusOr<std::vector<v1::ChangeRecord>> After(uint64_t revision, size_t limit) const;

  mutable absl::Mutex mutex_;
  uint64_t floor_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t revision_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<v1::ChangeRecord> records_ ABSL_GUARDED_BY(mutex_);
  std::vector<Subscription*> watchers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::directory
