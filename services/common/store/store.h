// Store: where all durable state lives. One small interface, several engines
// (docs/architecture.md, "Storage"): RocksDB (rocks_store.h), an in-memory fake
// (memory_store.h), later RADOS. One conformance suite proves each of them.
//
// The unit of atomicity is the Partition: a folder, a queue shard, an account.
// A Commit is all or nothing and durable when it returns OK; no commit spans two
// partitions. Reads are linearizable: a Read that starts after a Commit returned
// sees it.
//
// Errors, for every call:
//   kAborted            a precondition does not hold ("conflict"): re-read, decide again
//   kDeadlineExceeded   unknown: it may have happened; re-read before repeating
//   kUnavailable        the engine cannot be reached or is closing: retry later
//   kResourceExhausted  full: deletes, and commits with use_reserve, still work
//   kInvalidArgument    too large: over Limits(), or a contract below is broken
//   kDataLoss           stored bytes fail their check: alert, keep the evidence
//
// Threads: any. Nothing blocks the caller: results arrive by co_await and resume
// on the caller's executor.
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
#include "services/common/async/task.h"

namespace posthouse::store {

// `tenant` separates tenants physically where the engine can (RADOS namespaces).
// `id` is printable, without NUL: "mb/0000018f-...", "q/0". Compared as bytes.
struct Partition {
  std::string tenant;
  std::string id;
  friend bool operator==(const Partition&, const Partition&) = default;
};

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
};

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

struct CommitRequest {
  Partition partition;
  std::vector<Precondition> preconditions;
  std::vector<Mutation> mutations;  // at most one per key
  // Taken by a full store too, from the space it keeps free: for what makes room (an
  // expunge writes a log row and a head), and for what a service must write to start.
  bool use_reserve = false;
};

// The contract of every engine; commits and reads over it are kInvalidArgument.
inline constexpr size_t kMaxKeyBytes = 1024;
inline constexpr size_t kMaxRowBytes = 64 * 1024;  // key and value
inline constexpr size_t kMaxMutations = 1000;
inline constexpr size_t kMaxCommitBytes = 4 * 1024 * 1024;
inline constexpr size_t kMaxPageRows = 1024;
inline constexpr size_t kMaxReadKeys = 1024;
inline constexpr size_t kMaxBlobPieceBytes = 1024 * 1024;

struct EngineLimits {
  uint64_t max_partition_rows = 0;  // 0: no limit. The layers above spill to segments.
};

struct CapacityInfo {
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;
  bool full = false;  // commits that add are refused
};

// Immutable message bytes, named by the caller (16 random bytes in hex is the
// custom). A blob is written before the row that names it, and is durable at the
// latest when a later Commit on the same Store is OK: streaming a body costs no
// fsync of its own. A blob that no row names is garbage, found by List.
class BlobWriter {
 public:
  virtual ~BlobWriter() = default;  // without Finish(): the blob never existed
  // Adds bytes at the end. Await one call before the next.
  virtual Task<absl::Status> Append(absl::Cord bytes) = 0;
  virtual Task<absl::Status> Finish() = 0;
};

struct BlobInfo {
  std::string name;
  uint64_t size_bytes = 0;
};

class BlobStore {
 public:
  virtual ~BlobStore() = default;
  // Begins a blob; kAlreadyExists from Finish() when the name is taken.
  virtual std::unique_ptr<BlobWriter> Create(const std::string& tenant, const std::string& name) = 0;
  // Bytes [offset, offset+length) as far as the blob goes. kNotFound. `length` at
  // most kMaxBlobPieceBytes * 16.
  virtual Task<absl::StatusOr<absl::Cord>> Get(std::string tenant, std::string name, uint64_t offset,
                                               uint64_t length) = 0;
  virtual Task<absl::StatusOr<uint64_t>> Size(std::string tenant, std::string name) = 0;
  // Removing what is not there is OK.
  virtual Task<absl::Status> Delete(std::string tenant, std::string name) = 0;
  // Names greater than `after`, ascending, at most `limit` (<= kMaxPageRows).
  virtual Task<absl::StatusOr<std::vector<BlobInfo>>> List(std::string tenant, std::string after, size_t limit) = 0;

  // Create, Append and Finish in one.
  Task<absl::Status> Put(std::string tenant, std::string name, absl::Cord bytes);
};

class Store {
 public:
  virtual ~Store() = default;
  virtual Task<absl::StatusOr<ReadResult>> Read(ReadRequest request) = 0;
  virtual Task<absl::Status> Commit(CommitRequest request) = 0;
  // Commits several partitions' requests with one wait; each is atomic on its own
  // and has its own result. Engines with group commit sync once for all.
  virtual Task<std::vector<absl::Status>> CommitAll(std::vector<CommitRequest> requests);
  // Removes a partition with all its rows. Not atomic against concurrent commits.
  virtual Task<absl::Status> Drop(Partition partition) = 0;
  // Partitions of `tenant` whose id starts with `prefix` and is greater than `after`.
  virtual Task<absl::StatusOr<std::vector<Partition>>> List(std::string tenant, std::string prefix, std::string after,
                                                            size_t limit) = 0;
  virtual Task<absl::StatusOr<CapacityInfo>> Capacity() = 0;
  virtual EngineLimits Limits() const = 0;
  virtual BlobStore& blobs() = 0;
};

// kInvalidArgument with the reason when a request breaks the contract above.
absl::Status Validate(const ReadRequest& request);
absl::Status Validate(const CommitRequest& request);
absl::Status Validate(const Partition& partition);
// Blob names and tenants are printable; a name is not empty and at most 255 bytes.
absl::Status ValidateBlobName(absl::string_view tenant, absl::string_view name);

// The first key greater than every key that starts with `prefix`; empty: none.
std::string PrefixEnd(absl::string_view prefix);

}  // namespace posthouse::store
