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
  // The state in memory may be old: a refusal must rest on the stored one.
  if (memory() == Memory::kStale || !Refuse().ok() ||
      std::any_of(batch_.begin(), batch_.end(), [](const Request& r) { return r.options.fresh || !r.keys.empty(); })) {
    const absl::Status checked = co_await Check(&rows);
    if (!checked.ok()) {
      Answer([&](const Request&) { return NothingChanged(checked); });
      co_return;
    }
    // Too far behind, or the patch dropped a part: the next round loads.
    const auto lacks = [this](const Request& r) { return !HasParts(r.options.parts); };
    if (memory() != Memory::kCurrent || std::any_of(batch_.begin(), batch_.end(), lacks)) {
      for (Request& r : batch_) r.tried = true;
      co_await Pause();
      co_return;
    }
    if (const absl::Status refused = Refuse(); !refused.ok()) {
      Answer([&](const Request&) { return refused; });
      co_return;
    }
  }
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

// One read: the head, the log after ours, and the rows that the batch asks for. Finds the
// outcome of the commit in doubt and follows the commits of others.
Task<absl::Status> GuardedCore::Check(FetchedRows* rows) {
  ReadRequest request{.partition = options_.partition, .keys = {options_.head_key}};
  const bool proof = doubt_.has_value() && doubt_->sealed.proof.has_value();
  if (proof) request.keys.push_back(doubt_->sealed.proof->key);
  const size_t fixed = request.keys.size();
  for (size_t i = 0; rows != nullptr && i < batch_.size(); ++i) {
    if (i > 0 && request.keys.size() + batch_[i].keys.size() > kMaxReadKeys) {
      Defer(i);
      break;
    }
    for (const std::string& key : batch_[i].keys) {
      if (rows->rows_.try_emplace(key).second) request.keys.push_back(key);
    }
  }
  if (!options_.log_prefix.empty()) {
    request.after = LogPosition();
    request.prefix = options_.log_prefix;
    if (!request.after.empty()) request.limit = kMaxPatchRows;
  }
  const std::vector<std::string> keys = request.keys;
  PH_CO_ASSIGN_OR_RETURN(ReadResult read, co_await options_.store->Read(std::move(request)));
  const std::optional<std::string>& head = read.values[0];

  if (doubt_.has_value()) {
    const bool compare = options_.kind == GuardKind::kCompareRow;
    const bool moved = head != head_;
    const bool owned = options_.kind == GuardKind::kOwnedHead;
    // Two writers may have made the same head from one base; never the same log row. Where
    // there is no log, the head itself holds the nonce.
    const bool landed = proof ? read.values[1] == doubt_->sealed.proof->value
                              : !compare && head == std::optional<std::string>(doubt_->sealed.head);
    // Another commit took our place in the log, or the head is our own and shows another of
    // our commits, or the head stands still and a guard fails, which it then does for ever.
    // Rows leave the log at its old end only, so a log that still has an older row would have
    // ours. A log that no longer reaches back to our row tells nothing.
    const bool reaches = proof && !read.page.empty() && read.page.front().key < doubt_->sealed.proof->key;
    const bool passed = compare ? moved || read.values[1].has_value()
                                : moved && (owned || (proof && (read.values[1].has_value() || reaches)));
    const bool never = !landed && (passed || (!moved && doubt_->refused));
    if (landed || never || moved) {
      const Doubt doubt = *std::move(doubt_);
      doubt_.reset();
      if (landed) Landed(*doubt.draft, doubt.sealed);
      Answer([&](const Request& r) -> std::optional<absl::Status> {
        if (!r.in_doubt || never) return std::nullopt;
        return landed ? r.answer.value_or(absl::OkStatus())
                      : absl::DeadlineExceededError("the log no longer tells whether the change was committed");
      });
      if (never) AskForGuards(doubt.request);
      for (Request& r : batch_) r.in_doubt = false;
    }
  }
  Absorb(head, std::move(read.page), !read.more);
  if (rows != nullptr) {
    for (size_t i = fixed; i < keys.size(); ++i) rows->rows_[keys[i]] = std::move(read.values[i]);
  }
  co_return absl::OkStatus();
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
  // Changes for a full store are committed alone: the others may not use the reserve.
  if (std::any_of(batch_.begin(), batch_.end(), [](const Request& r) { return r.full; })) {
    std::deque<Request> kept, rest;
    for (Request& r : batch_) (r.options.use_reserve ? kept : rest).push_back(std::move(r));
    const size_t first = kept.size();
    std::move(rest.begin(), rest.end(), std::back_inserter(kept));
    batch_ = std::move(kept);
    Defer(first);
    for (Request& r : batch_) r.full = true;
    draft.SetStoreIsFull();
  }
  rows.Overlay(&draft);
  bool again = false;
  size_t drafted = 0;
  for (size_t i = 0; i < batch_.size(); ++i) {
    Request& r = batch_[i];
    r.answer.reset();
    r.drafted = r.rejected = false;
    r.first_guard = draft.guards_.size();
    draft.needed_.clear();
    const size_t bytes = draft.bytes_;
    const absl::StatusOr<Verdict> verdict = r.decide(rows, draft);
    r.guards = draft.guards_.size() - r.first_guard;
    const bool commits = verdict.ok() && *verdict == Verdict::kCommit;
    if (!commits && (r.guards > 0 || draft.bytes_ != bytes)) {
      r.rejected = again = true;
      r.answer = absl::InternalError("a decider that changes nothing added to the draft");
    } else if (!verdict.ok() || *verdict == Verdict::kDone) {
      r.answer = verdict.status();
    } else if (*verdict == Verdict::kNeedRows) {
      const size_t before = r.keys.size();
      AddKeys(r, draft.needed_);
      r.rejected = r.keys.size() == before || r.keys.size() > kMaxKeysOfRequest;
      // Rows that the decider asked for earlier may be of no use any more: it asks again for
      // those that are.
      if (r.keys.size() > kMaxKeysOfRequest && draft.needed_.size() <= kMaxKeysOfRequest &&
          ++r.restarts <= kMaxRestarts) {
        r.keys.clear();
        AddKeys(r, draft.needed_);
        r.rejected = false;
      }
      if (r.rejected) r.answer = absl::InternalError("a decider asked for rows that it has, or for too many");
      again = true;
    } else {
      r.drafted = true;
      ++drafted;
      if (draft.mutations_.size() + options_.seal_rows + 2 <= kMaxMutations && draft.bytes_ <= kMaxDraftBytes) continue;
      if (drafted == 1) {
        r.rejected = true;
        r.answer = absl::InvalidArgumentError("a change too large for one commit");
      } else {
        take_limit_ = i;
        Defer(i);
      }
      again = true;
      break;
    }
  }
  if (!again && drafted > 0) return true;
  if (!again) tries_ = 0;  // everything is answered: no failure of this batch is left
  // Without a commit no answer rests on what did not happen.
  Answer([&](const Request& r) { return !again || r.rejected ? r.answer : std::nullopt; });
  return false;
}

void GuardedCore::AddKeys(Request& request, const std::vector<std::string>& keys) {
  request.keys.reserve(request.keys.size() + keys.size());  // so that the views into it stay valid
  absl::flat_hash_set<absl::string_view> known(request.keys.begin(), request.keys.end());
  for (const std::string& key : keys) {
    if (known.insert(key).second) request.keys.push_back(key);
  }
}
}  // namespace posthouse::store
