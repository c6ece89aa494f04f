#include "services/common/store/rocks/format_row.h"

#include <rocksdb/db.h>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/key_encoding.h"
#include "services/common/store/rocks/rocks_status.h"

namespace posthouse::store {

absl::StatusOr<int> CheckFormat(rocksdb::DB& db, const std::string& path, const FormatRange& formats) {
  std::string stored;
  const rocksdb::Status read = db.Get(rocksdb::ReadOptions(), FormatKey(), &stored);
  if (read.IsNotFound()) {
    rocksdb::WriteOptions sync;
    sync.sync = true;
    PH_RETURN_IF_ERROR(
        FromRocks(db.Put(sync, FormatKey(), absl::StrCat(formats.initial)), "writing the format number"));
    return formats.initial;
  }
  if (read.IsCorruption()) {
    LOG_EVENT(kError, "store_format_number_damaged").Str("path", path).Err(FromRocks(read, "reading it"));
    return formats.initial;
  }
  PH_RETURN_IF_ERROR(FromRocks(read, "reading the format number"));
  int number = 0;
  if (!absl::SimpleAtoi(stored, &number)) {
    return absl::DataLossError(absl::StrCat(path, " names no format: its number is \"", absl::CHexEscape(stored),
                                            "\". Restore the store from a backup."));
  }
  if (number <= formats.newest) return number;
  return absl::FailedPreconditionError(absl::StrCat(path, " was written in format ", number,
                                                    "; this binary knows up to ", formats.newest,
                                                    ". Run the release that wrote it, or a newer one."));
}

}  // namespace posthouse::store
