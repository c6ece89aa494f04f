// CommitOp: one request on its way through the Committer, with its rows encoded as
// RocksDB holds them. The caller's thread builds it, so that the committer only
// copies bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/strings/cord.h"

namespace posthouse::store {

struct CommitWait;

// A precondition: the row `key` has the value `expected` (nothing: it is absent).
struct GuardedRow {
  std::string key;
  std::optional<std::string> expected;
  std::optional<std::string> seen;  // as read when batch `CommitOp::seen_batch` was the newest
};

// A mutation of a row, with its key in the database.
struct EncodedRow {
  std::string key;
  std::optional<std::string> value;  // nothing: remove
};

// A mutation in the column family of bodies.
struct BlobRow {
  std::string key;
  std::optional<absl::Cord> value;  // nothing: remove
};

struct CommitOp {
  std::vector<GuardedRow> guards;
  uint64_t seen_batch = 0;
  std::vector<EncodedRow> rows;
  std::vector<BlobRow> blob_rows;
  // Removes all rows in [drop_begin, drop_end). Such an op is a batch of its own.
  std::string drop_begin;
  std::string drop_end;
  // The op completes only when it is on the disk. Blob pieces need not: see committer.h.
  bool sync = true;
  // Called on the committer's thread when the rows are readable, before completion.
  absl::AnyInvocable<void()> on_written;

  // The rest is the committer's.
  CommitWait* wait = nullptr;  // null: no caller waits ("lazy")
  absl::Status* result = nullptr;
  size_t bytes = 0;
  int64_t submitted_nanos = 0;
  bool abandoned = false;  // its caller got an answer while the disk did not answer
  absl::Status status;
};

}  // namespace posthouse::store
