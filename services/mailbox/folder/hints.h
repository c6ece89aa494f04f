// HintHub: tells every gateway's Watch stream which folders changed. Hints of one
// folder coalesce while a stream is busy, so a slow gateway costs one entry a folder;
// one that falls behind by kMaxPending folders loses hints, which costs its sessions at
// most a poll interval. Threads: any.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "services/common/async/sync.h"

namespace posthouse::mailbox {

struct Hint {
  std::string account_id;
  std::string folder_id;
  uint64_t highest_modseq = 0;
  bool tree_changed = false;
};

class HintHub {
 public:
  static constexpr size_t kMaxPending = 100000;

  class Subscription {
   public:
    explicit Subscription(HintHub& hub) : hub_(hub) { hub_.Add(this); }
    ~Subscription() { hub_.Remove(this); }
    Subscription(const Subscription&) = delete;
    // Signalled when hints wait, or by Close().
    Wakeup& wakeup() { return wakeup_; }
    std::vector<Hint> Take(size_t limit);
    uint64_t lost() const;

   private:
    friend class HintHub;
    void Push(const Hint& hint);
    HintHub& hub_;
    Wakeup wakeup_;
    mutable absl::Mutex mutex_;
    absl::flat_hash_map<std::pair<std::string, std::string>, Hint> pending_ ABSL_GUARDED_BY(mutex_);
    uint64_t lost_ ABSL_GUARDED_BY(mutex_) = 0;
  };

  void FolderChanged(const std::string& account_id, const std::string& folder_id, uint64_t modseq);
  void TreeChanged(const std::string& account_id);
  // Wakes every stream; closed() is true from now on.
  void Close();
  bool closed() const;
  size_t subscribers() const;

 private:
  void Publish(const Hint& hint);
  void Add(Subscription* subscription);
  void Remove(Subscription* subscription);
  mutable absl::Mutex mutex_;
  absl::flat_hash_set<Subscription*> subscriptions_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace posthouse::mailbox
