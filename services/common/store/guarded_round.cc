// GuardedCore: one round up to its commit.
#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "services/common/status/status.h"
#include "services/common/store/guarded_core.h"

namespace posthouse::store {
namespace {

// A state that is further behind is loaded anew.
constexpr size_t kMaxPatchRows = 256;
// Room in a commit for the head and the log row.
constexpr size_t kMaxDraftBytes = kMaxCommitBytes - 2 * kMaxRowBytes;
// Read with a request's rows: the head and the proof.
constexpr size_t kMaxKeysOfRequest = kMaxReadKeys - 2;
constexpr int kMaxRestarts = 8;  // a decider that asks for other rows each time is wrong

}  // namespace

// One round: settle what is in doubt, answer what is late, load, check against the store,
// decide, commit. A step that cannot go on ends the round; the next one begins anew.
Task<void> GuardedCore::Round() {
  if (doubt_.has_value()) {
    co_await SettleDoubt();
    co_return;
  }
  Answer([this](const Request& r) {
    return Late(r) ? std::optional(absl::UnavailableError("nothing was changed before the deadline")) : std::nullopt;
  });
  co_await LoadMissing();
  if (batch_.empty()) co_return;
  FetchedRows rows;
  if (MustCheck() && !co_await CheckBatch(rows)) co_return;
  std::unique_ptr<Draft> draft = Begin();
  draft->nonce_ = Random();
  if (Decide(rows, *draft)) co_await Commit(std::move(draft));
}

// Loads what the requests of the batch need and memory does not have; answers those for
// which that fails. A damaged part fails only the requests that need it.
Task<void> GuardedCore::LoadMissing() {
  for (size_t i = 0; i < batch_.size();) {
    const unsigned parts = batch_[i].options.parts;
    if (memory() != Memory::kNone && HasParts(parts)) {
      ++i;
      continue;
    }
    const absl::Status loaded = co_await LoadState(parts);
    if (loaded.ok()) {
      ++i;
      continue;
    }
    batch_[i].tried = true;
    if (absl::IsAborted(loaded) && !Late(batch_[i])) {  // it changed while it was read
      co_await Pause();
      continue;
    }
    if (options_.kind == GuardKind::kOwnedHead && (absl::IsFailedPrecondition(loaded) || absl::IsDataLoss(loaded))) {
      Break(loaded);
    }
    const bool nothing = memory() == Memory::kNone;
    Answer([&](const Request& r) -> std::optional<absl::Status> {
      const bool same = absl::IsDataLoss(loaded) ? r.options.parts == parts : nothing || !HasParts(r.options.parts);
      return same ? std::optional(NothingChanged(loaded)) : std::nullopt;
    });
    i = 0;
  }
}

// Whether memory is not enough to decide on: it may be old, deciders want rows, or a refusal
// must rest on the stored state.
bool GuardedCore::MustCheck() const {
  return memory() == Memory::kStale || !Refuse().ok() ||
         std::any_of(batch_.begin(), batch_.end(), [](const Request& r) { return r.options.fresh || !r.keys.empty(); });
}

// Brings the state to that of the store and reads the rows of the batch. False: the batch is
// answered, or the next round has to load first.
Task<bool> GuardedCore::CheckBatch(FetchedRows& rows) {
  const absl::Status checked = co_await Check(&rows);
  if (!checked.ok()) {
    Answer([&](const Request&) { return NothingChanged(checked); });
    co_return false;
  }
  // The state was too far behind, or following the log dropped a part of it.
  const auto lacks = [this](const Request& r) { return !HasParts(r.options.parts); };
  if (memory() != Memory::kCurrent || std::any_of(batch_.begin(), batch_.end(), lacks)) {
    for (Request& r : batch_) r.tried = true;
    co_await Pause();
    co_return false;
  }
  const absl::Status refused = Refuse();
  if (!refused.ok()) Answer([&](const Request&) { return refused; });
  co_return refused.ok();
}

// One read: the head, the log after ours, and (unless `rows` is null) the rows that the batch
// asks for. Finds the outcome of the commit in doubt and follows the commits of others.
Task<absl::Status> GuardedCore::Check(FetchedRows* rows) {
  ReadRequest request{.partition = options_.partition, .keys = {options_.head_key}};
  if (doubt_.has_value() && doubt_->sealed.proof.has_value()) request.keys.push_back(doubt_->sealed.proof->key);
  const size_t fixed = request.keys.size();
  if (rows != nullptr) AskForRows(*rows, request);
  if (!options_.log_prefix.empty()) {
    request.after = LogPosition();
    request.prefix = options_.log_prefix;
    if (!request.after.empty()) request.limit = kMaxPatchRows;
  }
  const std::vector<std::string> keys = request.keys;
  PH_CO_ASSIGN_OR_RETURN(ReadResult read, co_await options_.store->Read(std::move(request)));
  if (doubt_.has_value()) {
    const Fate fate = FateOf(*doubt_, read);
    if (fate != Fate::kOpen) EndDoubt(fate);
  }
  Absorb(read.values[0], std::move(read.page), !read.more);
  if (rows != nullptr) {
    for (size_t i = fixed; i < keys.size(); ++i) rows->rows_[keys[i]] = std::move(read.values[i]);
  }
  co_return absl::OkStatus();
}

// Adds the keys that the batch asks for to `request`. Requests for which there is no room wait
// for a later round.
void GuardedCore::AskForRows(FetchedRows& rows, ReadRequest& request) {
  for (size_t i = 0; i < batch_.size(); ++i) {
    if (i > 0 && request.keys.size() + batch_[i].keys.size() > kMaxReadKeys) {
      Defer(i);
      return;
    }
    for (const std::string& key : batch_[i].keys) {
      if (rows.rows_.try_emplace(key).second) request.keys.push_back(key);
    }
  }
}

// Brings the state to `head`; `log` has the rows up to it that were not in the state when it was read.
void GuardedCore::Absorb(const std::optional<std::string>& head, std::vector<Row> log, bool whole_log) {
  if (head == head_) {
    SetMemory(Memory::kCurrent);
    return;
  }
  const std::string position = LogPosition();
  std::erase_if(log, [&](const Row& row) { return row.key <= position; });
  if (head.has_value() && whole_log && !log.empty()) {
    const absl::StatusOr<bool> patched = Patch(*head, log);
    if (patched.ok() && *patched) {
      head_ = head;
      SetMemory(Memory::kCurrent);
      return;
    }
  }
  SetMemory(Memory::kNone);
}

// Runs the deciders. True: the draft is to be committed. False: rows are to be read first,
// or all is answered.
bool GuardedCore::Decide(FetchedRows& rows, Draft& draft) {
  if (std::any_of(batch_.begin(), batch_.end(), [](const Request& r) { return r.full; })) {
    DeferWithoutReserve();
    draft.SetStoreIsFull();
  }
  rows.Overlay(&draft);
  bool again = false;
  size_t drafted = 0;
  for (size_t i = 0; i < batch_.size(); ++i) {
    const Ran ran = RunDecider(batch_[i], rows, draft);
    if (ran == Ran::kAgain) again = true;
    if (ran != Ran::kDrafted) continue;
    ++drafted;
    if (draft.mutations_.size() + options_.seal_rows + 2 <= kMaxMutations && draft.bytes_ <= kMaxDraftBytes) continue;
    again = true;
    if (drafted == 1) {
      Reject(batch_[i], absl::InvalidArgumentError("a change too large for one commit"));
    } else {
      take_limit_ = i;
      Defer(i);
    }
    break;
  }
  if (!again && drafted > 0) return true;
  if (!again) tries_ = 0;  // everything is answered: no failure of this batch is left
  // Without a commit no answer rests on what did not happen.
  Answer([&](const Request& r) { return !again || r.rejected ? r.answer : std::nullopt; });
  return false;
}

// Changes for a full store are committed alone: the others may not use the reserve.
void GuardedCore::DeferWithoutReserve() {
  std::deque<Request> kept, rest;
  for (Request& r : batch_) (r.options.use_reserve ? kept : rest).push_back(std::move(r));
  const size_t first = kept.size();
  std::move(rest.begin(), rest.end(), std::back_inserter(kept));
  batch_ = std::move(kept);
  Defer(first);
  for (Request& r : batch_) r.full = true;
}

// Runs one decider on what the deciders before it drafted.
GuardedCore::Ran GuardedCore::RunDecider(Request& r, const FetchedRows& rows, Draft& draft) {
  r.answer.reset();
  r.drafted = r.rejected = false;
  r.first_guard = draft.guards_.size();
  draft.needed_.clear();
  const size_t bytes = draft.bytes_;
  const absl::StatusOr<Verdict> verdict = r.decide(rows, draft);
  r.guards = draft.guards_.size() - r.first_guard;
  r.drafted = verdict.ok() && *verdict == Verdict::kCommit;
  if (r.drafted) return Ran::kDrafted;
  if (r.guards > 0 || draft.bytes_ != bytes) {
    Reject(r, absl::InternalError("a decider that changes nothing added to the draft"));
    return Ran::kAgain;
  }
  if (verdict.ok() && *verdict == Verdict::kNeedRows) {
    NeedRows(r, draft.needed_);
    return Ran::kAgain;
  }
  r.answer = verdict.status();
  return Ran::kAnswered;
}

// The next round reads these rows for the request.
void GuardedCore::NeedRows(Request& r, const std::vector<std::string>& needed) {
  const size_t before = r.keys.size();
  AddKeys(r, needed);
  const bool fit = r.keys.size() <= kMaxKeysOfRequest;
  // Rows that the decider asked for earlier may be of no use any more: it asks again for
  // those that are.
  if (!fit && needed.size() <= kMaxKeysOfRequest && ++r.restarts <= kMaxRestarts) {
    r.keys.clear();
    AddKeys(r, needed);
  } else if (!fit || r.keys.size() == before) {
    Reject(r, absl::InternalError("a decider asked for rows that it has, or for too many"));
  }
}

void GuardedCore::Reject(Request& r, absl::Status why) {
  r.rejected = true;
  r.answer = std::move(why);
}

void GuardedCore::AddKeys(Request& request, const std::vector<std::string>& keys) {
  request.keys.reserve(request.keys.size() + keys.size());  // so that the views into it stay valid
  absl::flat_hash_set<absl::string_view> known(request.keys.begin(), request.keys.end());
  for (const std::string& key : keys) {
    if (known.insert(key).second) request.keys.push_back(key);
  }
}

}  // namespace posthouse::store
