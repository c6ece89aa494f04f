// How the Committer recovers from write errors, damage and a full volume.
#include <rocksdb/db.h>

#include <algorithm>
#include <utility>

#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/committer.h"
#include "services/common/store/rocks/rocks_status.h"

namespace posthouse::store {
namespace {

constexpr absl::Duration kSpaceInterval = absl::Seconds(1);
constexpr absl::Duration kReopenLogInterval = absl::Seconds(30);

}  // namespace

absl::Status Committer::EnsureWritable() {
  const absl::Status health = health_->Get();
  if (!health.ok()) {
    if (lost_ || SteadyNanos() < next_reopen_nanos_) return health;
    if (!Reopen().ok()) return health_->Get();
  }
  MakeUseOfSpace();
  PH_RETURN_IF_ERROR(health_->Get());  // the new database may have met an error already
  open_ = db_.Get();
  if (open_ == nullptr) return absl::UnavailableError("store is closed");
  if (QuarantineDue()) Quarantine();
  return absl::OkStatus();
}

// When it fails, the health says why.
absl::Status Committer::Reopen() {
  if (const absl::Status reopened = db_.Reopen(); !reopened.ok()) {
    health_->Fail(reopened);
    ReopenFailed(reopened);
    return reopened;
  }
  reopen_wait_ = absl::ZeroDuration();
  next_reopen_nanos_ = SteadyNanos() + absl::ToInt64Nanoseconds(options_.reopen_interval);
  next_reopen_log_nanos_ = failed_reopens_ = 0;
  // A commit of unknown outcome may have happened: values read before are not trusted.
  recent_.Forget(++batch_number_);
  published_.store(batch_number_, std::memory_order_release);
  const ReopenableDb::Ref again = db_.Get();
  if (again != nullptr && again->db->GetLatestSequenceNumber() < written_sequence_) {
    lost_ = true;
    health_->Replace(absl::UnavailableError("the disk lost unsynced writes: restart this process"));
    return health_->Get();
  }
  health_->Opened();
  return health_->Get();
}

void Committer::ReopenFailed(const absl::Status& why) {
  reopen_wait_ = std::max(options_.reopen_interval, std::min(2 * reopen_wait_, options_.retry_at_most));
  const int64_t now = SteadyNanos();
  next_reopen_nanos_ = now + absl::ToInt64Nanoseconds(reopen_wait_);
  ++failed_reopens_;
  if (now < next_reopen_log_nanos_) return;
  next_reopen_log_nanos_ = now + absl::ToInt64Nanoseconds(kReopenLogInterval);
  LOG_EVENT(kWarning, "store_reopen_failed").Int("attempts", std::exchange(failed_reopens_, 0)).Err(why);
}

// A compaction that meets a damaged block would meet it for ever. Without compactions reads
// become slower with time, and the space of removed rows stays, until the store is salvaged.
void Committer::Quarantine() {
  quarantined_epoch_.store(db_.epoch());
  for (rocksdb::ColumnFamilyHandle* family : {open_->rows, open_->blobs}) {
    log::LogIfError(FromRocks(open_->db->SetOptions(family, {{"disable_auto_compactions", "true"}}), "SetOptions"),
                    "turning compactions off");
  }
  LOG_EVENT(kError, "store_compactions_stopped");
}

// Ends what a full volume made necessary, once there is room again.
void Committer::MakeUseOfSpace() {
  const int64_t now = SteadyNanos();
  if (now < next_space_nanos_ || space_.Full()) return;
  next_space_nanos_ = now + absl::ToInt64Nanoseconds(kSpaceInterval);
  bool frugal = false;
  if (const ReopenableDb::Ref open = db_.Get(); open != nullptr) frugal = open->frugal;
  if (frugal) {
    (void)Reopen();
  } else {
    db_.TakeReserve();
  }
}

}  // namespace posthouse::store
