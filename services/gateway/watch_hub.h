// WatchHub: one stream of change hints per mailbox shard for the whole process,
// fanned out to the sessions that have a folder open.
//
// A hint says only "look again"; one that is lost costs a poll interval. After a
// stream was down every subscriber of its shard is told to look. Threads: any.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/common/async/executor.h"
#include "services/common/async/task.h"
#include "services/gateway/backend.h"

namespace posthouse::gateway {

class WatchHub {
 public:
  class Subscription {
   public:
    ~Subscription();
    Subscription(const Subscription&) = delete;
    // True: the folder may have changed after `known`.
    bool Changed(uint64_t known) const { return latest_.load(std::memory_order_acquire) > known; }
    // Call before reading the changes, when "may have" is all that is known.
    void Reading();
    // After Reading(): it was not possible, so Changed() stays true.
    void Failed();

   private:
    friend class WatchHub;
    Subscription(WatchHub* hub, std::string key, std::function<void()> wake)
        : hub_(hub), key_(std::move(key)), wake_(std::move(wake)) {}
    WatchHub* const hub_;
    const std::string key_;
    const std::function<void()> wake_;
    std::atomic<uint64_t> latest_{0};
  };

  // Streams run on `executor`. Both outlive the hub.
  WatchHub(Backend& backend, Executor& executor, absl::Duration min_backoff = absl::Milliseconds(100),
           absl::Duration max_backoff = absl::Seconds(5));
  ~WatchHub();  // Stop()s

  // `wake` is called on any thread, briefly, when a hint arrives; never after the
  // subscription is gone. It must not call the hub.
  std::unique_ptr<Subscription> Subscribe(const AccountRef& account, absl::string_view folder_id,
                                          std::function<void()> wake);
  // Ends the streams; blocks until they have ended.
  void Stop();
  // Streams that are up now.
  size_t connected() const;

 private:
  struct Shard;

  Task<void> Follow(std::shared_ptr<Shard> shard);
  Task<void> ReadStream(std::shared_ptr<Shard> shard, std::shared_ptr<WatchStream> stream);
  void Deliver(const Shard& shard, const mail::WatchResponse& response);
  void TellAll(const Shard& shard);
  void Unsubscribe(Subscription* subscription);

  Backend& backend_;
  Executor& executor_;
  const absl::Duration min_backoff_;
  const absl::Duration max_backoff_;
  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t connected_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<std::string, std::shared_ptr<Shard>> shards_ ABSL_GUARDED_BY(mutex_);
  // By shard, account and folder.
  absl::flat_hash_map<std::string, std::vector<Subscription*>> subscriptions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::gateway
