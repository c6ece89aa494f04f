// Store: the interface to all durable state, and its contract.
//
// Engines (docs/architecture.md, "Storage"): RocksDB (rocks/rocks_store.h) and, for
// tests, maps in memory (testing/memory_store.h). One conformance suite tests each.
// open.h opens the engine that the configuration asks for.
//
// The unit of atomicity is the Partition: a folder, a queue shard, an account. A
// commit is all or nothing, and durable when it returns OK. No commit spans two
// partitions. Reads are linearizable: a Read that starts after a Commit returned
// sees that commit.
//
// Errors, for every call:
//   kAborted            a precondition does not hold ("conflict"): read again, decide again
//   kDeadlineExceeded   Commit: the outcome is unknown, see below; else: try again
//   kUnavailable        the engine cannot be reached or is closing: try again later
//   kResourceExhausted  full: removals, and commits with use_reserve, still work
//   kInvalidArgument    too large for the contract or for Limits(), or malformed
//   kDataLoss           stored bytes fail their check: alert, keep the evidence
//
// Unknown outcomes. A commit that answered kDeadlineExceeded has happened, will
// happen later, or never happens. It happens whole, and only at an instant at which
// all its preconditions hold. So the same commit may be sent again; but "it did not
// happen" is certain only once a row that it compares has changed for good. Code
// above the engines leaves that proof to GuardedPartition.
//
// Creation. A commit with a precondition on a value never creates its partition: on a
// partition without rows it answers kAborted. So nothing that was decided before a
// Drop, and arrives late, brings the partition back.
//
// Threads: any. Nothing blocks the caller: results arrive by co_await and resume
// on the caller's executor. Deadlines are wall-clock times.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/store/format.h"

namespace posthouse::store {

// `tenant` separates tenants physically where the engine can (RADOS namespaces).
// `id` is printable, without NUL: "mb/0000018f-...", "q/0". Ids compare as bytes.
struct Partition {
  std::string tenant;
  std::string id;
  friend bool operator==(const Partition&, const Partition&) = default;
};

// A row of a partition.
struct Row {
  std::string key;
  std::string value;
  friend bool operator==(const Row&, const Row&) = default;
};

// Point keys and one ascending page, read at one instant.
struct ReadRequest {
  Partition partition;
  std::vector<std::string> keys;
  // A page of rows whose key starts with `prefix` and is greater than `after`
  // (whole keys; empty: from the start). No page when `limit` is 0.
  std::string prefix;
  std::string after;
  size_t limit = 0;
  absl::Time deadline = absl::InfiniteFuture();
};

// Rows of one instant.
struct ReadResult {
  std::vector<std::optional<std::string>> values;  // one for each of `keys`, in order
  std::vector<Row> page;                           // ascending by key
  bool more = false;                               // rows beyond the page exist
};

// Holds when the row's value is `value`, or, without one, when there is no row.
struct Precondition {
  std::string key;
  std::optional<std::string> value;
};

// Sets the row, or, without a value, removes it (removing nothing is fine).
struct Mutation {
  std::string key;
  std::optional<std::string> value;
};

// A blob's full name.
struct BlobName {
  std::string tenant;
  std::string name;
  friend bool operator==(const BlobName&, const BlobName&) = default;
};

// A change of one partition: all of it or nothing.
struct CommitRequest {
  Partition partition;
  std::vector<Precondition> preconditions;
  std::vector<Mutation> mutations;  // at most one per key
  // A full store takes such a commit too, from the space that it keeps free: for
  // commits that make room (an expunge writes a log row and a head), and for rows
  // that a service must write to start.
  bool use_reserve = false;
  // Finished blobs that are durable when this commit is OK: those that `mutations`
  // name for the first time. Their Finish() returned OK before this call.
  std::vector<BlobName> needs_blobs;
  // When it passes first, the answer is kDeadlineExceeded, and the commit goes on.
  absl::Time deadline = absl::InfiniteFuture();
};

// Limits of every engine. Requests above them are kInvalidArgument.
inline constexpr size_t kMaxKeyBytes = 1024;
inline constexpr size_t kMaxRowBytes = 64 * 1024;  // key and value
inline constexpr size_t kMaxMutations = 1000;
inline constexpr size_t kMaxCommitBytes = 4 * 1024 * 1024;
inline constexpr size_t kMaxPageRows = 1024;
inline constexpr size_t kMaxReadKeys = 1024;
inline constexpr size_t kMaxBlobPieceBytes = 1024 * 1024;

// What engines differ in. The layers above adapt by these values, never by an engine's name.
struct EngineLimits {
  // A commit that would leave more rows in its partition is kInvalidArgument. 0: no limit.
  uint64_t max_partition_rows = 0;
  // What a commit costs: a share of one sync with all that are in flight, or a round
  // trip of its own, so that callers gain by putting more into one commit.
  enum class Commit { kShared, kRoundTrip };
  Commit commit = Commit::kShared;
  // A message body of at most this many bytes is cheaper in a row than as a blob.
  size_t max_row_body_bytes = 16 * 1024;
};

// The space of the store and of the volume below it.
struct CapacityInfo {
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;
  bool full = false;  // commits that add are refused
  // More than half of the space that a full store keeps free is left: room for commits with use_reserve that
  // remove nothing, and only write rows anew.
  bool rewrites_fit = true;
};

// Immutable message bytes, named by the caller (16 random bytes in hex, by custom).
// A writer finishes a blob before it commits the row that names the blob, and lists
// the blob in that commit's `needs_blobs`: so streaming a body costs no sync of its
// own. A crash may remove a finished blob that no such commit followed. A blob that
// no row names is garbage, which List finds.
class BlobWriter {
 public:
  virtual ~BlobWriter() = default;  // a blob without Finish() never existed
  // Adds bytes at the end. Await one call before the next.
  virtual Task<absl::Status> Append(absl::Cord bytes) = 0;
  // OK: the blob can be read. kAlreadyExists: the name is taken. Call it once.
  virtual Task<absl::Status> Finish() = 0;
};

// A finished blob.
struct BlobInfo {
  std::string name;
  uint64_t size_bytes = 0;
};

// A page of the blobs of a tenant.
struct BlobPage {
  std::vector<BlobInfo> blobs;  // in the engine's order, which need not be that of the names
  std::string next;             // cursor of the next page; empty: this is the last one
};

// Bodies of messages: written once, read in ranges, deleted. Threads: any.
class BlobStore {
 public:
  virtual ~BlobStore() = default;
  // Begins a blob. Names: see ValidateBlobName().
  virtual std::unique_ptr<BlobWriter> Create(const std::string& tenant, const std::string& name) = 0;
  // Bytes [offset, offset+length), fewer where the blob ends. kNotFound. `length` is
  // at most kMaxBlobPieceBytes * 16.
  virtual Task<absl::StatusOr<absl::Cord>> Get(std::string tenant, std::string name, uint64_t offset,
                                               uint64_t length) = 0;
  virtual Task<absl::StatusOr<uint64_t>> Size(std::string tenant, std::string name) = 0;
  // Removing an absent blob is OK.
  virtual Task<absl::Status> Delete(std::string tenant, std::string name) = 0;
  // A page of about `limit` blobs (1 to kMaxPageRows), maybe of none, from `cursor`:
  // empty, or `next` of the page before. The cursor's bytes are the engine's own. A
  // walk to the end gives every blob once that is there from its start to its end.
  virtual Task<absl::StatusOr<BlobPage>> List(std::string tenant, std::string cursor, size_t limit) = 0;

  // Create, Append and Finish in one.
  Task<absl::Status> Put(std::string tenant, std::string name, absl::Cord bytes);
};

// The files of a store as of one instant, for a backup.
struct StoreImage {
  struct File {
    std::string name;
    uint64_t size_bytes = 0;
    // The file never changes: within the lineage, the same name, size and time of modification are the same bytes.
    bool immutable = false;
  };
  std::vector<File> files;
  std::string lineage;  // what the numbers in their names belong to
  uint64_t incarnation = 0;
};

class Store {
 public:
  virtual ~Store() = default;
  virtual Task<absl::StatusOr<ReadResult>> Read(ReadRequest request) = 0;
  virtual Task<absl::Status> Commit(CommitRequest request) = 0;
  // Commits several partitions' requests with one wait; each is atomic on its own
  // and has its own result. Engines with group commit sync once for all. The earliest
  // deadline among the requests holds for all of them.
  virtual Task<std::vector<absl::Status>> CommitAll(std::vector<CommitRequest> requests);
  // Removes a partition with all its rows. Concurrent commits may come before or after.
  virtual Task<absl::Status> Drop(Partition partition) = 0;
  // Partitions of `tenant` whose id starts with `prefix` and is greater than `after`.
  virtual Task<absl::StatusOr<std::vector<Partition>>> List(std::string tenant, std::string prefix, std::string after,
                                                            size_t limit) = 0;
  virtual Task<absl::StatusOr<CapacityInfo>> Capacity() = 0;
  // OK, or why commits fail now, for a service's readiness. Answers at once. A full
  // store is healthy.
  virtual absl::Status Health() = 0;
  virtual EngineLimits Limits() const = 0;
  // How often acknowledged commits were lost: raised when the store is opened with a loss
  // that the operator accepted, and after a restore. Numbers that must never be given out
  // twice (UIDs, revisions) jump when a row shows a smaller one. Does not change while open.
  virtual uint64_t Incarnation() const { return 0; }
  // The format in which the store is written (format.h). Rises by RaiseFormat() only.
  virtual int Format() const { return kInitialFormat; }
  // Makes `format` that of the store, durably; from then on releases that do not know it refuse the store. A lower or
  // equal one changes nothing. kInvalidArgument: this binary does not know it. kUnimplemented: the engine has one
  // format.
  virtual Task<absl::Status> RaiseFormat(int format);
  // Puts an image of the store into `directory`, which is on the store's file system and
  // is created; it must not exist. All commits that were OK before the call are in it, and it opens as a
  // store does after a crash. It costs little space: unchanging files are hard links, and
  // they keep their space until the caller removes the directory. Blocks, for seconds. kUnavailable: not now;
  // kUnimplemented: the engine has no files of its own.
  virtual absl::StatusOr<StoreImage> TakeImage(const std::string& directory);
  virtual BlobStore& blobs() = 0;
};

// kInvalidArgument with the reason when a request breaks the limits above.
absl::Status Validate(const ReadRequest& request);
absl::Status Validate(const CommitRequest& request);
absl::Status Validate(const Partition& partition);
// Blob names and tenants are printable; a name is not empty and at most 255 bytes.
absl::Status ValidateBlobName(absl::string_view tenant, absl::string_view name);

// The `limit` of a List: 1 to kMaxPageRows.
absl::Status ValidateListLimit(size_t limit);

// The first key greater than every key that starts with `prefix`; empty: none.
std::string PrefixEnd(absl::string_view prefix);

}  // namespace posthouse::store
