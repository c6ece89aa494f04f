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

#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "services/common/async/task.h"
#include "services/common/store/guarded_core.h"
#include "services/common/store/guarded_draft.h"
#include "services/common/store/store.h"

namespace posthouse::store {

template <typename State>
struct Loaded {
  State state;
  std::optional<std::string> head;  // as stored, of the same instant as `state`; nullopt: no head yet
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
