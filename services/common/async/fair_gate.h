// FairGate: lets a bounded number of callers in at a time; the others wait, in one line for
// each key. The lines take turns, so a key with a thousand waiters delays another key by one
// caller, and not by a thousand.
//
//   if (!co_await gate.Enter(client_address)) co_return absl::ResourceExhaustedError("...");
//   ... the work ...
//   gate.Leave();
//
// When `max_waiting` callers wait, a newcomer takes the place of the last one in the longest
// line, unless its own line would be the longest: one key never uses up the room of all.
//
// Threads: any; a caller resumes on its own executor. The gate outlives its callers.
#pragma once

#include <cstddef>
#include <deque>
#include <list>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"
#include "services/common/async/task.h"

namespace posthouse {

class FairGate {
 public:
  FairGate(size_t concurrent, size_t max_waiting) : concurrent_(concurrent), max_waiting_(max_waiting) {}

  // True: inside; call Leave() afterwards. False: too many wait.
  Task<bool> Enter(std::string key);
  void Leave();

  size_t waiting() const;

 private:
  using Waiter = absl::AnyInvocable<void(bool)>;
  using Line = std::deque<Waiter>;

  // Makes room for a waiter of `key`. The waiter that lost its place; null: there is no room for `key`.
  Waiter MakeRoom(const std::string& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t concurrent_;
  const size_t max_waiting_;
  mutable absl::Mutex mutex_;
  size_t inside_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t waiting_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<std::string, Line> lines_ ABSL_GUARDED_BY(mutex_);  // none is empty
  std::list<std::string> turns_ ABSL_GUARDED_BY(mutex_);                  // each key of lines_ once
};

}  // namespace posthouse
