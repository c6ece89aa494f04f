// GuardedCore: a commit, and what became of it.
#include <algorithm>
#include <utility>

#include "services/common/log/log.h"
#include "services/common/metrics/metrics.h"
#include "services/common/status/status.h"
#include "services/common/store/guarded_core.h"

namespace posthouse::store {

CommitRequest GuardedCore::ToRequest(Draft& draft, const SealedDraft& sealed, bool use_reserve) const {
  CommitRequest request{.partition = options_.partition, .use_reserve = use_reserve};
  request.preconditions = draft.guards_;
  request.preconditions.push_back({options_.head_key, head_});
  request.mutations = std::move(draft.mutations_);
  if (sealed.proof.has_value()) request.mutations.push_back({sealed.proof->key, sealed.proof->value});
  if (options_.kind != GuardKind::kCompareRow) request.mutations.push_back({options_.head_key, sealed.head});
  for (const std::string& name : draft.needs_blobs_) {
    request.needs_blobs.push_back({options_.partition.tenant, name});
  }
  return request;
}

Task<absl::Status> GuardedCore::Send(CommitRequest request, std::vector<CommitRequest> beside) {
  const absl::Time start = options_.clock();
  absl::Status status;
  if (beside.empty()) {
    status = co_await options_.store->Commit(std::move(request));
  } else {
    beside.insert(beside.begin(), std::move(request));
    const std::vector<absl::Status> results = co_await options_.store->CommitAll(std::move(beside));
    for (size_t i = 1; i < results.size(); ++i) {
      if (results[i].ok()) continue;
      LOG_EVENT(kWarning, "side_commit_failed").Str("partition", options_.partition.id).Err(results[i]);
    }
    status = results[0];
  }
  commit_time_ = commit_time_ * 0.9 + std::max(options_.clock() - start, absl::ZeroDuration()) * 0.1;
  if (options_.metrics != nullptr && absl::IsDeadlineExceeded(status)) options_.metrics->unknown.Add();
  if (options_.metrics != nullptr && absl::IsAborted(status)) options_.metrics->conflicts.Add();
  co_return status;
}

Task<void> GuardedCore::Commit(std::unique_ptr<Draft> draft) {
  const bool full = draft->full_;
  // When the store is full, changes that may use the reserve are decided again, alone.
  const auto refuse = [this, full](const absl::Status& why) {
    const bool retry = absl::IsResourceExhausted(why) && !full;
    for (Request& r : batch_) r.full = retry && r.drafted && r.options.use_reserve;
    Answer([&](const Request& r) { return r.drafted && !r.full ? std::optional(why) : std::nullopt; });
  };
  absl::StatusOr<SealedDraft> sealed = Seal(*draft);
  absl::Status status = sealed.status();
  if (status.ok()) status = NothingChanged(co_await Prepare(*draft));
  if (!status.ok()) {
    refuse(status);
    co_return;
  }
  PH_CHECK(sealed->proof.has_value() || options_.kind == GuardKind::kOwnedHead ||
           (options_.kind == GuardKind::kHead && options_.log_prefix.empty()));
  std::vector<CommitRequest> beside = std::move(draft->beside_);
  CommitRequest request = ToRequest(*draft, *sealed, full);
  for (Request& r : batch_) r.tried = true;
  status = co_await Send(request, std::move(beside));
  if (status.ok()) {
    Landed(*draft, *sealed);
    Answer([](const Request& r) { return r.answer.value_or(absl::OkStatus()); });
    co_return;
  }
  SetMemory(Memory::kStale);
  if (absl::IsAborted(status)) {
    AskForGuards(request);
    co_await Pause();
  } else if (absl::IsDeadlineExceeded(status)) {
    LOG_EVENT(kWarning, "commit_unknown").Str("partition", options_.partition.id).Err(status);
    for (Request& r : batch_) r.in_doubt = true;
    doubt_.emplace(Doubt{std::move(draft), *std::move(sealed), std::move(request)});
  } else {
    refuse(status);
  }
}

void GuardedCore::Landed(Draft& draft, const SealedDraft& sealed) {
  if (options_.kind != GuardKind::kCompareRow) head_ = sealed.head;
  Apply(draft);
  SetMemory(Memory::kCurrent);
  tries_ = 0;
  take_limit_ = options_.max_batch;
  if (options_.metrics != nullptr) options_.metrics->commits.Add();
}

// What the store shows of a commit in doubt. `read` begins with the head, then has the proof
// row if the commit has one, and the log after the state's.
GuardedCore::Fate GuardedCore::FateOf(const Doubt& doubt, const ReadResult& read) const {
  const std::optional<std::string>& head = read.values[0];
  const bool moved = head != head_;
  const bool owned = options_.kind == GuardKind::kOwnedHead;
  if (const std::optional<Row>& proof = doubt.sealed.proof; proof.has_value()) {
    // Two writers may have made the same head from one base; never the same proof row.
    const std::optional<std::string>& stored = read.values[1];
    if (stored == proof->value) return Fate::kLanded;
    // Another commit took its place.
    const bool taken = stored.has_value();
    // Rows leave the log at its old end only, so a log that still has an older row would have
    // ours. A log that no longer reaches back to our row tells nothing.
    const bool reaches = !read.page.empty() && read.page.front().key < proof->key;
    const bool compare = options_.kind == GuardKind::kCompareRow;
    if (compare ? moved || taken : moved && (owned || taken || reaches)) return Fate::kNever;
  } else {
    // Without a log the head itself holds the nonce.
    if (head == doubt.sealed.head) return Fate::kLanded;
    // The head is our own and shows another of our commits.
    if (moved && owned) return Fate::kNever;
  }
  if (moved) return Fate::kUntold;
  // The head stands still and a guard fails, which it then does for ever.
  return doubt.refused ? Fate::kNever : Fate::kOpen;
}

// Answers the requests of the commit in doubt; after kNever they are decided again.
void GuardedCore::EndDoubt(Fate fate) {
  const Doubt doubt = *std::move(doubt_);
  doubt_.reset();
  if (fate == Fate::kLanded) Landed(*doubt.draft, doubt.sealed);
  Answer([&](const Request& r) -> std::optional<absl::Status> {
    if (!r.in_doubt || fate == Fate::kNever) return std::nullopt;
    return fate == Fate::kLanded
               ? r.answer.value_or(absl::OkStatus())
               : absl::DeadlineExceededError("the log no longer tells whether the change was committed");
  });
  if (fate == Fate::kNever) AskForGuards(doubt.request);
  for (Request& r : batch_) r.in_doubt = false;
}

// Finds out what became of the commit in doubt: looks, and while the head stands still
// sends it again. When its requests are late, or gone, moves the head past it.
Task<void> GuardedCore::SettleDoubt() {
  const absl::Status checked = co_await Check(nullptr);
  if (!doubt_.has_value()) co_return;
  bool wanted = false, late = false;
  for (const Request& r : batch_) {
    if (r.in_doubt) (Late(r) ? late : wanted) = true;
  }
  Answer([this](const Request& r) {
    return !r.in_doubt && Late(r)
               ? std::optional(absl::UnavailableError("nothing was changed: an earlier commit has no known outcome"))
               : std::nullopt;
  });
  for (Request& r : batch_) r.tried = true;
  if (checked.ok() && wanted && !late) {
    co_await Pause();
    CommitRequest again = doubt_->request;
    const absl::Status sent = co_await Send(std::move(again), {});
    doubt_->refused = absl::IsAborted(sent);
    if (sent.ok()) {
      EndDoubt(Fate::kLanded);
    } else if (absl::IsResourceExhausted(sent)) {
      // The store has filled up since, so sending this change again is no use. The empty change
      // is written with the reserve; then the deciders may draft what a full store accepts.
      co_await Abandon();
    }
  } else if (checked.ok() && !std::exchange(doubt_->abandoned, true)) {
    co_await Abandon();
  } else {
    doubt_->abandoned = false;
    Answer([this](const Request& r) {
      return r.in_doubt && Late(r)
                 ? std::optional(absl::DeadlineExceededError("not known whether the change was committed"))
                 : std::nullopt;
    });
    SetMemory(Memory::kStale);  // whoever looks next finds out first
    if (!batch_.empty()) co_await Pause();
  }
}

// Makes the commit in doubt impossible. Success is a definite "no" to its requests.
Task<void> GuardedCore::Abandon() {
  const Doubt& doubt = *doubt_;
  CommitRequest request;
  std::unique_ptr<Draft> draft;
  absl::StatusOr<SealedDraft> sealed = SealedDraft{};
  if (options_.kind == GuardKind::kCompareRow) {
    request = {.partition = options_.partition, .use_reserve = true};
    request.preconditions = {{options_.head_key, head_}, {doubt.sealed.proof->key, std::nullopt}};
    request.mutations = {{doubt.sealed.proof->key, doubt.sealed.cancelled}};
  } else {
    draft = Begin();
    draft->nonce_ = Random();
    sealed = Seal(*draft);
    if (!sealed.ok()) co_return;
    request = ToRequest(*draft, *sealed, /*use_reserve=*/true);
  }
  const absl::Status moved = co_await Send(std::move(request), {});
  if (!moved.ok()) co_return;  // the next round looks
  doubt_.reset();
  if (draft != nullptr) Landed(*draft, *sealed);
  for (Request& r : batch_) r.in_doubt = false;
}

// After a conflict: the next round reads why, the head or a row that a decider guards.
void GuardedCore::AskForGuards(const CommitRequest& request) {
  for (Request& r : batch_) {
    std::vector<std::string> keys;
    for (size_t i = 0; i < r.guards; ++i) keys.push_back(request.preconditions[r.first_guard + i].key);
    AddKeys(r, keys);
    r.guards = 0;
  }
}

}  // namespace posthouse::store
