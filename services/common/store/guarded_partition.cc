#include "services/common/store/guarded_partition.h"

#include <algorithm>
#include <iterator>

#include "absl/container/flat_hash_set.h"
#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "services/common/log/log.h"
#include "services/common/metrics/metrics.h"
#include "services/common/status/status.h"

namespace posthouse::store {
namespace {

constexpr absl::Duration kLongestPause = absl::Milliseconds(200);
// A state that is further behind is loaded anew.
constexpr size_t kMaxPatchRows = 256;
// Room in a commit for the head and the log row.
constexpr size_t kMaxDraftBytes = kMaxCommitBytes - 2 * kMaxRowBytes;
// Read with a request's rows: the head and the proof.
constexpr size_t kMaxKeysOfRequest = kMaxReadKeys - 2;
constexpr int kMaxRestarts = 8;  // a decider that asks for other rows each time is wrong

uint64_t SystemRandom() {
  thread_local absl::BitGen generator;
  return absl::Uniform<uint64_t>(generator);
}

// An error that a read, or a write of something else, gave: this change did not happen.
absl::Status NothingChanged(const absl::Status& status) {
  if (!absl::IsDeadlineExceeded(status) && !absl::IsAborted(status)) return status;
  return absl::UnavailableError(absl::StrCat("nothing was changed: ", status.message()));
}

}  // namespace

// ---- rows and drafts

const std::optional<std::string>* FetchedRows::Find(absl::string_view key) const {
  if (draft_ != nullptr) {
    if (const Mutation* drafted = draft_->Find(key); drafted != nullptr) return &drafted->value;
  }
  const auto row = rows_.find(key);
  return row == rows_.end() ? nullptr : &row->second;
}

absl::string_view FetchedRows::Value(absl::string_view key) const {
  const std::optional<std::string>* row = Find(key);
  return row != nullptr && row->has_value() ? absl::string_view(**row) : absl::string_view();
}

void Draft::Put(std::string key, std::optional<std::string> value) {
  bytes_ += key.size() + (value.has_value() ? value->size() : 0);
  const auto [place, added] = index_.try_emplace(key, mutations_.size());
  if (added) {
    mutations_.push_back({std::move(key), std::move(value)});
  } else {
    mutations_[place->second].value = std::move(value);
  }
}

Verdict Draft::Need(std::vector<std::string> keys) {
  std::move(keys.begin(), keys.end(), std::back_inserter(needed_));
  return Verdict::kNeedRows;
}

const Mutation* Draft::Find(absl::string_view key) const {
  const auto place = index_.find(key);
  return place == index_.end() ? nullptr : &mutations_[place->second];
}

GuardMetrics::GuardMetrics(metrics::Registry& registry, const std::string& kind)
    : commits(registry.AddCounter("posthouse_store_guarded_commits_total",
                                  "Commits that replaced a head, by kind of partition.", {{"kind", kind}})),
      conflicts(registry.AddCounter("posthouse_store_conflicts_total",
                                    "Commits refused because another writer was faster, by kind of partition.",
                                    {{"kind", kind}})),
      unknown(registry.AddCounter("posthouse_store_unknown_commits_total",
                                  "Commits whose outcome had to be found out, by kind of partition.",
                                  {{"kind", kind}})) {}

// ---- the queue

GuardedCore::GuardedCore(GuardedOptions options) : options_(std::move(options)), take_limit_(options_.max_batch) {}
GuardedCore::~GuardedCore() = default;

void GuardedCore::Enqueue(Request request) {
  if (options_.executor == nullptr) request.options.lazy = false;
  if (!request.options.deadline.has_value()) request.options.deadline = options_.clock() + options_.patience;
  absl::Status refused;
  bool start = false, arm = false;
  {
    absl::MutexLock lock(&mutex_);
    refused = broken_;
    if (refused.ok()) {
      if (!request.options.lazy) ++urgent_;
      pending_.push_back(std::move(request));
      start = !running_ && (urgent_ > 0 || pending_.size() >= options_.max_batch);
      if (start) running_ = true;
      arm = !running_ && !std::exchange(timer_armed_, true);
    }
  }
  if (!refused.ok()) {
    request.done(std::move(refused));
  } else if (start) {
    SpawnHere(Run(shared_from_this()));
  } else if (arm) {
    ArmTimer();
  }
}

void GuardedCore::ArmTimer() {
  options_.executor->PostAfter(options_.linger, [weak = weak_from_this()] {
    const std::shared_ptr<GuardedCore> self = weak.lock();
    if (self == nullptr) return;
    {
      absl::MutexLock lock(&self->mutex_);
      self->timer_armed_ = false;
      if (self->pending_.empty() || self->running_) return;
      self->running_ = self->lingered_ = true;
    }
    SpawnHere(Run(self));
  });
}

Task<void> GuardedCore::Run(std::shared_ptr<GuardedCore> self) {
  std::vector<Done> idle;
  while (self->Take(&idle)) co_await self->Round();
  for (Done& done : idle) done(absl::OkStatus());
}

// Moves what waits into the batch. False: there is nothing to do, the loop ends.
bool GuardedCore::Take(std::vector<Done>* idle) {
  bool arm = false;
  {
    absl::MutexLock lock(&mutex_);
    // Lazy changes alone wait for company or the timer.
    const bool lingered = std::exchange(lingered_, false);
    if (!batch_.empty() || urgent_ > 0 || pending_.size() >= options_.max_batch || lingered ||
        (closing_ && !pending_.empty())) {
      for (; !pending_.empty() && batch_.size() < std::max<size_t>(take_limit_, 1); pending_.pop_front()) {
        if (!pending_.front().options.lazy) --urgent_;
        batch_.push_back(std::move(pending_.front()));
      }
      return true;
    }
    running_ = false;
    arm = !pending_.empty() && !std::exchange(timer_armed_, true);
    idle->swap(idle_);
  }
  if (arm) ArmTimer();
  return false;
}

// Puts the requests of the batch from `first` on back to the front of the queue.
void GuardedCore::Defer(size_t first) {
  absl::MutexLock lock(&mutex_);
  while (batch_.size() > first) {
    if (!batch_.back().options.lazy) ++urgent_;
    pending_.push_front(std::move(batch_.back()));
    batch_.pop_back();
  }
}

void GuardedCore::Answer(absl::FunctionRef<std::optional<absl::Status>(const Request&)> answer) {
  std::vector<std::pair<Done, absl::Status>> answered;
  std::deque<Request> kept;
  for (Request& request : batch_) {
    if (std::optional<absl::Status> status = answer(request); status.has_value()) {
      answered.emplace_back(std::move(request.done), *std::move(status));
    } else {
      kept.push_back(std::move(request));
    }
  }
  batch_ = std::move(kept);
  for (auto& [done, status] : answered) done(std::move(status));
}

Task<void> GuardedCore::Close(absl::Status why) {
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
    if (broken_.ok()) broken_ = std::move(why);
    if (!running_ && pending_.empty()) co_return;
  }
  const std::shared_ptr<GuardedCore> self = shared_from_this();
  [[maybe_unused]] const absl::Status closed = co_await AwaitCallback<absl::Status>([&self](Done done) {
    bool start = false;
    {
      absl::MutexLock lock(&self->mutex_);
      if (self->running_ || !self->pending_.empty()) {
        self->idle_.push_back(std::move(done));
        start = !std::exchange(self->running_, true);
      }
    }
    if (done) done(absl::OkStatus());
    if (start) SpawnHere(Run(self));
  });
}

absl::Status GuardedCore::healthy() const {
  absl::MutexLock lock(&mutex_);
  return broken_;
}

void GuardedCore::Break(const absl::Status& why) {
  LOG_EVENT(kError, "partition_lost").Str("partition", options_.partition.id).Err(why);
  absl::MutexLock lock(&mutex_);
  if (broken_.ok()) broken_ = why;
}

GuardedCore::Memory GuardedCore::memory() const {
  absl::ReaderMutexLock lock(&state_mutex_);
  return memory_;
}

void GuardedCore::SetMemory(Memory memory) {
  absl::MutexLock lock(&state_mutex_);
  memory_ = memory;
}

// Every request is tried once, however late it is.
bool GuardedCore::Late(const Request& request) const {
  if (!request.tried) return false;
  if (options_.clock() >= *request.options.deadline) return true;
  absl::MutexLock lock(&mutex_);
  return closing_;
}

// Waits after the second failure in a row and longer after each further one.
Task<void> GuardedCore::Pause() {
  if (tries_++ == 0) co_return;
  if (Executor::Current() == nullptr) {
    if (options_.executor == nullptr) co_return;
    co_await SwitchTo(*options_.executor);
  }
  const absl::Duration bound = std::min(kLongestPause, commit_time_ * (1 << std::min(tries_, 16)));
  const uint64_t random = options_.random ? options_.random() : SystemRandom();
  co_await Sleep(bound * (static_cast<double>(random >> 11) / static_cast<double>(uint64_t{1} << 53)));
}

// ---- one round: at most one commit

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
  draft->nonce_ = options_.random ? options_.random() : SystemRandom();
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
    // Two writers may have made the same head from one base; never the same log row.
    const bool landed = proof ? read.values[1] == doubt_->sealed.proof->value
                              : owned && head == std::optional<std::string>(doubt_->sealed.head);
    // Another commit took our place in the log, or the head is our own and shows another of
    // our commits, or the head stands still and a guard fails, which it then does for ever.
    // Rows leave the log at its old end only, so a log that still has an older row would have
    // ours. A log that no longer reaches back to our row tells nothing.
    const bool reaches = proof && !read.page.empty() && read.page.front().key < doubt_->sealed.proof->key;
    const bool passed =
        compare ? moved || read.values[1].has_value() : moved && (owned || read.values[1].has_value() || reaches);
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

// After a conflict: the next round reads why, the head or a row that a decider guards.
void GuardedCore::AskForGuards(const CommitRequest& request) {
  for (Request& r : batch_) {
    std::vector<std::string> keys;
    for (size_t i = 0; i < r.guards; ++i) keys.push_back(request.preconditions[r.first_guard + i].key);
    AddKeys(r, keys);
    r.guards = 0;
  }
}

// ---- committing

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
  PH_CHECK(options_.kind == GuardKind::kOwnedHead || sealed->proof.has_value());
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
      const Doubt doubt = *std::move(doubt_);
      doubt_.reset();
      Landed(*doubt.draft, doubt.sealed);
      Answer([](const Request& r) {
        return r.in_doubt ? std::optional(r.answer.value_or(absl::OkStatus())) : std::nullopt;
      });
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
    draft->nonce_ = options_.random ? options_.random() : SystemRandom();
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

}  // namespace posthouse::store
