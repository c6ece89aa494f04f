#include "services/queue/spool/item_record.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/common/status/status.h"
#include "services/queue/spool/key_schema.h"

namespace posthouse::queue {
namespace {

uint32_t ChunksFor(const v1::Item& item) {
  if (item.recipients_size() <= kRecipientsPerRow) return 0;
  return static_cast<uint32_t>((item.recipients_size() + kRecipientsPerRow - 1) / kRecipientsPerRow);
}

void SetChunk(const ItemRecord& record, uint32_t chunk, Change* change) {
  v1::RecipientChunk row;
  const int first = static_cast<int>(chunk) * kRecipientsPerRow;
  const int end = std::min(first + kRecipientsPerRow, record.item.recipients_size());
  for (int i = first; i < end; ++i) *row.add_recipients() = record.item.recipients(i);
  change->Set(RecipientsKey(record.queue_id(), chunk), EncodeValue(row));
}

// The i/ or D/ row, and the recipient rows that changed.
void SetItemRows(ItemRecord* record, std::string key, const std::vector<int>& changed, Change* change) {
  const uint32_t had = record->recipient_rows;
  record->recipient_rows = ChunksFor(record->item);
  v1::StoredItem stored;
  stored.set_idempotency_key(record->idempotency_key);
  stored.set_recipient_rows(record->recipient_rows);
  if (record->recipient_rows == 0) {
    *stored.mutable_item() = record->item;
    change->Set(std::move(key), EncodeValue(stored));
    return;
  }
  // The recipients have rows of their own: take them out while the item is copied.
  google::protobuf::RepeatedPtrField<v1::ItemRecipient> recipients;
  recipients.Swap(record->item.mutable_recipients());
  *stored.mutable_item() = record->item;
  recipients.Swap(record->item.mutable_recipients());
  change->Set(std::move(key), EncodeValue(stored));

  std::set<uint32_t> chunks;
  for (const int i : changed) chunks.insert(static_cast<uint32_t>(i / kRecipientsPerRow));
  // New rows of a list that has grown.
  for (uint32_t chunk = had; chunk < record->recipient_rows; ++chunk) chunks.insert(chunk);
  for (const uint32_t chunk : chunks) SetChunk(*record, chunk, change);
}

}  // namespace

absl::Time ItemRecord::due() const { return DueTime(FromProto(item.next_attempt())); }

LedgerDelta& LedgerDelta::operator+=(const LedgerDelta& other) {
  accepted += other.accepted;
  delivered += other.delivered;
  relayed += other.relayed;
  failed += other.failed;
  expired += other.expired;
  deleted += other.deleted;
  items += other.items;
  return *this;
}

void LedgerDelta::CountSettled(v1::RecipientState state) {
  switch (state) {
    case v1::RECIPIENT_STATE_DELIVERED:
      ++delivered;
      break;
    case v1::RECIPIENT_STATE_RELAYED:
      ++relayed;
      break;
    case v1::RECIPIENT_STATE_FAILED:
      ++failed;
      break;
    case v1::RECIPIENT_STATE_EXPIRED:
      ++expired;
      break;
    case v1::RECIPIENT_STATE_DELETED:
      ++deleted;
      break;
    default:
      break;  // a state of a newer version: settled, and counted nowhere
  }
}

bool IsWaiting(const v1::ItemRecipient& recipient) {
  return recipient.state() == v1::RECIPIENT_STATE_QUEUED || recipient.state() == v1::RECIPIENT_STATE_UNSPECIFIED;
}

bool IsSettled(const v1::ItemRecipient& recipient) { return !IsWaiting(recipient); }

bool AllSettled(const v1::Item& item) {
  return std::all_of(item.recipients().begin(), item.recipients().end(), IsSettled);
}

Destination DestinationOf(const v1::ItemRecipient& recipient) {
  const auto& resolved = recipient.recipient().resolved();
  if (resolved.has_local()) return Destination::Local(Home(resolved.local().account().home()));
  return resolved.remote().domain().empty() ? Destination() : Destination::Remote(resolved.remote().domain());
}

Destination DestinationOf(const v1::Item& item) {
  Destination only;
  for (const auto& recipient : item.recipients()) {
    if (!IsWaiting(recipient)) continue;
    Destination destination = DestinationOf(recipient);
    if (!destination.resolved() || (only.resolved() && destination != only)) return Destination();
    only = std::move(destination);
  }
  return only;
}

void RefreshNextAttempt(v1::Item* item) {
  absl::Time first = absl::InfiniteFuture();
  for (const auto& recipient : item->recipients()) {
    if (IsWaiting(recipient)) first = std::min(first, FromProto(recipient.next_attempt()));
  }
  if (first != absl::InfiniteFuture()) ToProto(first, item->mutable_next_attempt());
}

absl::Time WakeTime(const v1::Item& item, absl::Duration delay_warning_after) {
  absl::Time wake = FromProto(item.expires());
  if (delay_warning_after <= absl::ZeroDuration()) return wake;
  for (const auto& recipient : item.recipients()) {
    if (IsWaiting(recipient) && !recipient.delay_warned() && Wants(recipient.recipient(), v1::NOTIFY_DELAY)) {
      return std::min(wake, FromProto(item.accepted()) + delay_warning_after);
    }
  }
  return wake;
}

bool Wants(const v1::EnvelopeRecipient& recipient, v1::Notify what) {
  if (recipient.notify_size() == 0) return what == v1::NOTIFY_FAILURE || what == v1::NOTIFY_DELAY;
  return std::any_of(recipient.notify().begin(), recipient.notify().end(), [what](int n) { return n == what; });
}

std::string DueValueOf(const ItemRecord& record, absl::Time wake) {
  v1::DueRow row;
  row.set_destination(DestinationOf(record.item).ToString());
  ToProto(wake, row.mutable_wake());
  row.set_size_bytes(record.item.size_bytes());
  return EncodeValue(row);
}

void AddNewItem(ItemRecord* record, const std::string* body, absl::Time wake, Change* change) {
  SetItemRows(record, ItemKey(record->queue_id()), {}, change);
  change->Set(DueKey(record->due(), record->queue_id()), DueValueOf(*record, wake));
  if (body != nullptr) change->Set(BodyKey(record->queue_id()), EncodeBody(*body));
  if (!record->item.blob().empty()) change->needs_blobs.push_back(record->item.blob());
  if (!record->idempotency_key.empty()) {
    v1::IdempotencyRow row;
    row.set_queue_id(record->item.queue_id());
    change->Set(IdempotencyRowKey(record->idempotency_key), EncodeValue(row));
    change->idempotency_key = record->idempotency_key;
  }
  change->ledger.accepted += record->item.recipients_size();
  change->ledger.items += 1;
}

void AddUpdate(ItemRecord* record, absl::Time old_due, absl::Time wake, const std::vector<int>& changed,
               Change* change) {
  SetItemRows(record, ItemKey(record->queue_id()), changed, change);
  if (record->due() != old_due) change->Remove(DueKey(old_due, record->queue_id()));
  change->Set(DueKey(record->due(), record->queue_id()), DueValueOf(*record, wake));
}

void AddSettle(ItemRecord* record, absl::Time old_due, absl::Time now, const std::vector<int>& changed,
               Change* change) {
  ToProto(now, record->item.mutable_settled());
  change->Remove(ItemKey(record->queue_id()));
  change->Remove(DueKey(old_due, record->queue_id()));
  if (record->item.blob().empty()) {
    change->Remove(BodyKey(record->queue_id()));
  } else {
    change->drop_blobs.push_back(record->item.blob());
  }
  SetItemRows(record, DoneKey(record->queue_id()), changed, change);
  change->ledger.items -= 1;
}

absl::StatusOr<v1::StoredItem> DecodeStored(absl::string_view value) {
  v1::StoredItem stored;
  PH_RETURN_IF_ERROR(DecodeValue(value, &stored));
  return stored;
}

std::vector<std::string> ChunkKeys(const v1::StoredItem& stored) {
  const QueueId id = QueueId::FromText(stored.item().queue_id()).value_or(QueueId());
  std::vector<std::string> keys;
  for (uint32_t n = 0; n < stored.recipient_rows(); ++n) keys.push_back(RecipientsKey(id, n));
  return keys;
}

absl::StatusOr<ItemRecord> ToItemRecord(v1::StoredItem stored, const std::vector<std::optional<std::string>>& chunks) {
  ItemRecord record;
  record.item = std::move(*stored.mutable_item());
  if (record.queue_id().empty()) return absl::DataLossError("the row of an item has no queue id");
  record.idempotency_key = std::move(*stored.mutable_idempotency_key());
  record.recipient_rows = stored.recipient_rows();
  for (const std::optional<std::string>& chunk : chunks) {
    if (!chunk.has_value())
      return absl::DataLossError(absl::StrCat("recipients of ", record.item.queue_id(), " are missing"));
    v1::RecipientChunk row;
    PH_RETURN_IF_ERROR(DecodeValue(*chunk, &row));
    for (auto& recipient : *row.mutable_recipients()) *record.item.add_recipients() = std::move(recipient);
  }
  return record;
}

}  // namespace posthouse::queue
