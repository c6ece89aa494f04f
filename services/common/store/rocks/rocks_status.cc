#include "services/common/store/rocks/rocks_status.h"

#include <rocksdb/status.h>

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace posthouse::store {

std::string WithRealNames(absl::string_view error) { return absl::StrReplaceAll(error, {{".ldb", ".sst"}}); }

absl::Status FromRocks(const rocksdb::Status& status, absl::string_view what) {
  if (status.ok()) return absl::OkStatus();
  const std::string message = absl::StrCat(what, ": ", WithRealNames(status.ToString()));
  if (status.IsNotFound()) return absl::NotFoundError(message);
  if (status.IsCorruption()) return absl::DataLossError(message);
  if (status.IsNoSpace() || status.subcode() == rocksdb::Status::kSpaceLimit) {
    return absl::ResourceExhaustedError(message);
  }
  if (status.IsInvalidArgument()) return absl::InvalidArgumentError(message);
  return absl::UnavailableError(message);
}

absl::Status ExplainOpenError(const rocksdb::Status& status, const std::string& path) {
  const std::string text = WithRealNames(status.ToString());
  // "block checksum mismatch" of a damaged table is no lock.
  if (status.IsIOError() && (absl::StrContains(text, "lock ") || absl::StrContains(text, "LOCK"))) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, " is in use by another process. Stop that process, or give this one its own data_dir. (", text, ")"));
  }
  if (absl::StrContains(text, "olumn families not opened")) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " was written by a newer release. Run that release, or a newer one. (", text, ")"));
  }
  if (status.IsCorruption()) {
    return absl::DataLossError(absl::StrCat(path, " is damaged. Copy the directory first. 'posthousectl check store ",
                                            path, "' names what is lost, and 'posthousectl salvage store ", path,
                                            "' keeps the rest. (", text, ")"));
  }
  return FromRocks(status, absl::StrCat("opening ", path));
}

}  // namespace posthouse::store
