// ChangeFeed: the newest changes in memory, for watchers that resume.
//
// Keeps the newest kFeedRecords records. A watcher that is further behind gets
// kOutOfRange and must start again. Threads: any.
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
  // `records` ascend and are above `floor`; changes up to `floor` are not known. `revision`
  // is the newest that was ever used.
  void Restore(uint64_t floor, uint64_t revision, std::vector<v1::ChangeRecord> records);
  // Adds the newest change and wakes all watchers. A record without changes only moves the revision.
  void Publish(v1::ChangeRecord record);
  uint64_t revision() const;

  // One watcher. Used by one task; Stop() from any thread.
  class Subscription {
   public:
    ~Subscription();
    // The records after those returned before, at most `limit`. Empty when none came within
    // `wait`, or after Stop(). kOutOfRange: the next record is no longer kept.
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
  // kOutOfRange: changes after `after` are not known, or `after` is above the newest
  // revision, so it is another store's.
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
