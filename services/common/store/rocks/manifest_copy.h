// Puts a damaged manifest of a closed store back from its copy (copying_fs.h).
//
// What the two files have, up to their first fault, is the same, or one has more. The one with more
// is right: it lacks nothing that RocksDB acted on. So a byte that changed, an end that is missing,
// a manifest or CURRENT that is gone or is an old one costs nothing, as long as
// the other file is whole.
//
// A store of an earlier release has no copies. For it there is CheckForLoss() (loss_check.h), and
// the refusal to open a store without CURRENT, in whose place RocksDB would begin a new one.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace rocksdb {
class Env;
}

namespace posthouse::store {

struct ManifestPlan {
  std::string manifest;        // the right one's name; "": nothing to do
  bool write_current = false;  // CURRENT must be written anew
  // The manifest must be made of the first `bytes` of the copy, or lose what follows them.
  bool from_copy = false;
  bool cut = false;
  uint64_t bytes = 0;
  std::string why;  // what is wrong: file and offset
};

// What RestoreManifest() would do. kDataLoss: the files contradict each other, or CURRENT is
// missing and cannot be made; the message says what to do, and --accept-data-loss does not help.
absl::StatusOr<ManifestPlan> PlanManifest(rocksdb::Env& env, const std::string& path);

// Does it durably; the files as they were go to <path>/damaged-logs. True: something was mended.
// No other process may have the store open.
absl::StatusOr<bool> RestoreManifest(rocksdb::Env& env, const std::string& path);

}  // namespace posthouse::store
