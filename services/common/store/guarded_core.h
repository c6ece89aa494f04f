// GuardedCore: the part of a GuardedPartition without types: its queue of changes, one commit
// at a time, conflicts and unknown outcomes. Only GuardedPartition derives from it; what it
// promises stands in guarded_partition.h.
//
//   guarded_core.cc    the queue: which changes share a commit, who is answered, waiting, closing
//   guarded_round.cc   a round before its commit: load, read, follow other writers, decide
//   guarded_commit.cc  the commit, and what became of it when the store does not know
//
// Threads: any; the loop (the last part of the class) is one coroutine at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/common/async/executor.h"
#include "services/common/async/task.h"
#include "services/common/store/guarded_draft.h"
#include "services/common/store/store.h"

namespace posthouse::metrics {
class Counter;
class Registry;
}  // namespace posthouse::metrics

namespace posthouse::store {

// How the head of a partition guards its changes.
enum class GuardKind {
  kHead,        // any writer replaces the head; a head of another writer is followed through its log, or loaded anew
  kOwnedHead,   // one owner replaces the head; a head of another owner ends this object ("fenced")
  kCompareRow,  // the head is compared and never replaced; the proof row, absent before, tells the outcome
};
// Counters of one kind of partition ("folder", "account"), shared by all its objects.
struct GuardMetrics {
  GuardMetrics(metrics::Registry& registry, const std::string& kind);
  metrics::Counter& commits;    // posthouse_store_guarded_commits_total{kind}
  metrics::Counter& conflicts;  // posthouse_store_conflicts_total{kind}
  metrics::Counter& unknown;    // posthouse_store_unknown_commits_total{kind}
};

struct GuardedOptions {
  Store* store = nullptr;  // outlives the partition
  Partition partition;
  std::string head_key = "H";
  GuardKind kind = GuardKind::kHead;
  std::string log_prefix;  // "": no log; a head of another writer is loaded anew
  // Timers run here; it outlives the partition. Null: no lingering, no waiting between tries.
  Executor* executor = nullptr;
  absl::Duration linger = absl::Milliseconds(10);  // how long lazy changes wait for company
  size_t max_batch = 200;                          // deciders of one commit
  size_t seal_rows = 8;                            // rows that Model::Seal adds at most
  // How long a change is tried, when it has no deadline of its own.
  absl::Duration patience = absl::Seconds(30);
  GuardMetrics* metrics = nullptr;  // null: not counted
  std::function<absl::Time()> clock = [] { return absl::Now(); };
  std::function<uint64_t()> random;  // null: seeded by the system
};

struct ChangeOptions {
  // Conflicts and unknown outcomes are worked on until then. Default: now + patience.
  std::optional<absl::Time> deadline;
  // Goes on while the store is full: it makes room, or something must be written to make room.
  bool use_reserve = false;
  // May wait `linger` for company.
  bool lazy = false;
  // kDone and errors rest on the head as it is in the store now, not on memory.
  bool fresh = false;
  // What Model::Load must have loaded for the decider: bits of the model's choice.
  unsigned parts = 0;
};

// The part without types: queue, commits, outcomes. See GuardedPartition.
class GuardedCore : public std::enable_shared_from_this<GuardedCore> {
 public:
  using Done = absl::AnyInvocable<void(absl::Status)>;

  virtual ~GuardedCore();
  GuardedCore(const GuardedCore&) = delete;
  GuardedCore& operator=(const GuardedCore&) = delete;

  // Accepts no further change: later ones are answered `why`. What waits gets one more
  // try. Returns when nothing is outstanding; a commit that is still unknown is answered so.
  Task<void> Close(absl::Status why = absl::UnavailableError("closing"));
  // OK, or why every change is refused: fenced, a damaged head (kOwnedHead), closed.
  absl::Status healthy() const;
  const Partition& partition() const { return options_.partition; }

 protected:
  struct Request {
    absl::AnyInvocable<absl::StatusOr<Verdict>(const FetchedRows&, Draft&)> decide;
    ChangeOptions options;
    Done done;
    std::vector<std::string> keys;       // rows to read for it
    std::optional<absl::Status> answer;  // of its last run, unless it drafted something
    bool drafted = false;
    bool rejected = false;               // `answer` is final whatever becomes of the batch
    bool in_doubt = false;               // part of the commit in doubt
    bool tried = false;                  // part of a commit, or of a load, that failed
    bool full = false;                   // drafts what a full store accepts
    size_t first_guard = 0, guards = 0;  // its preconditions in the draft
    int restarts = 0;                    // how often `keys` began anew
  };
  enum class Memory { kNone, kStale, kCurrent };

  explicit GuardedCore(GuardedOptions options);
  void Enqueue(Request request);

  // ---- what GuardedPartition<Model> adds: the same with types
  virtual Task<absl::Status> LoadState(unsigned parts) = 0;
  virtual bool HasParts(unsigned parts) const = 0;
  virtual absl::Status Refuse() const = 0;
  virtual std::unique_ptr<Draft> Begin() = 0;
  virtual absl::StatusOr<SealedDraft> Seal(Draft& draft) = 0;
  virtual Task<absl::Status> Prepare(Draft& draft) = 0;
  virtual void Apply(Draft& draft) = 0;
  virtual std::string LogPosition() const = 0;
  virtual absl::StatusOr<bool> Patch(const std::string& head, const std::vector<Row>& log) = 0;

  const GuardedOptions options_;
  mutable absl::Mutex state_mutex_;  // the state changes under it, in the loop only
  Memory memory_ ABSL_GUARDED_BY(state_mutex_) = Memory::kNone;
  std::optional<std::string> head_;  // as stored; of the loop

 private:
  // A commit whose outcome is not known.
  struct Doubt {
    std::unique_ptr<Draft> draft;
    SealedDraft sealed;
    CommitRequest request;
    bool refused = false;    // sent again, it was a conflict
    bool abandoned = false;  // tried to move the head past it
  };
  enum class Fate {
    kOpen,    // it may have happened, or happen yet
    kLanded,  // it happened
    kNever,   // it did not happen and cannot happen any more
    kUntold,  // another commit happened since, and nothing that is left tells of this one
  };
  // What a decider did in one run.
  enum class Ran { kDrafted, kAnswered, kAgain };

  static Task<void> Run(std::shared_ptr<GuardedCore> self);
  bool Take(std::vector<Done>* idle);
  Task<void> Round();
  Task<void> LoadMissing();
  bool MustCheck() const;
  Task<bool> CheckBatch(FetchedRows& rows);
  Task<absl::Status> Check(FetchedRows* rows);
  void AskForRows(FetchedRows& rows, ReadRequest& request);
  void Absorb(const std::optional<std::string>& head, std::vector<Row> log, bool whole_log);
  bool Decide(FetchedRows& rows, Draft& draft);
  void DeferWithoutReserve();
  Ran RunDecider(Request& r, const FetchedRows& rows, Draft& draft);
  static void NeedRows(Request& r, const std::vector<std::string>& needed);
  static void Reject(Request& r, absl::Status why);
  Task<void> Commit(std::unique_ptr<Draft> draft);
  Task<absl::Status> Send(CommitRequest request, std::vector<CommitRequest> beside);
  Fate FateOf(const Doubt& doubt, const ReadResult& read) const;
  void EndDoubt(Fate fate);
  Task<void> SettleDoubt();
  Task<void> Abandon();
  CommitRequest ToRequest(Draft& draft, const SealedDraft& sealed, bool use_reserve) const;
  void Landed(Draft& draft, const SealedDraft& sealed);
  Task<void> Pause();
  void ArmTimer();
  void SetMemory(Memory memory);
  Memory memory() const;
  bool Late(const Request& request) const;
  void Defer(size_t first);
  void AskForGuards(const CommitRequest& request);
  uint64_t Random() const;
  // A read, or a write of something else, gave `status`: what it says of this change.
  static absl::Status NothingChanged(const absl::Status& status);
  static void AddKeys(Request& request, const std::vector<std::string>& keys);
  // Answers every request for which `answer` gives a status.
  void Answer(absl::FunctionRef<std::optional<absl::Status>(const Request&)> answer);
  void Break(const absl::Status& why);

  // Of the loop, which is one coroutine at a time.
  std::deque<Request> batch_;
  std::optional<Doubt> doubt_;
  size_t take_limit_;
  int tries_ = 0;
  absl::Duration commit_time_ = absl::Milliseconds(1);  // moving average

  mutable absl::Mutex mutex_;
  std::deque<Request> pending_ ABSL_GUARDED_BY(mutex_);
  size_t urgent_ ABSL_GUARDED_BY(mutex_) = 0;
  bool running_ ABSL_GUARDED_BY(mutex_) = false;
  bool timer_armed_ ABSL_GUARDED_BY(mutex_) = false;
  bool lingered_ ABSL_GUARDED_BY(mutex_) = false;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status broken_ ABSL_GUARDED_BY(mutex_);
  std::vector<Done> idle_ ABSL_GUARDED_BY(mutex_);
};
}  // namespace posthouse::store
