// ItemRecord: one queued message in memory, and what its rows are (key_schema.h).
//
// Pure functions, no I/O. The queue works on v1.Item itself: rows and answers to operators
// are this proto, and a second struct would only be copied both ways.
// Threads: the owner of an ItemRecord guards it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "posthouse/queue/v1/queue.pb.h"
#include "posthouse/queue/v1/store.pb.h"
#include "services/common/store/store.h"
#include "services/common/time/proto_time.h"
#include "services/queue/spool/destination.h"
#include "services/queue/spool/queue_id.h"

namespace posthouse::queue {

struct ItemRecord {
  v1::Item item;  // with all recipients; envelope.recipients is empty
  std::string idempotency_key;
  uint32_t recipient_rows = 0;  // r/ rows that exist in the store
  // When the recipients were resolved, by the monotonic clock. Not stored: InfinitePast after a load.
  absl::Time resolved = absl::InfinitePast();

  QueueId queue_id() const { return QueueId::FromText(item.queue_id()).value_or(QueueId()); }
  absl::Time due() const;  // of its row t/
};

// What a change adds to the ledger, in recipients (`items`: in messages).
struct LedgerDelta {
  int64_t accepted = 0, delivered = 0, relayed = 0, failed = 0, expired = 0, deleted = 0, items = 0;
  LedgerDelta& operator+=(const LedgerDelta& other);
  // Moves one recipient out of the queue into `state`.
  void CountSettled(v1::RecipientState state);
};

// Mutations that are committed together or not at all.
struct Change {
  std::vector<store::Mutation> mutations;
  LedgerDelta ledger;
  std::string idempotency_key;  // must be new; "" = not asked
  // Removing rows is enough when the store has no room for new ones: only the
  // done mark and the ledger's exactness are lost then.
  bool removal_only_ok = false;
  // A full store writes all of the change from the space that it keeps free. For outcomes, which
  // write rows anew: ask the store's capacity before (rewrites_fit).
  bool from_reserve = false;
  // May wait a few milliseconds for company: a crash only repeats what is idempotent.
  bool lazy = false;
  std::vector<std::string> needs_blobs;  // finished bodies that become durable with the change
  std::vector<std::string> drop_blobs;   // garbage once the change is committed

  void Set(std::string key, std::string value) { mutations.push_back({std::move(key), std::move(value)}); }
  void Remove(std::string key) { mutations.push_back({std::move(key), std::nullopt}); }
};

// ---- what an item still owes

// Whether a recipient waits for an attempt, or has its final state; where it is to be delivered.
bool IsWaiting(const v1::ItemRecipient& recipient);
bool IsSettled(const v1::ItemRecipient& recipient);
bool AllSettled(const v1::Item& item);
Destination DestinationOf(const v1::ItemRecipient& recipient);
// The one destination of all waiting recipients; unresolved when there are several, or
// one of them is not resolved.
Destination DestinationOf(const v1::Item& item);
// Sets the item's next_attempt to the earliest of its waiting recipients'. Without any it
// stays as it is.
void RefreshNextAttempt(v1::Item* item);
// When a job must look at the item even if its destination is blocked: for a delay warning
// (`delay_warning_after`; zero: none), or since it expires.
absl::Time WakeTime(const v1::Item& item, absl::Duration delay_warning_after);
// Whether the sender asked for reports of `what` (RFC 3461 §4.1; not given: failure and delay).
bool Wants(const v1::EnvelopeRecipient& recipient, v1::Notify what);

// ---- changes; `record` has its final content, `wake` is its WakeTime()

// A new item with its body row (`body` null: the body is a blob).
void AddNewItem(ItemRecord* record, const std::string* body, absl::Time wake, Change* change);
// The item after an attempt; `old_due` names the due row that the store has. `changed` are
// the indexes of the recipients that differ from the stored ones.
void AddUpdate(ItemRecord* record, absl::Time old_due, absl::Time wake, const std::vector<int>& changed,
               Change* change);
// An item whose recipients are all settled: a done mark takes its place.
void AddSettle(ItemRecord* record, absl::Time old_due, absl::Time now, const std::vector<int>& changed, Change* change);

// The value of a record's row t/.
std::string DueValueOf(const ItemRecord& record, absl::Time wake);

// ---- reading

// kDataLoss: the row does not parse.
absl::StatusOr<v1::StoredItem> DecodeStored(absl::string_view value);
// Keys of the chunks that `stored` needs.
std::vector<std::string> ChunkKeys(const v1::StoredItem& stored);
// kDataLoss when a chunk is missing.
absl::StatusOr<ItemRecord> ToItemRecord(v1::StoredItem stored, const std::vector<std::optional<std::string>>& chunks);

}  // namespace posthouse::queue
