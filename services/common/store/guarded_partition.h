// GuardedPartition: the one way to change a partition whose head row guards every change.
//
// A change is a decider: a pure function of what is in memory (State), of rows that were
// read for it (FetchedRows) and of what earlier deciders of the same commit did (Draft).
// The primitive does the I/O around it: it loads the state, reads the rows that a decider
// asks for, commits the draft under compare-and-set of the head, proves what happened when
// the store does not know, and decides again when another writer was faster.
//
//   uint32_t uid = 0;
//   absl::Status status = co_await folder.Change(
//       [&](const FolderState& state, const FetchedRows& rows, FolderDraft& draft) -> absl::StatusOr<Verdict> {
//         const std::optional<std::string>* done = rows.Find(done_key);
//         if (done != nullptr && done->has_value()) {  // stored by an earlier try of the caller
//           PH_ASSIGN_OR_RETURN(uid, UidOfDoneRow(**done));
//           return Verdict::kDone;
//         }
//         if (draft.head.uid_next == UINT32_MAX) return absl::ResourceExhaustedError("no UIDs left");
//         uid = draft.head.uid_next++;
//         draft.Set(MessageKey(uid), row);
//         draft.GuardAbsent(done_key);  // fails the commit if the row exists; then `rows` has it
//         draft.Set(done_key, EncodeDoneRow(uid));
//         return Verdict::kCommit;
//       });
//
// A decider may run many times; only its last run counts. So it sets every result anew,
// and adds nothing to the draft before it answers kNeedRows, kDone or an error. A run may
// see what an earlier decider drafted in vain (a row twice, say): it answers as it would if
// that were true, and runs again when the commit has failed.
//
// Several objects, also in several processes, may hold the same partition. The state in
// memory is a guess; the precondition of the commit is the truth. One object has at most
// one commit outstanding. Deciders that wait meanwhile share the next commit, in the order
// in which they were submitted: a later one finds the rows of an earlier one in FetchedRows
// and its counters in the draft.
//
// A commit that the store does not know about (kDeadlineExceeded) may still land, but only
// while the head is what it was based on, since every commit changes the head. So the same
// commit is sent again while the head stands still, and "it did not happen" is said only
// after the head has moved on. At the deadline an empty commit moves the head.
//
// What Change answers:
//   OK                  committed and durable, or the decider answered kDone
//   the decider's error nothing was changed by this decider
//   kUnavailable        nothing was changed: conflicts until the deadline, or the store is away
//   kResourceExhausted  nothing was changed: the store is full
//   kDeadlineExceeded   unknown: it may have happened or happen yet; ask again under an id of the change
//   kFailedPrecondition (kOwnedHead) another process has taken over; a change in progress may have happened
//   kDataLoss           a row of this partition is damaged; other partitions go on
//
// Threads: any. Deciders and the model run one at a time, on the thread of the caller or of
// the store. Nothing blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/common/async/executor.h"
#include "services/common/async/task.h"
#include "services/common/store/store.h"

namespace posthouse::metrics {
class Counter;
class Registry;
}  // namespace posthouse::metrics

namespace posthouse::store {

enum class Verdict {
  kCommit,    // commit what this decider added to the draft
  kNeedRows,  // read what Draft::Need() named, with the head of the same instant, and ask again
  kDone,      // nothing to change; what the decider saw is the answer
};

enum class GuardKind {
  kHead,        // any writer replaces the head; a head of another writer is followed through its log
  kOwnedHead,   // one owner replaces the head; a head of another owner ends this object ("fenced")
  kCompareRow,  // the head is compared and never replaced; the proof row, absent before, tells the outcome
};

class Draft;

// Rows read at one instant, together with the head that the state shows, for all deciders
// of a commit. Rows that an earlier decider set or removed are as that decider left them.
class FetchedRows {
 public:
  // Null: the row was not read. Else its value, or nullopt when there is no such row.
  const std::optional<std::string>* Find(absl::string_view key) const;
  // The value; "" when the row is absent or was not read.
  absl::string_view Value(absl::string_view key) const;
  // By the primitive, and by tests of deciders.
  void Put(std::string key, std::optional<std::string> value) { rows_[std::move(key)] = std::move(value); }
  void Overlay(const Draft* draft) { draft_ = draft; }

 private:
  friend class GuardedCore;
  absl::flat_hash_map<std::string, std::optional<std::string>> rows_;
  const Draft* draft_ = nullptr;
};

// One commit in the making. A model derives its own draft, which adds the head to be.
class Draft {
 public:
  virtual ~Draft() = default;
  void Set(std::string key, std::string value) { Put(std::move(key), std::move(value)); }
  void Remove(std::string key) { Put(std::move(key), std::nullopt); }
  void Put(std::string key, std::optional<std::string> value);
  // Preconditions beside the head. When one does not hold, the decider runs again and finds
  // the row in FetchedRows. Guard only rows that no decider of this commit has changed.
  void Guard(std::string key, std::optional<std::string> value) {
    guards_.push_back({std::move(key), std::move(value)});
  }
  void GuardAbsent(std::string key) { Guard(std::move(key), std::nullopt); }
  // Names rows to read. `return draft.Need({...});`
  Verdict Need(std::vector<std::string> keys);
  // Rows of another partition, committed at the same time; a failure costs nothing but them.
  void Beside(CommitRequest request) { beside_.push_back(std::move(request)); }
  // A finished blob of the partition's tenant that must be durable with this commit.
  void NeedBlob(std::string name) { needs_blobs_.push_back(std::move(name)); }
  const std::vector<std::string>& needs_blobs() const { return needs_blobs_; }
  // The store has no room for this change as it was drafted before. The decider may draft
  // less, which is then written with the reserve (ChangeOptions::use_reserve).
  bool store_is_full() const { return full_; }
  void SetStoreIsFull() { full_ = true; }  // by the primitive, and by tests of deciders
  // Random, one for each commit; it makes the log row (or the head) differ from any other's.
  uint64_t nonce() const { return nonce_; }
  // The mutation of `key` in this draft; null: none.
  const Mutation* Find(absl::string_view key) const;
  const std::vector<Mutation>& mutations() const { return mutations_; }
  const std::vector<Precondition>& guards() const { return guards_; }
  const std::vector<std::string>& needed() const { return needed_; }
  size_t bytes() const { return bytes_; }  // of the mutations

 private:
  friend class GuardedCore;
  std::vector<Mutation> mutations_;
  absl::flat_hash_map<std::string, size_t> index_;  // key -> place in mutations_
  std::vector<Precondition> guards_;
  std::vector<std::string> needed_;
  std::vector<CommitRequest> beside_;
  std::vector<std::string> needs_blobs_;
  size_t bytes_ = 0;
  uint64_t nonce_ = 0;
  bool full_ = false;
};

// What Model::Seal makes of a draft.
struct SealedDraft {
  std::string head;          // the new head row, different from every earlier one; unused by kCompareRow
  std::optional<Row> proof;  // the log row, which holds the nonce. kHead and kCompareRow need one
  std::string cancelled;     // kCompareRow: what takes the proof row's place when the change is given up
};

template <typename State>
struct Loaded {
  State state;
  std::optional<std::string> head;  // as stored, of the same instant as `state`; nullopt: no head yet
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

  static Task<void> Run(std::shared_ptr<GuardedCore> self);
  bool Take(std::vector<Done>* idle);
  Task<void> Round();
  Task<void> LoadMissing();
  Task<absl::Status> Check(FetchedRows* rows);
  void Absorb(const std::optional<std::string>& head, std::vector<Row> log, bool whole_log);
  bool Decide(FetchedRows& rows, Draft& draft);
  Task<void> Commit(std::unique_ptr<Draft> draft);
  Task<absl::Status> Send(CommitRequest request, std::vector<CommitRequest> beside);
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

// What a model may leave out. A model derives from it and hides what it does itself. One
// coroutine at a time calls its functions, except Has and Refuse: looks call these from any
// thread, under the lock of the state. A model must have:
//   Task<absl::StatusOr<Loaded<State>>> Load(unsigned parts);       reads the partition
//   void Begin(const State& state, Draft& draft) const;             the head as the base of a draft
//   absl::StatusOr<SealedDraft> Seal(const State& state, Draft& draft);  the new head and log row
//   void Apply(State& state, Draft& draft);                         the draft was committed
// Seal and Apply are also called with an empty draft, which only moves the head. Every
// function but Load and Prepare returns at once. Apply and Patch run under the lock of Look.
template <typename StateType, typename DraftType>
struct GuardedModel {
  using State = StateType;
  using Draft = DraftType;
  bool Has(const State&, unsigned /*parts*/) const { return true; }
  // Not OK: what every change and look answers for now (frozen, deleted).
  absl::Status Refuse(const State&) const { return absl::OkStatus(); }
  // Writes what must exist before the commit (in other partitions). Not OK: not committed.
  Task<absl::Status> Prepare(Draft&) { co_return absl::OkStatus(); }
  // After Apply, without the lock: hints, metrics. Called once for each commit of this object.
  void Committed(const Draft&) {}
  // Before `fresh` takes the place of `old` (null at the first time).
  void Replace(const State* /*old*/, State& /*fresh*/) {}
  // The key of the newest log row that the state contains. "": the log is not followed.
  std::string LogPosition(const State&) const { return ""; }
  // Follows other writers' commits: `log` has all rows after LogPosition, `head` is the head
  // after them. False, or an error: the state is loaded anew; until then Recall() shows it.
  absl::StatusOr<bool> Patch(State&, const std::string& /*head*/, const std::vector<Row>& /*log*/) { return false; }
};

// Make it with std::make_shared: a commit in progress keeps it alive.
template <typename Model>
class GuardedPartition final : public GuardedCore {
 public:
  using State = typename Model::State;
  using DraftType = typename Model::Draft;
  using Decider = absl::AnyInvocable<absl::StatusOr<Verdict>(const State&, const FetchedRows&, DraftType&)>;

  GuardedPartition(GuardedOptions options, Model model) : GuardedCore(std::move(options)), model_(std::move(model)) {}

  // Queues a change at once, so that the order of calls is the order of commits. `done` is
  // called once, where the commit ended.
  void Submit(Decider decide, ChangeOptions options, Done done) {
    Request request;
    request.decide = [this, decide = std::move(decide)](const FetchedRows& rows, store::Draft& draft) mutable {
      return decide(state(), rows, static_cast<DraftType&>(draft));
    };
    request.options = std::move(options);
    request.done = std::move(done);
    Enqueue(std::move(request));
  }
  // Submits and waits; resumes on the caller's executor. The caller keeps what `decide` refers to.
  Task<absl::Status> Change(Decider decide, ChangeOptions options = {}) {
    co_return co_await AwaitCallback<absl::Status>(
        [&](Done done) { Submit(std::move(decide), std::move(options), std::move(done)); });
  }

  // `look(state)`: from memory when it has the parts and is not known to be old, else in turn.
  // With options.fresh the state is the store's of an instant after the call.
  template <typename F, typename R = std::invoke_result_t<F&, const State&>>
  Task<absl::StatusOr<R>> Look(F look, ChangeOptions options = {}) {
    if (!options.fresh) {
      std::optional<R> now = Peek(look, options.parts);
      if (now.has_value()) co_return *std::move(now);
    }
    std::optional<R> result;
    const absl::Status status = co_await Change(
        [&](const State& state, const FetchedRows&, DraftType&) -> absl::StatusOr<Verdict> {
          result.emplace(look(state));
          return Verdict::kDone;
        },
        std::move(options));
    if (!status.ok()) co_return status;
    co_return *std::move(result);
  }
  // The same without waiting; nullopt: not in memory, old, or refused.
  template <typename F, typename R = std::invoke_result_t<F&, const State&>>
  std::optional<R> Peek(F look, unsigned parts = 0) const {
    absl::ReaderMutexLock lock(&state_mutex_);
    if (memory_ != Memory::kCurrent || !model_.Has(*state_, parts) || !model_.Refuse(*state_).ok()) return std::nullopt;
    return look(*state_);
  }

  // What is in memory, even when it is known to be old; nullopt: nothing was loaded yet.
  template <typename F, typename R = std::invoke_result_t<F&, const State&>>
  std::optional<R> Recall(F look) const {
    absl::ReaderMutexLock lock(&state_mutex_);
    if (!state_.has_value()) return std::nullopt;
    return look(*state_);
  }

  Model& model() { return model_; }

 private:
  // The loop alone changes the state, so it reads without the lock.
  const State& state() const ABSL_NO_THREAD_SAFETY_ANALYSIS { return *state_; }

  Task<absl::Status> LoadState(unsigned parts) override {
    absl::StatusOr<Loaded<State>> loaded = co_await model_.Load(parts);
    if (!loaded.ok()) co_return loaded.status();
    head_ = std::move(loaded->head);
    absl::MutexLock lock(&state_mutex_);
    model_.Replace(state_.has_value() ? &*state_ : nullptr, loaded->state);
    state_ = std::move(loaded->state);
    memory_ = Memory::kCurrent;
    co_return absl::OkStatus();
  }
  bool HasParts(unsigned parts) const override { return model_.Has(state(), parts); }
  absl::Status Refuse() const override { return model_.Refuse(state()); }
  std::unique_ptr<store::Draft> Begin() override {
    auto draft = std::make_unique<DraftType>();
    model_.Begin(state(), *draft);
    return draft;
  }
  absl::StatusOr<SealedDraft> Seal(store::Draft& draft) override {
    return model_.Seal(state(), static_cast<DraftType&>(draft));
  }
  Task<absl::Status> Prepare(store::Draft& draft) override { return model_.Prepare(static_cast<DraftType&>(draft)); }
  void Apply(store::Draft& draft) override {
    auto& typed = static_cast<DraftType&>(draft);
    {
      absl::MutexLock lock(&state_mutex_);
      model_.Apply(*state_, typed);
    }
    model_.Committed(typed);
  }
  std::string LogPosition() const override { return model_.LogPosition(state()); }
  absl::StatusOr<bool> Patch(const std::string& head, const std::vector<Row>& log) override {
    absl::MutexLock lock(&state_mutex_);
    return model_.Patch(*state_, head, log);
  }

  Model model_;
  std::optional<State> state_ ABSL_GUARDED_BY(state_mutex_);
};

}  // namespace posthouse::store
