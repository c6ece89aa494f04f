#include "services/mailbox/folder/folder.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "posthouse/mailbox/v1/store.pb.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/uid_set/uid_set_proto.h"
#include "services/mailbox/rows/cache_rows.h"

namespace posthouse::mailbox {
namespace {

// Of a flag change or copy: the rest of a commit's 1,000 mutations.
constexpr size_t kMaxNewKeywords = 90;

Usage::Amount AmountOf(const Head& head) {
  return {static_cast<int64_t>(head.size_bytes), static_cast<int64_t>(head.exists)};
}

}  // namespace

Folder::Folder(Context& context, FolderId id, std::shared_ptr<Usage> usage)
    : context_(context),
      id_(std::move(id)),
      partition_(FolderPartition(id_.tenant, id_.folder_id)),
      cache_partition_(CachePartition(id_.tenant, id_.folder_id)),
      usage_(std::move(usage)) {}

// ---- loading

Task<absl::StatusOr<std::vector<std::optional<std::string>>>> Folder::ReadKeys(store::Partition partition,
                                                                               std::vector<std::string> keys) {
  store::ReadRequest request;
  request.partition = std::move(partition);
  request.keys = std::move(keys);
  PH_CO_ASSIGN_OR_RETURN(store::ReadResult read, co_await context_.store.Read(std::move(request)));
  co_return std::move(read.values);
}

Task<absl::Status> Folder::LoadHead() {
  {
    absl::MutexLock lock(&mutex_);
    if (destroyed_) co_return absl::NotFoundError("no such folder");
    if (loaded_) co_return absl::OkStatus();
  }
  co_return co_await Reload(0, nullptr);
}

Task<absl::Status> Folder::Reload(uint64_t modseq, std::string* change_row) {
  std::vector<std::string> keys = {HeadKey()};
  if (change_row != nullptr) keys.push_back(ChangeKey(modseq));
  auto values = co_await ReadKeys(partition_, std::move(keys));
  if (!values.ok()) {
    Forget();
    co_return values.status();
  }
  if (change_row != nullptr) *change_row = (*values)[1].value_or("");
  if (!(*values)[0].has_value()) {
    absl::MutexLock lock(&mutex_);
    destroyed_ = true;
    loaded_ = false;
    co_return absl::NotFoundError("no such folder");
  }
  absl::StatusOr<Head> head = Head::Decode(*(*values)[0]);
  if (!head.ok()) {
    context_.metrics.corrupt_rows.Add();
    co_return Annotate(head.status(), absl::StrCat("head of folder ", id_.folder_id));
  }
  bool keywords_changed = false;
  Usage::Amount delta;
  {
    absl::MutexLock lock(&mutex_);
    if (!head_row_.empty()) delta = AmountOf(*head) - AmountOf(head_);
    if (head_row_ != *(*values)[0]) {
      index_.reset();
      uids_view_ = nullptr;
    }
    if (head_row_.empty() && head->intents > 0) recovery_needed_ = true;
    head_ = *std::move(head);
    head_row_ = *std::move((*values)[0]);
    keywords_changed = keywords_.size() != head_.keywords;
    loaded_ = !keywords_changed;
  }
  // Something came true of which we did not know.
  usage_->Changed(id_.folder_id, delta);
  if (keywords_changed) PH_CO_RETURN_IF_ERROR(co_await LoadKeywords());
  co_return absl::OkStatus();
}

Task<absl::Status> Folder::LoadKeywords() {
  std::vector<std::string> keywords;
  std::string after;
  for (bool more = true; more;) {
    store::ReadRequest request;
    request.partition = partition_;
    request.prefix = kKeywordPrefix;
    request.after = after;
    request.limit = store::kMaxPageRows;
    PH_CO_ASSIGN_OR_RETURN(const store::ReadResult read, co_await context_.store.Read(std::move(request)));
    for (const store::Row& row : read.page) {
      PH_CO_ASSIGN_OR_RETURN(const uint16_t number, NumberOfKeywordKey(row.key));
      if (keywords.size() <= number) keywords.resize(number + 1u);
      PH_CO_ASSIGN_OR_RETURN(keywords[number], DecodeText(row.value));
      after = row.key;
    }
    more = read.more;
  }
  absl::MutexLock lock(&mutex_);
  keywords.resize(head_.keywords);
  keywords_ = std::move(keywords);
  loaded_ = true;
  co_return absl::OkStatus();
}

Task<absl::Status> Folder::LoadIndex() {
  PH_CO_RETURN_IF_ERROR(co_await LoadHead());
  {
    absl::MutexLock lock(&mutex_);
    if (index_.has_value()) co_return absl::OkStatus();
  }
  FolderIndex index;
  std::string after;
  for (bool more = true; more;) {
    store::ReadRequest request;
    request.partition = partition_;
    request.prefix = kMessagePrefix;
    request.after = after;
    request.limit = store::kMaxPageRows;
    PH_CO_ASSIGN_OR_RETURN(const store::ReadResult read, co_await context_.store.Read(std::move(request)));
    for (const store::Row& row : read.page) {
      PH_CO_ASSIGN_OR_RETURN(const uint32_t uid, UidOfKey(row.key));
      const absl::StatusOr<v1::MessageRow> message = DecodeRow<v1::MessageRow>(row.value);
      if (!message.ok()) {
        context_.metrics.corrupt_rows.Add();
        co_return Annotate(message.status(), absl::StrCat("message ", uid, " of folder ", id_.folder_id));
      }
      index.Add(uid, *message);
    }
    if (!read.page.empty()) after = read.page.back().key;
    more = read.more;
  }
  absl::MutexLock lock(&mutex_);
  index_ = std::move(index);
  co_return absl::OkStatus();
}

void Folder::Forget() {
  absl::MutexLock lock(&mutex_);
  loaded_ = false;
  index_.reset();
  uids_view_ = nullptr;
}

// ---- reading

FolderSnapshot Folder::SnapshotLocked() const { return {id_.folder_id, head_, keywords_}; }

FolderSnapshot Folder::Current() const {
  absl::MutexLock lock(&mutex_);
  return SnapshotLocked();
}

bool Folder::loaded() const {
  absl::MutexLock lock(&mutex_);
  return loaded_ && !destroyed_;
}

Task<absl::StatusOr<FolderSnapshot>> Folder::Snapshot() {
  {
    absl::MutexLock lock(&mutex_);
    if (loaded_ && !destroyed_) co_return SnapshotLocked();
  }
  const AsyncMutex::Guard guard = co_await writer_.Lock();
  PH_CO_RETURN_IF_ERROR(co_await LoadHead());
  co_return Current();
}

Task<absl::StatusOr<std::shared_ptr<const UidsView>>> Folder::Uids() {
  const AsyncMutex::Guard guard = co_await writer_.Lock();
  PH_CO_RETURN_IF_ERROR(co_await LoadIndex());
  absl::MutexLock lock(&mutex_);
  if (uids_view_ == nullptr) {
    auto view = std::make_shared<UidsView>();
    view->state = SnapshotLocked();
    view->uids = index_->Uids();
    view->first_unseen = head_.unseen == 0 ? 0 : index_->FirstUnseen();
    uids_view_ = std::move(view);
  }
  co_return uids_view_;
}

Task<absl::StatusOr<std::vector<MessageMeta>>> Folder::Select(UidSet uids, uint32_t after, size_t limit,
                                                              std::vector<std::string>* bits) {
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      if (destroyed_) co_return absl::NotFoundError("no such folder");
      if (loaded_ && index_.has_value()) {
        std::vector<MessageMeta> out = index_->Select(uids, after, limit);
        if (bits != nullptr) {
          bits->clear();
          for (const MessageMeta& m : out) bits->push_back(index_->KeywordBits(m.keywords));
        }
        co_return out;
      }
    }
    const AsyncMutex::Guard guard = co_await writer_.Lock();
    PH_CO_RETURN_IF_ERROR(co_await LoadIndex());
  }
}

Task<absl::StatusOr<UidSet>> Folder::ExpungedAfter(uint64_t modseq) {
  std::vector<UidSet::Range> ranges;
  std::string after = ChangeKey(modseq);
  for (bool more = true; more;) {
    store::ReadRequest request;
    request.partition = partition_;
    request.prefix = kChangePrefix;
    request.after = after;
    request.limit = store::kMaxPageRows;
    PH_CO_ASSIGN_OR_RETURN(const store::ReadResult read, co_await context_.store.Read(std::move(request)));
    for (const store::Row& row : read.page) {
      PH_CO_ASSIGN_OR_RETURN(const v1::ChangeRow change, DecodeRow<v1::ChangeRow>(row.value));
      const UidSet expunged = UidSetFromFlat(change.expunged());
      ranges.insert(ranges.end(), expunged.ranges().begin(), expunged.ranges().end());
      after = row.key;
    }
    more = read.more;
  }
  co_return UidSet(std::move(ranges));
}

Task<absl::StatusOr<std::optional<UidSet>>> Folder::VanishedAfter(uint64_t modseq, UidSet within) {
  const AsyncMutex::Guard guard = co_await writer_.Lock();
  PH_CO_RETURN_IF_ERROR(co_await LoadHead());
  if (modseq < Current().head.log_floor) co_return std::optional<UidSet>();
  PH_CO_ASSIGN_OR_RETURN(const UidSet all, co_await ExpungedAfter(modseq));
  UidSet out;
  for (const uint32_t uid : all.Expand()) {
    if (within.Contains(uid)) out.Add(uid);
  }
  co_return std::optional<UidSet>(std::move(out));
}

Task<absl::StatusOr<FolderChanges>> Folder::ChangesAfter(uint64_t modseq, uint32_t after, size_t limit) {
  {
    // Nothing new: what a lost hint's poll finds most of the time.
    absl::MutexLock lock(&mutex_);
    if (loaded_ && !destroyed_ && modseq == head_.highest_modseq) {
      FolderChanges none;
      none.state = SnapshotLocked();
      co_return none;
    }
  }
  const AsyncMutex::Guard guard = co_await writer_.Lock();
  PH_CO_RETURN_IF_ERROR(co_await LoadIndex());
  FolderChanges out;
  out.state = Current();
  // A modseq of the future is from another life of the folder: start again.
  out.full = modseq < out.state.head.log_floor || modseq > out.state.head.highest_modseq;
  if (!out.full) {
    PH_CO_ASSIGN_OR_RETURN(UidSet vanished, co_await ExpungedAfter(modseq));
    out.full = vanished.ranges().size() > kMaxVanishedRanges;
    if (!out.full && after == 0) out.vanished = std::move(vanished);
  }
  absl::MutexLock lock(&mutex_);
  const std::vector<MessageMeta>& messages = index_->messages();
  for (size_t i = after == 0 ? 0 : index_->LowerBound(after); i < messages.size(); ++i) {
    const MessageMeta& m = messages[i];
    if (m.uid <= after || (!out.full && m.modseq <= modseq)) continue;
    if ((out.more = out.messages.size() >= limit)) break;
    out.messages.push_back(m);
    out.keyword_bits.push_back(index_->KeywordBits(m.keywords));
  }
  co_return out;
}

Task<absl::StatusOr<UidSet>> Folder::ChangedSince(UidSet uids, uint64_t modseq) {
  const AsyncMutex::Guard guard = co_await writer_.Lock();
  PH_CO_RETURN_IF_ERROR(co_await LoadIndex());
  absl::MutexLock lock(&mutex_);
  UidSet out;
  for (const MessageMeta& m : index_->messages()) {
    if (m.modseq > modseq && uids.Contains(m.uid)) out.Add(m.uid);
  }
  co_return out;
}

Task<absl::Status> Folder::CountUsage() {
  if (usage_->Counted(id_.folder_id)) co_return absl::OkStatus();
  const AsyncMutex::Guard guard = co_await writer_.Lock();
  PH_CO_RETURN_IF_ERROR(co_await LoadHead());
  usage_->Count(id_.folder_id, AmountOf(Current().head));
  co_return absl::OkStatus();
}

bool Folder::TakeRecoveryNeeded() {
  absl::MutexLock lock(&mutex_);
  return std::exchange(recovery_needed_, false);
}

void Folder::SetRecoveryNeeded() {
  absl::MutexLock lock(&mutex_);
  recovery_needed_ = true;
}

size_t Folder::MemoryBytes() const {
  absl::MutexLock lock(&mutex_);
  return 1024 + keywords_.size() * 64 + (index_.has_value() ? index_->MemoryBytes() : 0);
}

// ---- committing

Folder::Change Folder::Begin(uint64_t nonce) const {
  absl::MutexLock lock(&mutex_);
  Change change;
  change.head = head_;
  change.head.highest_modseq = head_.highest_modseq + 1;
  change.nonce = nonce;
  return change;
}

absl::StatusOr<std::string> Folder::KeywordBits(const std::vector<std::string>& names, bool drop_excess,
                                                Change& change) const {
  absl::MutexLock lock(&mutex_);
  std::string bits;
  for (const std::string& name : names) {
    if (name.empty()) continue;
    size_t number = 0;
    // RFC 9051 §2.3.2: keywords are compared without regard to case; the first spelling stays.
    while (number < keywords_.size() && !absl::EqualsIgnoreCase(keywords_[number], name)) ++number;
    if (number == keywords_.size()) {
      size_t added = 0;
      while (added < change.new_keywords.size() && !absl::EqualsIgnoreCase(change.new_keywords[added], name)) ++added;
      number += added;
      if (added == change.new_keywords.size()) {
        if (number >= context_.settings.keywords_per_folder || added >= kMaxNewKeywords) {
          if (drop_excess) continue;
          return absl::ResourceExhaustedError("too many keywords in this folder");
        }
        change.new_keywords.push_back(name);
      }
    }
    if (bits.size() <= number / 8) bits.resize(number / 8 + 1);
    bits[number / 8] = static_cast<char>(bits[number / 8] | (1 << (number % 8)));
  }
  return bits;
}

Task<absl::Status> Folder::Commit(Change change, absl::FunctionRef<void(FolderIndex&)> apply) {
  v1::ChangeRow log;
  UidSetToFlat(change.changed, log.mutable_changed());
  UidSetToFlat(change.expunged, log.mutable_expunged());
  log.set_nonce(change.nonce);
  const std::string log_row = EncodeRow(log);
  const uint64_t modseq = change.head.highest_modseq;
  change.mutations.push_back({ChangeKey(modseq), log_row});
  // The log's bound: every modseq has one row, so the oldest keys are known without reading.
  for (int i = 0; i < 2 && modseq - change.head.log_floor > context_.settings.change_log_entries; ++i) {
    change.mutations.push_back({ChangeKey(++change.head.log_floor), std::nullopt});
  }
  for (const std::string& keyword : change.new_keywords) {
    change.mutations.push_back({KeywordKey(static_cast<uint16_t>(change.head.keywords++)), EncodeText(keyword)});
  }
  const std::string head_row = change.head.Encode();
  change.mutations.push_back({HeadKey(), head_row});

  std::vector<store::CommitRequest> requests(1);
  requests[0].partition = partition_;
  requests[0].preconditions = std::move(change.guards);
  {
    absl::MutexLock lock(&mutex_);
    requests[0].preconditions.push_back({HeadKey(), head_row_});
    // Flags and expunges work on a full disk, else nobody could make room.
    requests[0].use_reserve =
        change.use_reserve || (change.head.exists <= head_.exists && change.head.intents <= head_.intents);
  }
  requests[0].mutations = std::move(change.mutations);
  SplitCommits(cache_partition_, std::move(change.cache), requests);
  const std::vector<absl::Status> results = co_await context_.store.CommitAll(std::move(requests));
  for (size_t i = 1; i < results.size(); ++i) {
    // The cache can be rebuilt; its loss costs time only.
    if (!results[i].ok()) LOG_EVENT(kWarning, "cache_commit_failed").Str("folder_id", id_.folder_id).Err(results[i]);
  }
  const absl::Status& status = results[0];
  if (status.ok()) {
    Usage::Amount delta;
    {
      absl::MutexLock lock(&mutex_);
      delta = AmountOf(change.head) - AmountOf(head_);
      head_ = std::move(change.head);
      head_row_ = head_row;
      keywords_.insert(keywords_.end(), change.new_keywords.begin(), change.new_keywords.end());
      uids_view_ = nullptr;
      if (index_.has_value()) apply(*index_);
    }
    usage_->Changed(id_.folder_id, delta);
    context_.hints.FolderChanged(id_.account_id, id_.folder_id, modseq);
    co_return absl::OkStatus();
  }
  const bool unknown = absl::IsDeadlineExceeded(status);
  if (!unknown && !absl::IsAborted(status)) {
    Forget();
    co_return status;
  }
  (unknown ? context_.metrics.unknown_commits : context_.metrics.conflicts).Add();
  std::string found;
  PH_CO_RETURN_IF_ERROR(co_await Reload(modseq, &found));
  // The nonce makes the row ours beyond doubt: it did happen.
  if (found == log_row) {
    context_.hints.FolderChanged(id_.account_id, id_.folder_id, modseq);
    co_return absl::OkStatus();
  }
  co_return absl::AbortedError("another writer changed the folder");
}

Task<absl::Status> Folder::Destroy() {
  const AsyncMutex::Guard guard = co_await writer_.Lock();
  const absl::Status loaded = co_await LoadHead();
  if (loaded.ok()) usage_->Forget(id_.folder_id, AmountOf(Current().head));
  {
    absl::MutexLock lock(&mutex_);
    destroyed_ = true;
    loaded_ = false;
    index_.reset();
    uids_view_ = nullptr;
  }
  PH_CO_RETURN_IF_ERROR(co_await context_.store.Drop(partition_));
  co_return co_await context_.store.Drop(cache_partition_);
}

}  // namespace posthouse::mailbox
