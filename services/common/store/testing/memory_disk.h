// MemoryDisk: what outlives a MemoryStore, and the switches that tests turn.
//
// The disk is as unhelpful as the contract of store.h allows: it lists blobs in the order of a
// hash, and on request it stalls, is full, fails, limits the rows of a partition, lets commits
// happen late or never, and loses in a power failure the blobs that no commit needed. Its
// choices depend on `seed` and on the order of the calls alone, so a test that makes its calls
// in one order repeats exactly.
//
// Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/synchronization/mutex.h"
#include "services/common/async/task.h"
#include "services/common/async/thread_pool.h"
#include "services/common/store/store.h"

namespace posthouse::store {

// What becomes of a commit, and what its caller learns.
enum class CommitFate {
  kAnswered,  // the truth
  kHappened,  // happened now (if its preconditions hold), answered kDeadlineExceeded
  kNever,     // never happens, answered kDeadlineExceeded
  kLate,      // answered kDeadlineExceeded; lands at a later operation, or at LandLate()
};

// The share of each fate, in percent of the commits; the rest are kAnswered.
struct CommitFates {
  int happened = 0;
  int never = 0;
  int late = 0;
  // Before each operation of any store on the disk: the percentage of late commits that
  // land, each on its own.
  int landing = 30;
};

class MemoryDisk {
 public:
  explicit MemoryDisk(EngineLimits limits = {}, uint64_t seed = 1);
  ~MemoryDisk();

  // Free space as Capacity() reports it; below `min_free_bytes` the store is full.
  void SetFreeBytes(uint64_t free_bytes, uint64_t min_free_bytes = 1);

  // Called before each valid commit. A status other than OK is the caller's answer. The
  // commit happens nevertheless when the hook sets `*apply_anyway`, so a test can have
  // kDeadlineExceeded ("unknown") with either truth. The hook must not use the store.
  // Null: no faults.
  using CommitHook = std::function<absl::Status(const CommitRequest& request, bool* apply_anyway)>;
  void SetCommitHook(CommitHook hook);
  // Decides each commit's fate. It must not use the store. Null: all are answered.
  using FateHook = std::function<CommitFate(const CommitRequest& request)>;
  void SetFates(FateHook hook);
  void SetFates(const CommitFates& shares);
  // Late commits that have not landed.
  size_t late_commits() const;
  // Lands all late commits, in an order that the seed gives. Those whose preconditions
  // no longer hold do not happen.
  void LandLate();
  // The late commits never happen.
  void DropLate();

  // Calls wait from now on, until Resume(), and then run in the order in which they came.
  // Resume() must come before the end of the stores and of the test.
  void Stall();
  void Resume();
  // Runs the timers of deadlines while the disk is stalled; must outlive the disk's use.
  // Null: a thread of the disk's own.
  void SetTimers(Executor* timers);

  // Every read, of rows and blobs, fails with this until it is OK again.
  void SetReadError(absl::Status error);
  // What Health() of every store answers.
  void SetHealth(absl::Status health);

  // Loses each blob that no commit needed which happened; late commits land or never
  // happen. The stores over the disk must be gone.
  void PowerLoss();
  // Late commits that landed when a blob of their `needs_blobs` was deleted already: each
  // is a row without its body. A test's last line expects 0.
  size_t commits_without_blobs() const;

 private:
  friend class MemoryStore;
  friend class MemoryBlobs;
  using Rows = std::map<std::string, std::string>;
  using Name = std::pair<std::string, std::string>;  // tenant, and partition id or blob name
  struct Blob {
    absl::Cord bytes;
    bool needed = false;  // by a commit that happened
  };

  // What a full store answers, and one whose answer is lost.
  static absl::Status FullError();
  static absl::Status UnknownError();
  bool full() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return free_bytes_ < min_free_bytes_; }
  // A blob's place in List(): hash, then name.
  std::string BlobCursor(const std::string& name) const;
  absl::Status Commit(CommitRequest request);
  absl::Status Apply(const CommitRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LandSome(int percent) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Task<void> WaitWhileStalled();
  Executor& timers();

  const EngineLimits limits_;
  const uint64_t seed_;
  mutable absl::Mutex mutex_;
  std::mt19937_64 random_ ABSL_GUARDED_BY(mutex_);
  std::map<Name, Rows> partitions_ ABSL_GUARDED_BY(mutex_);
  std::map<Name, Blob> blobs_ ABSL_GUARDED_BY(mutex_);
  std::vector<CommitRequest> late_ ABSL_GUARDED_BY(mutex_);
  int landing_percent_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t commits_without_blobs_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stalled_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<absl::AnyInvocable<void(bool)>> waiting_ ABSL_GUARDED_BY(mutex_);
  Executor* timers_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::unique_ptr<ThreadPool> own_timers_ ABSL_GUARDED_BY(mutex_);
  uint64_t free_bytes_ ABSL_GUARDED_BY(mutex_) = uint64_t{1} << 40;
  uint64_t min_free_bytes_ ABSL_GUARDED_BY(mutex_) = 1;
  CommitHook commit_hook_ ABSL_GUARDED_BY(mutex_);
  FateHook fate_hook_ ABSL_GUARDED_BY(mutex_);
  absl::Status read_error_ ABSL_GUARDED_BY(mutex_);
  absl::Status health_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::store
