#include "services/common/store/rocks/open_checked.h"

#include <rocksdb/db.h>
#include <rocksdb/env.h>

#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "services/common/log/log.h"
#include "services/common/private_dir/private_dir.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/format_row.h"
#include "services/common/store/rocks/loss_check.h"
#include "services/common/store/rocks/manifest_copy.h"
#include "services/common/store/rocks/rocks_status.h"

namespace posthouse::store {
namespace {

absl::Status Accept(rocksdb::Env& env, const RocksOptions& options, const absl::Status& loss,
                    const StoreMetrics& metrics) {
  metrics.losses_accepted.Add();
  return AcceptLoss(env, options.path, loss);
}

// While it exists, no other process opens the store.
class Lock {
 public:
  Lock(rocksdb::Env& env, const std::string& path) : env_(env), path_(path) {}
  ~Lock() {
    if (lock_ != nullptr) log::LogIfError(FromRocks(env_.UnlockFile(lock_), path_), "unlocking a store");
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  absl::Status Take() {
    const rocksdb::Status status = env_.LockFile(path_ + "/LOCK", &lock_);
    return status.ok() ? absl::OkStatus() : ExplainOpenError(status, path_);
  }

 private:
  rocksdb::Env& env_;
  const std::string path_;
  rocksdb::FileLock* lock_ = nullptr;
};

// Reports what is wrong with the files, as far as it shows before RocksDB opens them.
absl::Status Check(rocksdb::Env& env, const RocksOptions& options, const StoreMetrics& metrics) {
  Lock lock(env, options.path);
  PH_RETURN_IF_ERROR(lock.Take());
  PH_ASSIGN_OR_RETURN(const bool restored, RestoreManifest(env, options.path));
  if (restored) metrics.manifests_restored.Add();
  const absl::Status loss = CheckForLoss(env, options.path);
  if (!loss.ok()) {
    if (!absl::IsDataLoss(loss) || !options.accept_data_loss) return loss;
    PH_RETURN_IF_ERROR(Accept(env, options, loss, metrics));
  }
  return DropTornManifestEnd(env, options.path);
}

}  // namespace

absl::StatusOr<OpenedStore> OpenChecked(const RocksOptions& options, SpaceWatch& space,
                                        std::shared_ptr<WriteHealth> health, const StoreMetrics& metrics) {
  rocksdb::Env& env = options.env != nullptr ? *options.env : *rocksdb::Env::Default();
  PH_RETURN_IF_ERROR(OpenPrivateDirectory(options.path));
  const std::optional<SyncedTo> before = SyncPoint::Read(env, options.path);
  PH_RETURN_IF_ERROR(Check(env, options, metrics));
  absl::StatusOr<std::unique_ptr<ReopenableDb>> db = ReopenableDb::Open(options, space, health);
  if (absl::IsDataLoss(db.status()) && options.accept_data_loss) {
    // Opening it once in this way turns what is left of the logs into table files.
    PH_RETURN_IF_ERROR(Accept(env, options, db.status(), metrics));
    RocksOptions salvage = options;
    salvage.skip_damaged_log_records = true;
    PH_RETURN_IF_ERROR(ReopenableDb::Open(salvage, space, health).status());
    db = ReopenableDb::Open(options, space, std::move(health));
  }
  PH_RETURN_IF_ERROR(db.status());
  OpenedStore opened;
  opened.db = *std::move(db);
  const ReopenableDb::Ref handles = opened.db->Get();
  rocksdb::DB& open = *handles->db;
  PH_ASSIGN_OR_RETURN(const IncarnationCheck check, CheckIncarnation(env, open, options.path));
  opened.incarnation = check.incarnation;
  PH_ASSIGN_OR_RETURN(opened.format, CheckFormat(open, options.path, options.formats));
  metrics.format.Set(opened.format);
  metrics.newest_format.Set(options.formats.newest);
  metrics.incarnation.Set(static_cast<double>(check.incarnation));
  const uint64_t sequence = open.GetLatestSequenceNumber();
  // On a full volume the changes stay in the logs.
  const bool in_tables = !handles->frugal && !handles->read_only;
  uint64_t base = sequence;
  if (!in_tables) base = before.has_value() ? before->base : 0;
  opened.sync_point = SyncPoint::Begin(env, options.path, {sequence, base});
  return opened;
}

}  // namespace posthouse::store
