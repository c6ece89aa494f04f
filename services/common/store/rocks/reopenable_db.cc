#include "services/common/store/rocks/reopenable_db.h"

#include <rocksdb/env.h>

#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/key_encoding.h"
#include "services/common/store/rocks/rocks_blobs.h"
#include "services/common/store/rocks/rocks_status.h"

namespace posthouse::store {
namespace {

// Refuses a newer format than this binary knows; writes the number into a new store.
absl::Status CheckFormat(rocksdb::DB& db, const std::string& path) {
  std::string stored;
  const rocksdb::Status read = db.Get(rocksdb::ReadOptions(), FormatKey(), &stored);
  if (read.IsNotFound()) {
    rocksdb::WriteOptions sync;
    sync.sync = true;
    return FromRocks(db.Put(sync, FormatKey(), absl::StrCat(kFormatNumber)), "writing the format number");
  }
  PH_RETURN_IF_ERROR(FromRocks(read, "reading the format number"));
  int number = 0;
  if (!absl::SimpleAtoi(stored, &number)) return absl::DataLossError(absl::StrCat(path, ": bad format number"));
  if (number <= kFormatNumber) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(path, " was written in format ", number,
                                                    "; this binary knows up to ", kFormatNumber,
                                                    ". Run the release that wrote it, or a newer one."));
}

absl::Status ExplainOpenError(const rocksdb::Status& status, const std::string& path) {
  const std::string text = status.ToString();
  if (absl::StrContains(text, "lock ") || absl::StrContains(text, "LOCK")) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, " is in use by another process. Stop that process, or give this one its own data_dir. (", text, ")"));
  }
  if (absl::StrContains(text, "olumn families not opened")) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " was written by a newer release. Run that release, or a newer one. (", text, ")"));
  }
  if (status.IsCorruption()) {
    return absl::DataLossError(
        absl::StrCat(path, " is damaged; keep a copy of it before anything else, then restore a backup. (", text, ")"));
  }
  return FromRocks(status, absl::StrCat("opening ", path));
}

}  // namespace

ReopenableDb::Handles::~Handles() {
  if (db != nullptr) {
    for (rocksdb::ColumnFamilyHandle* family : {rows, blobs}) {
      if (family != nullptr) db->DestroyColumnFamilyHandle(family);
    }
    log::LogIfError(FromRocks(db->Close(), db->GetName()), "closing a store");
    db.reset();
  }
  closed->Notify();  // its LOCK is free now, and not before
}

ReopenableDb::ReopenableDb(const RocksOptions& options, std::shared_ptr<WriteHealth> health)
    : path_(options.path),
      env_(options.env != nullptr ? options.env : rocksdb::Env::Default()),
      health_(std::move(health)),
      tuning_(MakeTuning(options)) {}

absl::StatusOr<std::unique_ptr<ReopenableDb>> ReopenableDb::Open(const RocksOptions& options,
                                                                 std::shared_ptr<WriteHealth> health) {
  std::error_code error;
  std::filesystem::create_directories(options.path, error);
  if (error) return absl::FailedPreconditionError(absl::StrCat("cannot create ", options.path, ": ", error.message()));
  std::unique_ptr<ReopenableDb> db(new ReopenableDb(options, std::move(health)));
  PH_ASSIGN_OR_RETURN(Ref opened, db->OpenHandles());
  db->health_->Opened();
  // Not in Reopen(), since writers of unfinished blobs may still be at work then.
  PH_RETURN_IF_ERROR(RocksBlobs::SweepUnfinished(*opened->db, opened->blobs));
  absl::MutexLock lock(&db->mutex_);
  db->current_ = std::move(opened);
  return db;
}

absl::StatusOr<ReopenableDb::Ref> ReopenableDb::OpenHandles() const {
  std::vector<rocksdb::ColumnFamilyHandle*> families;
  rocksdb::DB* opened = nullptr;
  rocksdb::DBOptions db_options = tuning_.db;
  db_options.listeners.push_back(health_->NewListener());
  const rocksdb::Status status = rocksdb::DB::Open(
      db_options, path_, {{rocksdb::kDefaultColumnFamilyName, tuning_.rows}, {"blobs", tuning_.blobs}}, &families,
      &opened);
  if (!status.ok()) return ExplainOpenError(status, path_);
  auto handles = std::make_shared<Handles>();
  handles->db.reset(opened);
  handles->rows = families[0];
  handles->blobs = families[1];
  PH_RETURN_IF_ERROR(CheckFormat(*opened, path_));
  return handles;
}

ReopenableDb::Ref ReopenableDb::Get() const {
  absl::MutexLock lock(&mutex_);
  return current_;
}

// Writes and syncs a file such as opening the database writes several of.
absl::Status ReopenableDb::Probe() const {
  const std::string file = path_ + "/PROBE.log";
  const rocksdb::Status written =
      rocksdb::WriteStringToFile(env_, std::string(size_t{1} << 20, 'p'), file, /*should_sync=*/true);
  const rocksdb::Status removed = env_->DeleteFile(file);
  PH_RETURN_IF_ERROR(FromRocks(written, "writing a probe file"));
  return FromRocks(removed, "removing a probe file");
}

absl::Status ReopenableDb::Reopen() {
  PH_RETURN_IF_ERROR(Probe());
  Ref old;
  {
    absl::MutexLock lock(&mutex_);
    old = std::move(current_);
    current_ = nullptr;
  }
  if (old != nullptr) {
    // Each holder of a Ref is inside one call; the last one to release it closes the database.
    const std::shared_ptr<absl::Notification> closed = old->closed;
    old.reset();
    closed->WaitForNotification();
  }
  PH_ASSIGN_OR_RETURN(Ref opened, OpenHandles());
  absl::MutexLock lock(&mutex_);
  current_ = std::move(opened);
  epoch_.fetch_add(1, std::memory_order_acq_rel);
  return absl::OkStatus();
}

}  // namespace posthouse::store
