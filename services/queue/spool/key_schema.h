// Rows of one queue shard: partition {tenant "", id "q/<shard>"}. No other file builds or
// splits a key. Integers are big-endian, so byte order is numeric order; values are
// protobufs behind a one-byte schema tag (0x01).
//
//   H                    v1.Head: the owner of the shard, whether it has handed the shard
//                        back, and the ledger. Every commit has its old value as
//                        precondition and gives it a new one.
//   i/<qid>              v1.StoredItem: a message with a recipient that is still owed.
//   r/<qid>/<n:be16>     v1.RecipientChunk: recipients 8n .. 8n+7 of an item that
//                        has more than 8; also belongs to its done mark.
//   b/<qid>              0x01 and the message, when it is at most
//                        EngineLimits::max_row_body_bytes (RocksDB: 16 KiB). A larger
//                        one is the blob <qid> (tenant "") of the same store.
//   t/<due:be64>/<qid>   v1.DueRow: due index; `due` is Item.next_attempt in
//                        microseconds since 1970.
//   D/<qid>              v1.StoredItem: done mark, kept for `done_retention`.
//   k/<key>              v1.IdempotencyRow: Enqueue's idempotency key; removed
//                        together with the done mark of its item.
//
// Which rows may exist together for one <qid>, and what is done with each combination.
// Commits are atomic, so only the first three arise in normal work. The others need a lost
// disk page or a defect; apart from "body lost" they lose no message and no delivery:
//
//   i  t  b/blob  D  |  means              |  what happens
//   -----------------+---------------------+----------------------------------------
//   x  x   x      -  |  queued             |  delivered when due
//   -  -   -      x  |  done               |  removed after retention, with k and r
//   -  -  blob    -  |  crash before the   |  SweepBlobs() deletes the blob, unless
//                    |  commit of Put, or  |  this process is writing it
//                    |  settled            |
//   x  -   x      -  |  due row lost       |  Audit() adds t at Item.next_attempt
//   x  x'  x      -  |  t at another time  |  the job of t' adds t at
//                    |                     |  Item.next_attempt and removes t'
//   -  x   *      *  |  item lost          |  t removed, counted and logged
//   x  x   -      -  |  body lost          |  recipients fail (5.3.0) with a DSN;
//                    |                     |  kDataLoss is logged
//   -  -   b      -  |  settled            |  b removed by Audit()
//   x  *   *      x  |  settle and item    |  D wins: item removed by Audit()
//   k without i, D   |  purged             |  k removed by Audit()
//   r without i, D   |  purged             |  r removed by Audit()
//
// A row that cannot be read, alone or with its block, costs itself: a scan goes on behind it. What
// it says of other rows is taken for "exists", so nothing is removed because of it. Where t rows cannot
// be read, the items say what is due. H is made anew from the i rows; its sums begin again.
//
// Ledger: accepted = delivered + relayed + failed + expired + deleted + queued,
// per recipient, where `queued` is what the i rows still owe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/common/store/store.h"
#include "services/queue/spool/queue_id.h"

namespace google::protobuf {
class MessageLite;
}

namespace posthouse::queue {

inline constexpr int kRecipientsPerRow = 8;
// Tenant of the queue's partition and blobs: a shard serves all tenants.
inline constexpr char kStoreTenant[] = "";

// The partition of a shard.
store::Partition QueuePartition(absl::string_view shard);

// The keys, in the order of the table above.
std::string HeadKey();
std::string ItemKey(const QueueId& queue_id);
std::string RecipientsKey(const QueueId& queue_id, uint32_t chunk);
std::string BodyKey(const QueueId& queue_id);
std::string DueKey(absl::Time due, const QueueId& queue_id);
std::string DoneKey(const QueueId& queue_id);
std::string IdempotencyRowKey(absl::string_view key);

inline constexpr char kItemPrefix[] = "i/";
inline constexpr char kRecipientsPrefix[] = "r/";
inline constexpr char kBodyPrefix[] = "b/";
inline constexpr char kDuePrefix[] = "t/";
inline constexpr char kDonePrefix[] = "D/";
inline constexpr char kIdempotencyPrefix[] = "k/";

// What a key of the due index says.
struct DueKeyParts {
  absl::Time due;
  QueueId queue_id;
};
std::optional<DueKeyParts> ParseDueKey(absl::string_view key);
// The id in an i/, b/, D/ or r/ key; nullopt: another key.
std::optional<QueueId> QueueIdOfKey(absl::string_view key);

// `time` as the due index stores it: whole microseconds, never before 1970.
absl::Time DueTime(absl::Time time);

// A row: the tag of the schema, then the proto.
std::string EncodeValue(const google::protobuf::MessageLite& message);
// False: another version wrote the row, or its first byte is damaged.
bool HasKnownSchema(absl::string_view value);
// kDataLoss when the tag or the message is not what this binary knows.
absl::Status DecodeValue(absl::string_view value, google::protobuf::MessageLite* message);
std::string EncodeBody(absl::string_view body);
absl::StatusOr<std::string> DecodeBody(std::string value);

}  // namespace posthouse::queue
