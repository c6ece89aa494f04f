#include "services/queue/spool/spool.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/common/ids/ids.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/store/guarded_partition.h"
#include "services/common/store/read_past_damage.h"
#include "services/queue/spool/key_schema.h"
#include "services/queue/spool/spool_model.h"

namespace posthouse::queue {
namespace {

// Enough to share a sync among all changes that wait.
constexpr size_t kMaxBatchChanges = 200;
constexpr size_t kItemsAtOnce = 256;  // of a walk over all items

Task<void> DropBlob(store::Store& store, std::string name) {
  // The store outlives the spool; SweepBlobs() removes a blob that stays.
  log::LogIfError(co_await store.blobs().Delete(kStoreTenant, name), "deleting the blob of a settled message");
}

uint64_t NewOwner() {
  uint64_t owner = 0;
  for (const char byte : RandomBytes(sizeof(owner))) owner = (owner << 8) | static_cast<uint8_t>(byte);
  return owner | 1;  // 0 is the owner in rows of earlier versions
}

store::ChangeOptions OptionsOf(const Change& change) {
  // Recipients are counted once: an outcome must be known, however long that takes.
  return {.deadline = absl::InfiniteFuture(),
          .use_reserve = change.removal_only_ok || change.from_reserve,
          .lazy = change.lazy};
}

}  // namespace

absl::string_view PredecessorName(Predecessor predecessor) {
  static constexpr absl::string_view kNames[] = {"none", "released", "not_released"};
  return kNames[static_cast<size_t>(predecessor)];
}

Spool::Spool(store::Store& store, SpoolOptions options)
    : store_(store),
      options_(std::move(options)),
      partition_id_(QueuePartition(options_.shard)),
      last_head_(std::make_shared<LastHead>()),
      partition_(std::make_shared<store::GuardedPartition<SpoolModel>>(
          store::GuardedOptions{.store = &store,
                                .partition = partition_id_,
                                .head_key = HeadKey(),
                                .kind = store::GuardKind::kOwnedHead,
                                .executor = options_.executor,
                                .linger = options_.linger,
                                .max_batch = kMaxBatchChanges,
                                .metrics = options_.metrics},
          SpoolModel(store, partition_id_, NewOwner(), last_head_, [&store](std::vector<std::string> blobs) {
            for (std::string& blob : blobs) SpawnHere(DropBlob(store, std::move(blob)));
          }))) {}

// A head that cannot be read is made anew from what the items owe. Its sums begin again, and its
// epoch is later than that of any opening that was counted.
Task<absl::Status> Spool::MendHead() {
  store::ReadRequest request{.partition = partition_id_, .keys = {HeadKey()}};
  const absl::StatusOr<store::ReadResult> read = co_await store_.Read(std::move(request));
  absl::Status why = read.status();
  if (read.ok()) {
    v1::Head head;
    const std::optional<std::string>& row = read->values[0];
    if (!row.has_value() || (!row->empty() && !HasKnownSchema(*row))) co_return absl::OkStatus();
    why = DecodeValue(*row, &head);
  }
  if (!absl::IsDataLoss(why)) co_return why;
  LOG_EVENT(kError, "queue_head_damaged").Str("partition", partition_id_.id).Err(why);
  v1::Head head;
  head.set_epoch(static_cast<uint64_t>(absl::ToUnixMicros(options_.clock())));
  std::string after;
  for (bool more = true; more;) {
    PH_CO_ASSIGN_OR_RETURN(const ItemPage page, co_await ReadItems(/*done=*/false, after, kItemsAtOnce));
    for (const ItemRecord& record : page.items) {
      const auto& recipients = record.item.recipients();
      head.set_accepted(head.accepted() +
                        static_cast<uint64_t>(std::count_if(recipients.begin(), recipients.end(), IsWaiting)));
      head.set_items(head.items() + 1);
    }
    more = page.more;
    after = page.last_id;
  }
  store::CommitRequest commit{.partition = partition_id_};
  commit.mutations = {{HeadKey(), EncodeValue(head)}};
  commit.use_reserve = true;
  co_return co_await store_.Commit(std::move(commit));
}

Task<absl::StatusOr<std::unique_ptr<Spool>>> Spool::Open(store::Store& store, SpoolOptions options) {
  std::unique_ptr<Spool> spool(new Spool(store, std::move(options)));
  // The first commit takes the shard over. With the reserve: a full disk must not keep
  // messages from being delivered.
  PH_CO_RETURN_IF_ERROR(co_await spool->MendHead());
  Predecessor& predecessor = spool->predecessor_;
  const absl::Status taken = co_await spool->partition_->Change(
      [&predecessor](const v1::Head& head, const store::FetchedRows&, SpoolDraft&) -> absl::StatusOr<store::Verdict> {
        predecessor = head.epoch() == 0  ? Predecessor::kNone
                      : IsReleased(head) ? Predecessor::kReleased
                                         : Predecessor::kNotReleased;
        return store::Verdict::kCommit;
      },
      store::ChangeOptions{.use_reserve = true});
  if (!taken.ok()) {
    co_await spool->Close();
    co_return taken;
  }
  co_return spool;
}

std::unique_ptr<BodyWriter> Spool::NewBody() {
  return std::make_unique<BodyWriter>(store_, options_.clock(), memory_use_, options_.memory_body_budget,
                                      blobs_in_progress_);
}

// ---- changes

void Spool::Submit(Change change, absl::AnyInvocable<void(absl::Status)> done) {
  PH_CHECK(change.idempotency_key.empty());  // Put() answers duplicates
  const store::ChangeOptions options = OptionsOf(change);
  partition_->Submit(
      [change = std::move(change)](const v1::Head&, const store::FetchedRows& rows, SpoolDraft& draft) {
        std::optional<QueueId> duplicate_of;
        return DecideChange(change, rows, draft, &duplicate_of);
      },
      options, std::move(done));
}

Task<absl::Status> Spool::Commit(Change change) {
  co_return co_await AwaitCallback<absl::Status>(
      [&](absl::AnyInvocable<void(absl::Status)> done) { Submit(std::move(change), std::move(done)); });
}

Task<absl::StatusOr<PutResult>> Spool::Put(std::shared_ptr<ItemRecord> record, Body body, absl::Time wake) {
  record->item.set_queue_id(body.queue_id.Text());
  record->item.set_size_bytes(body.size_bytes);
  if (body.blob) record->item.set_blob(body.queue_id.Text());
  Change change;
  AddNewItem(record.get(), body.blob ? nullptr : body.memory.get(), wake, &change);
  std::optional<QueueId> duplicate_of;
  const store::ChangeOptions options = OptionsOf(change);
  const absl::Status status = co_await partition_->Change(
      [&](const v1::Head&, const store::FetchedRows& rows, SpoolDraft& draft) {
        duplicate_of.reset();
        return DecideChange(change, rows, draft, &duplicate_of);
      },
      options);
  // After any other error an item may name the blob: it is left to SweepBlobs(). The
  // sender's retry may meet that item.
  if (body.blob && (duplicate_of.has_value() || SurelyNotPut(status))) co_await DropBlob(store_, body.queue_id.Text());
  PH_CO_RETURN_IF_ERROR(status);
  co_return PutResult{duplicate_of.value_or(body.queue_id), duplicate_of.has_value()};
}

bool Spool::SurelyNotPut(const absl::Status& status) {
  // As guarded_partition.h says; any other error leaves a doubt.
  return absl::IsResourceExhausted(status) || absl::IsInvalidArgument(status) || absl::IsUnavailable(status);
}

absl::Status Spool::healthy() const { return partition_->healthy(); }

Ledger Spool::ledger() const {
  const v1::Head head = last_head_->Get();
  return {head.accepted(), head.delivered(), head.relayed(), head.failed(),
          head.expired(),  head.deleted(),   head.items()};
}

Task<absl::Status> Spool::Release(absl::Time deadline) {
  co_return co_await partition_->Change(
      [](const v1::Head&, const store::FetchedRows&, SpoolDraft& draft) -> absl::StatusOr<store::Verdict> {
        draft.release = true;
        return store::Verdict::kCommit;
      },
      store::ChangeOptions{.deadline = deadline, .use_reserve = true});
}

Task<void> Spool::Close() { co_await partition_->Close(absl::UnavailableError("the spool is closing")); }

// ---- reading

Task<absl::StatusOr<std::optional<ItemRecord>>> Spool::Load(QueueId queue_id) { return LoadRow(ItemKey(queue_id)); }
Task<absl::StatusOr<std::optional<ItemRecord>>> Spool::LoadDone(QueueId queue_id) { return LoadRow(DoneKey(queue_id)); }

Task<absl::StatusOr<std::optional<ItemRecord>>> Spool::LoadRow(std::string key) {
  store::ReadRequest request{.partition = partition_id_, .keys = {std::move(key)}};
  PH_CO_ASSIGN_OR_RETURN(store::ReadResult read, co_await store_.Read(std::move(request)));
  if (!read.values[0].has_value()) co_return std::optional<ItemRecord>();
  PH_CO_ASSIGN_OR_RETURN(v1::StoredItem stored, DecodeStored(*read.values[0]));
  std::vector<std::optional<std::string>> chunks;
  if (stored.recipient_rows() > 0) {
    store::ReadRequest more{.partition = partition_id_, .keys = ChunkKeys(stored)};
    PH_CO_ASSIGN_OR_RETURN(store::ReadResult rows, co_await store_.Read(std::move(more)));
    chunks = std::move(rows.values);
  }
  PH_CO_ASSIGN_OR_RETURN(ItemRecord record, ToItemRecord(std::move(stored), chunks));
  co_return std::optional<ItemRecord>(std::move(record));
}

Task<absl::StatusOr<absl::Cord>> Spool::ReadBody(QueueId queue_id, std::string blob, uint64_t offset, uint64_t length) {
  if (!blob.empty()) co_return co_await store_.blobs().Get(kStoreTenant, std::move(blob), offset, length);
  store::ReadRequest request{.partition = partition_id_, .keys = {BodyKey(queue_id)}};
  PH_CO_ASSIGN_OR_RETURN(store::ReadResult read, co_await store_.Read(std::move(request)));
  if (!read.values[0].has_value()) co_return absl::NotFoundError(absl::StrCat("no body of ", queue_id.Text()));
  PH_CO_ASSIGN_OR_RETURN(std::string body, DecodeBody(*std::move(read.values[0])));
  if (offset >= body.size()) co_return absl::Cord();
  co_return absl::Cord(absl::string_view(body).substr(offset, length));
}

Task<absl::StatusOr<DuePage>> Spool::ReadDue(std::string after, size_t limit) {
  store::ReadRequest request{
      .partition = partition_id_, .prefix = kDuePrefix, .after = std::move(after), .limit = limit};
  std::vector<LostDueKeys> lost;
  PH_CO_ASSIGN_OR_RETURN(
      store::ReadResult read,
      co_await store::ReadPastDamage(store_, std::move(request), [&lost](const store::LostKeys& keys) {
        lost.push_back({keys.after, keys.until.value_or(store::PrefixEnd(kDuePrefix))});
      }));
  DuePage page;
  page.more = read.more;
  for (store::Row& row : read.page) {
    page.last_key = row.key;
    const std::optional<DueKeyParts> parts = ParseDueKey(row.key);
    v1::DueRow value;
    if (!parts.has_value() || !DecodeValue(row.value, &value).ok()) {
      LOG_EVENT(kError, "bad_due_row").Str("key", row.key);
      continue;
    }
    page.entries.push_back({parts->due, parts->queue_id, Destination::FromString(value.destination()),
                            FromProto(value.wake()), value.size_bytes()});
  }
  if (!lost.empty()) PH_CO_RETURN_IF_ERROR(co_await AddDueItems(lost, page));
  co_return page;
}

// The items know when they are due.
Task<absl::Status> Spool::AddDueItems(const std::vector<LostDueKeys>& lost, DuePage& page) {
  const size_t found = page.entries.size();
  std::string after;
  for (bool more = true; more;) {
    PH_CO_ASSIGN_OR_RETURN(const ItemPage items, co_await ReadItems(/*done=*/false, after, kItemsAtOnce));
    for (const ItemRecord& record : items.items) {
      const std::string key = DueKey(record.due(), record.queue_id());
      const bool in_lost = std::any_of(
          lost.begin(), lost.end(), [&key](const LostDueKeys& keys) { return keys.after < key && key <= keys.until; });
      // Its wake time is not known here: the job looks at the item itself.
      if (!in_lost) continue;
      page.entries.push_back({record.due(), record.queue_id(), Destination(), record.due(), record.item.size_bytes()});
    }
    more = items.more;
    after = items.last_id;
  }
  std::sort(page.entries.begin(), page.entries.end(),
            [](const DueEntry& a, const DueEntry& b) { return DueKey(a.due, a.queue_id) < DueKey(b.due, b.queue_id); });
  if (page.last_key.empty()) page.last_key = lost.back().until;
  LOG_EVENT(kError, "due_index_damaged")
      .Str("after", lost.front().after)
      .Str("until", lost.back().until)
      .Int("items", static_cast<int64_t>(page.entries.size() - found));
  co_return absl::OkStatus();
}

Task<absl::StatusOr<ItemPage>> Spool::ReadItems(bool done, std::string after, size_t limit) {
  const std::string prefix = done ? kDonePrefix : kItemPrefix;
  store::ReadRequest request{.partition = partition_id_, .prefix = prefix, .limit = limit};
  if (!after.empty()) request.after = absl::StrCat(prefix, after);
  PH_CO_ASSIGN_OR_RETURN(store::ReadResult read,
                         co_await store::ReadPastDamage(store_, std::move(request), [](const store::LostKeys& keys) {
                           LOG_EVENT(kError, "item_rows_damaged")
                               .Str("after", keys.after)
                               .Str("until", keys.until.value_or(""))
                               .Err(keys.why);
                         }));
  ItemPage page;
  page.more = read.more;
  size_t bytes = 0;
  for (const store::Row& row : read.page) {
    if (bytes >= kItemPageBytes) {
      page.more = true;
      break;
    }
    bytes += row.value.size();
    page.last_id = row.key.substr(prefix.size());
    absl::StatusOr<v1::StoredItem> stored = DecodeStored(row.value);
    std::vector<std::optional<std::string>> chunks;
    if (stored.ok() && stored->recipient_rows() > 0) {
      store::ReadRequest more{.partition = partition_id_, .keys = ChunkKeys(*stored)};
      absl::StatusOr<store::ReadResult> rows = co_await store_.Read(std::move(more));
      if (absl::IsDataLoss(rows.status())) {
        LOG_EVENT(kError, "bad_item_row").Str("key", row.key).Err(rows.status());
        continue;
      }
      PH_CO_RETURN_IF_ERROR(rows.status());
      chunks = std::move(rows->values);
      for (const std::optional<std::string>& chunk : chunks) bytes += chunk.has_value() ? chunk->size() : 0;
    }
    absl::StatusOr<ItemRecord> record = stored.ok() ? ToItemRecord(*std::move(stored), chunks) : stored.status();
    if (record.ok()) {
      page.items.push_back(*std::move(record));
    } else {
      LOG_EVENT(kError, "bad_item_row").Str("key", row.key).Err(record.status());
    }
  }
  co_return page;
}

}  // namespace posthouse::queue
