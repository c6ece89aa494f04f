#include "services/mailbox/folder/folder_model.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/uid_set/uid_set_proto.h"
#include "services/mailbox/rows/cache_rows.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"

namespace posthouse::mailbox {
namespace {

// Of one page of the change log, whose rows are of commits with at most so many messages.
constexpr uint64_t kMaxLoggedChanges = store::kMaxPageRows * store::kMaxMutations;

// The sum of rows of the change log.
struct LoggedChanges {
  UidSet changed;
  UidSet expunged;
  Modseq last;  // modseq of the last row
};

// nullopt: the rows are not the ones that follow `modseq` without a gap.
absl::StatusOr<std::optional<LoggedChanges>> ReadLog(Modseq modseq, const std::vector<store::Row>& log) {
  LoggedChanges out;
  std::vector<UidSet::Range> changed;
  std::vector<UidSet::Range> expunged;
  for (const store::Row& stored : log) {
    PH_ASSIGN_OR_RETURN(const Modseq number, ModseqOfKey(stored.key));
    modseq = modseq.Next();
    if (number != modseq) return std::optional<LoggedChanges>();
    PH_ASSIGN_OR_RETURN(const v1::ChangeRow row, DecodeRow<v1::ChangeRow>(stored.value));
    const UidSet c = UidSetFromFlat(row.changed());
    const UidSet e = UidSetFromFlat(row.expunged());
    changed.insert(changed.end(), c.ranges().begin(), c.ranges().end());
    expunged.insert(expunged.end(), e.ranges().begin(), e.ranges().end());
  }
  out.changed = UidSet(std::move(changed));
  out.expunged = UidSet(std::move(expunged));
  out.last = modseq;
  return std::optional<LoggedChanges>(std::move(out));
}

}  // namespace

FolderModel::FolderModel(MailboxDeps& deps, FolderRef ref, std::shared_ptr<Usage> usage)
    : deps_(deps),
      ref_(std::move(ref)),
      partition_(FolderPartition(ref_.tenant, ref_.folder_id)),
      cache_partition_(CachePartition(ref_.tenant, ref_.folder_id)),
      usage_(std::move(usage)) {}

store::GuardedOptions FolderModel::Options(MailboxDeps& deps, const FolderRef& ref) {
  store::GuardedOptions options;
  options.store = &deps.store;
  options.partition = FolderPartition(ref.tenant, ref.folder_id);
  options.head_key = HeadKey();
  options.log_prefix = kChangePrefix;
  options.executor = deps.executor;
  options.seal_rows = 3;    // the log row and two that it trims: 900 copies with 90 new keywords fit
  options.max_batch = 250;  // messages that share a commit: with d/ rows and cache rows far below its limits
  options.metrics = &deps.metrics.folder_commits;
  return options;
}

Usage::Amount FolderModel::AmountOf(const Head& head) {
  return {static_cast<int64_t>(head.size_bytes), static_cast<int64_t>(head.exists)};
}

// ---- loading

absl::StatusOr<Head> FolderModel::DecodeHead(absl::string_view row) const {
  absl::StatusOr<Head> head = Head::Decode(row);
  if (head.ok()) return head;
  deps_.metrics.corrupt_rows.Add();
  return Annotate(head.status(), absl::StrCat("head of folder ", ref_.folder_id.value()));
}

absl::StatusOr<v1::MessageRow> FolderModel::DecodeMessage(Uid uid, absl::string_view row) const {
  absl::StatusOr<v1::MessageRow> message = DecodeRow<v1::MessageRow>(row);
  if (message.ok()) return message;
  deps_.metrics.corrupt_rows.Add();
  return Annotate(message.status(), absl::StrCat("message ", uid.value(), " of folder ", ref_.folder_id.value()));
}

absl::Status FolderModel::TakeHead(store::Loaded<FolderState>& loaded, std::optional<std::string> row) const {
  loaded.state.exists = row.has_value();
  if (row.has_value()) {
    PH_ASSIGN_OR_RETURN(loaded.state.head, DecodeHead(*row));
  }
  loaded.head = std::move(row);
  return absl::OkStatus();
}

Task<absl::StatusOr<store::Loaded<FolderState>>> FolderModel::Load(unsigned parts) {
  store::Loaded<FolderState> loaded;
  store::ReadRequest request;
  request.partition = partition_;
  request.keys = {HeadKey()};
  PH_CO_ASSIGN_OR_RETURN(store::ReadResult read, co_await deps_.store.Read(std::move(request)));
  PH_CO_RETURN_IF_ERROR(TakeHead(loaded, std::move(read.values[0])));
  if (loaded.state.exists && loaded.state.head.incarnation < deps_.store.Incarnation()) {
    PH_CO_RETURN_IF_ERROR(co_await JumpNumbers(loaded));
  }
  if (loaded.state.exists && (parts & kIndex) != 0) PH_CO_RETURN_IF_ERROR(co_await LoadIndex(loaded));
  // After the index, which may have moved the head on. The rows of keywords never change.
  if (loaded.state.exists) PH_CO_RETURN_IF_ERROR(co_await LoadKeywords(loaded.state));
  co_return loaded;
}

// Unless it is OK, the next load tries again: the head tells whether it happened.
Task<absl::Status> FolderModel::JumpNumbers(store::Loaded<FolderState>& loaded) const {
  Head head = loaded.state.head;
  head.Jump(deps_.store.Incarnation(), RandomNumber());
  std::string row = head.Encode();
  store::CommitRequest commit;
  commit.partition = partition_;
  commit.preconditions = {{HeadKey(), loaded.head}};
  commit.mutations = {{HeadKey(), row}};
  commit.use_reserve = true;  // a full store is read, too
  PH_CO_RETURN_IF_ERROR(co_await deps_.store.Commit(std::move(commit)));
  LOG_EVENT(kInfo, "folder_numbers_jumped")
      .Str("folder", ref_.folder_id.value())
      .Int("incarnation", static_cast<int64_t>(head.incarnation))
      .Int("uid_next", head.uid_next.value());
  loaded.state.head = head;
  loaded.head = std::move(row);
  co_return absl::OkStatus();
}

Task<absl::Status> FolderModel::LoadKeywords(FolderState& state) const {
  state.keywords.assign(state.head.keywords, "");
  store::ReadRequest request;
  request.partition = partition_;
  request.prefix = kKeywordPrefix;
  request.limit = store::kMaxPageRows;
  for (bool more = state.head.keywords > 0; more;) {
    PH_CO_ASSIGN_OR_RETURN(store::ReadResult read, co_await deps_.store.Read(request));
    for (const store::Row& row : read.page) {
      PH_CO_ASSIGN_OR_RETURN(const uint16_t number, NumberOfKeywordKey(row.key));
      PH_CO_ASSIGN_OR_RETURN(std::string name, DecodeText(row.value));
      if (number < state.keywords.size()) state.keywords[number] = std::move(name);
      request.after = row.key;
    }
    more = read.more;
  }
  co_return absl::OkStatus();
}

Task<absl::Status> FolderModel::LoadIndex(store::Loaded<FolderState>& loaded) {
  while (loaded.state.exists) {
    OldIndex old;
    if (old_index_.has_value() && old_index_->uid_validity == loaded.state.head.uid_validity) {
      old = *std::move(old_index_);
    } else {
      // Its pages are of several instants: what changes from this head on is read again below.
      old.modseq = loaded.state.head.highest_modseq;
      PH_CO_RETURN_IF_ERROR(co_await ReadAllMessages(old.index));
    }
    old_index_.reset();
    PH_CO_ASSIGN_OR_RETURN(const bool followed, co_await FollowLog(loaded, old));
    if (!followed) continue;  // the log does not reach back to it: read all
    PH_CO_RETURN_IF_ERROR(CheckUids(loaded.state.head, old.index));
    loaded.state.index = std::move(old.index);
    break;
  }
  co_return absl::OkStatus();
}

// A row at or above uid_next would be overwritten, and its UID be given out twice.
absl::Status FolderModel::CheckUids(const Head& head, const FolderIndex& index) const {
  if (index.messages().empty()) return absl::OkStatus();
  const Uid first = index.messages().front().uid;
  const Uid last = index.messages().back().uid;
  if (!first.empty() && last < head.uid_next) return absl::OkStatus();
  deps_.metrics.corrupt_rows.Add();
  return absl::DataLossError(absl::StrCat("folder ", ref_.folder_id.value(), " has message ",
                                          first.empty() ? 0 : last.value(), " and gives out UIDs from ",
                                          head.uid_next.value()));
}

Task<absl::Status> FolderModel::ReadAllMessages(FolderIndex& index) const {
  store::ReadRequest request;
  request.partition = partition_;
  request.prefix = kMessagePrefix;
  request.limit = store::kMaxPageRows;
  for (bool more = true; more;) {
    PH_CO_ASSIGN_OR_RETURN(const store::ReadResult read, co_await deps_.store.Read(request));
    for (const store::Row& row : read.page) {
      PH_CO_ASSIGN_OR_RETURN(const Uid uid, UidOfKey(row.key));
      PH_CO_ASSIGN_OR_RETURN(const v1::MessageRow message, DecodeMessage(uid, row.value));
      index.Put(uid, message);
      request.after = row.key;
    }
    more = read.more;
  }
  co_return absl::OkStatus();
}

// Brings `old` to the newest head and sets that. False: rows of the log are missing.
Task<absl::StatusOr<bool>> FolderModel::FollowLog(store::Loaded<FolderState>& loaded, OldIndex& old) const {
  while (true) {
    store::ReadRequest request;
    request.partition = partition_;
    request.keys = {HeadKey()};
    request.prefix = kChangePrefix;
    request.after = ChangeKey(old.modseq);
    request.limit = store::kMaxPageRows;
    PH_CO_ASSIGN_OR_RETURN(store::ReadResult read, co_await deps_.store.Read(std::move(request)));
    PH_CO_RETURN_IF_ERROR(TakeHead(loaded, std::move(read.values[0])));
    if (!loaded.state.exists) co_return true;
    PH_CO_ASSIGN_OR_RETURN(const std::optional<LoggedChanges> changes, ReadLog(old.modseq, read.page));
    if (!changes.has_value()) co_return false;
    old.modseq = changes->last;
    old.index.Erase(changes->expunged);
    // A row may be newer than this part of the log; then a later part names it once more.
    PH_CO_RETURN_IF_ERROR(co_await ReadMessages(changes->changed, old.index));
    if (!read.more && changes->changed.empty()) co_return old.modseq == loaded.state.head.highest_modseq;
  }
}

Task<absl::Status> FolderModel::ReadMessages(const UidSet& changed, FolderIndex& index) const {
  if (changed.Count() > kMaxLoggedChanges) {
    deps_.metrics.corrupt_rows.Add();
    co_return absl::DataLossError(
        absl::StrCat("the change log of folder ", ref_.folder_id.value(), " names ", changed.Count(), " messages"));
  }
  const std::vector<Uid> uids = changed.Expand();
  for (size_t at = 0; at < uids.size(); at += store::kMaxReadKeys) {
    const size_t end = std::min(uids.size(), at + store::kMaxReadKeys);
    store::ReadRequest request;
    request.partition = partition_;
    for (size_t i = at; i < end; ++i) request.keys.push_back(MessageKey(uids[i]));
    PH_CO_ASSIGN_OR_RETURN(const store::ReadResult read, co_await deps_.store.Read(std::move(request)));
    UidSet gone;
    for (size_t i = at; i < end; ++i) {
      const std::optional<std::string>& row = read.values[i - at];
      if (!row.has_value()) {
        gone.Add(uids[i]);
        continue;
      }
      PH_CO_ASSIGN_OR_RETURN(const v1::MessageRow message, DecodeMessage(uids[i], *row));
      index.Put(uids[i], message);
    }
    index.Erase(gone);
  }
  co_return absl::OkStatus();
}

bool FolderModel::Has(const FolderState& state, unsigned parts) const {
  return (parts & kIndex) == 0 || !state.exists || state.index.has_value();
}

absl::Status FolderModel::Refuse(const FolderState& state) const {
  return state.exists && !state.head.destroyed ? absl::OkStatus() : absl::NotFoundError("no such folder");
}

// ---- committing

void FolderModel::Begin(const FolderState& state, FolderDraft& draft) const {
  draft.head = state.head;
  draft.keyword_limit = deps_.settings.keywords_per_folder;
  draft.log_entries = deps_.settings.change_log_entries;
}

absl::StatusOr<store::SealedDraft> FolderModel::Seal(const FolderState&, FolderDraft& draft) {
  store::SealedDraft sealed;
  sealed.proof = draft.SealLog();
  sealed.head = draft.head.Encode();
  std::vector<store::CommitRequest> cache;
  SplitCommits(cache_partition_, draft.TakeCacheRows(), cache);
  for (store::CommitRequest& request : cache) draft.Beside(std::move(request));
  return sealed;
}

void FolderModel::Apply(FolderState& state, FolderDraft& draft) {
  usage_->Changed(ref_.folder_id, AmountOf(draft.head) - AmountOf(state.head));
  state.head = draft.head;
  state.keywords.insert(state.keywords.end(), draft.new_keywords().begin(), draft.new_keywords().end());
  if (!state.index.has_value()) return;
  for (const auto& [uid, m] : draft.flags()) state.index->SetFlags(uid, m.modseq, m.flags, m.keyword_bits);
  if (!draft.expunged().empty()) state.index->Erase(draft.expunged());
  for (const auto& [uid, row] : draft.added()) state.index->Put(uid, row);
}

void FolderModel::Committed(const FolderDraft& draft) {
  if (draft.dropped_keywords() > 0) {
    deps_.metrics.keywords_dropped.Add(static_cast<double>(draft.dropped_keywords()));
    LOG_EVENT(kWarning, "keywords_dropped")
        .Str("folder_id", ref_.folder_id.value())
        .Int("keywords", static_cast<int64_t>(draft.dropped_keywords()))
        .Int("limit", deps_.settings.keywords_per_folder);
  }
  if (!draft.added().empty()) deps_.metrics.group_messages.Observe(static_cast<double>(draft.added().size()));
  deps_.hints.FolderChanged(ref_.account_id, ref_.folder_id, draft.head.highest_modseq);
}

// ---- other writers

void FolderModel::Replace(const FolderState* old, FolderState& fresh) {
  if (old == nullptr) {
    if (fresh.head.intents > 0) SetRecoveryNeeded();
    return;
  }
  if (old->exists && fresh.exists) usage_->Changed(ref_.folder_id, AmountOf(fresh.head) - AmountOf(old->head));
}

std::string FolderModel::LogPosition(const FolderState& state) const { return ChangeKey(state.head.highest_modseq); }

// Leaves the index to the next Load, which reads the rows that changed since.
void FolderModel::KeepIndex(FolderState& state) {
  if (!state.index.has_value()) return;
  old_index_ = OldIndex{*std::move(state.index), state.head.highest_modseq, state.head.uid_validity};
  state.index.reset();
}

absl::StatusOr<bool> FolderModel::Patch(FolderState& state, const std::string& row,
                                        const std::vector<store::Row>& log) {
  PH_ASSIGN_OR_RETURN(const Head head, DecodeHead(row));
  PH_ASSIGN_OR_RETURN(const std::optional<LoggedChanges> changes, ReadLog(state.head.highest_modseq, log));
  const bool follows = changes.has_value() && changes->last == head.highest_modseq;
  const bool index_is_old = state.index.has_value() && !(follows && changes->changed.empty());
  if (!follows || index_is_old || head.keywords != state.head.keywords) {
    KeepIndex(state);
    return false;
  }
  if (state.index.has_value()) state.index->Erase(changes->expunged);
  usage_->Changed(ref_.folder_id, AmountOf(head) - AmountOf(state.head));
  state.head = head;
  return true;
}

}  // namespace posthouse::mailbox
