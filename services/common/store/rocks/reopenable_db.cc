#include "services/common/store/rocks/reopenable_db.h"

#include <fcntl.h>
#include <rocksdb/env.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/copying_fs.h"
#include "services/common/store/rocks/format_row.h"
#include "services/common/store/rocks/rocks_blobs.h"
#include "services/common/store/rocks/rocks_status.h"

namespace posthouse::store {
namespace {

// Syncs the logs that a frugal open keeps. RocksDB does not write them again, and blobs
// in them may be unsynced, which a later commit must be able to name.
absl::Status SyncLogs(const std::string& path) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    if (entry.path().extension() != ".log") continue;
    const int file = open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return absl::ErrnoToStatus(errno, absl::StrCat("opening ", entry.path().string()));
    const int synced = fdatasync(file);
    const int why = errno;
    close(file);
    if (synced != 0) return absl::ErrnoToStatus(why, absl::StrCat("syncing ", entry.path().string()));
  }
  if (error) return absl::UnavailableError(absl::StrCat("listing ", path, ": ", error.message()));
  return absl::OkStatus();
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
  if (lock != nullptr) log::LogIfError(FromRocks(lock_env->UnlockFile(lock), "LOCK"), "closing a store");
  closed->Notify();  // its LOCK is free now, and not before
}

ReopenableDb::ReopenableDb(const RocksOptions& options, SpaceWatch& space, std::shared_ptr<WriteHealth> health)
    : path_(options.path),
      formats_(options.formats),
      space_(space),
      reserve_(absl::StrCat(options.path, "/RESERVE"), ReserveFor(options.min_free_bytes)),
      env_(options.env != nullptr ? options.env : rocksdb::Env::Default()),
      health_(std::move(health)),
      tuning_(MakeTuning(options)) {}

absl::StatusOr<std::unique_ptr<ReopenableDb>> ReopenableDb::Open(const RocksOptions& options, SpaceWatch& space,
                                                                 std::shared_ptr<WriteHealth> health) {
  std::error_code error;
  std::filesystem::create_directories(options.path, error);
  if (error) return absl::FailedPreconditionError(absl::StrCat("cannot create ", options.path, ": ", error.message()));
  std::unique_ptr<ReopenableDb> db(new ReopenableDb(options, space, std::move(health)));
  absl::StatusOr<Ref> opened = db->OpenForWriting();
  const absl::Status why = opened.status();
  // Only for lack of space: another error needs a person before anything is served.
  if (absl::IsResourceExhausted(why)) opened = db->OpenHandles(Mode::kReadOnly);
  if (!opened.ok()) {
    if (why.ok() || !absl::IsResourceExhausted(why)) return opened.status();
    return absl::ResourceExhaustedError(
        absl::StrCat("the volume of ", options.path, " is full: free some space on it. (", why.message(), ")"));
  }
  db->Install(*std::move(opened));
  db->health_->Opened();
  if (!why.ok()) {
    LOG_EVENT(kError, "store_read_only").Str("path", options.path).Err(why);
    db->health_->Fail(why);
  }
  return db;
}

void ReopenableDb::TakeReserve() {
  if (!reserve_.held() && space_.RoomFor(reserve_.bytes())) (void)reserve_.Take();
}

ReopenableDb::Mode ReopenableDb::ModeNow() {
  const absl::Status health = health_->Get();
  // After another error than "no space", recovery must write what the logs hold to
  // tables: the disk may have dropped what it did not write.
  if (!health.ok()) return absl::IsResourceExhausted(health) ? Mode::kFrugal : Mode::kNormal;
  return space_.Full() ? Mode::kFrugal : Mode::kNormal;
}

absl::StatusOr<ReopenableDb::Ref> ReopenableDb::OpenForWriting() {
  Mode mode = ModeNow();
  if (mode == Mode::kFrugal) reserve_.Release();
  absl::StatusOr<Ref> opened = OpenHandles(mode);
  if (absl::IsResourceExhausted(opened.status()) && mode == Mode::kNormal && health_->Get().ok()) {
    // At a start: more was left in the logs than the volume has room for as tables.
    reserve_.Release();
    mode = Mode::kFrugal;
    opened = OpenHandles(mode);
  }
  if (!opened.ok()) return opened.status();
  if (!swept_) {
    // Only once, since later writers of unfinished blobs may still be at work.
    PH_RETURN_IF_ERROR(RocksBlobs::SweepUnfinished(*(*opened)->db, (*opened)->blobs));
    if ((*opened)->fs->frozen()) return FromRocks((*opened)->fs->why(), absl::StrCat("opening ", path_));
    swept_ = true;
  }
  if (mode == Mode::kFrugal) LOG_EVENT(kWarning, "store_short_of_space").Str("path", path_);
  if (mode == Mode::kNormal) TakeReserve();
  return opened;
}

absl::StatusOr<ReopenableDb::Ref> ReopenableDb::OpenHandles(Mode mode) const {
  auto handles = std::make_shared<Handles>();
  const absl::Status opened = OpenDb(mode, handles.get());
  // First of all: what RocksDB makes of frozen files may look like damage.
  if (mode != Mode::kReadOnly && handles->fs->frozen()) {
    return FromRocks(handles->fs->why(), absl::StrCat("opening ", path_));
  }
  if (!opened.ok()) return opened;
  return handles;
}

absl::Status ReopenableDb::OpenDb(Mode mode, Handles* handles) const {
  const uint64_t number = health_->NewDatabase();
  handles->fs = std::make_shared<FreezingFs>(
      std::make_shared<CopyingFs>(env_->GetFileSystem(), path_),
      [health = health_, number](const rocksdb::IOStatus& why) { health->Report(number, FromRocks(why, "writing")); });
  handles->env = rocksdb::NewCompositeEnv(handles->fs);
  rocksdb::DBOptions options = tuning_.db;
  options.env = handles->env.get();
  options.listeners.push_back(health_->ListenerOf(number));
  std::vector<rocksdb::ColumnFamilyDescriptor> families = {{rocksdb::kDefaultColumnFamilyName, tuning_.rows},
                                                           {"blobs", tuning_.blobs}};
  std::vector<rocksdb::ColumnFamilyHandle*> opened_families;
  rocksdb::DB* opened = nullptr;
  rocksdb::Status status;
  if (mode == Mode::kReadOnly) {
    handles->read_only = true;
    handles->lock_env = env_;
    // As DB::Open does: no other process may write while this one reads.
    status = env_->LockFile(path_ + "/LOCK", &handles->lock);
    if (!status.ok()) return ExplainOpenError(status, path_);
    handles->fs->Seal();
    status = rocksdb::DB::OpenForReadOnly(options, path_, families, &opened_families, &opened);
  } else {
    if (mode == Mode::kFrugal) {
      handles->frugal = true;
      MakeFrugal(&options, &families);
      PH_RETURN_IF_ERROR(SyncLogs(path_));
    }
    status = rocksdb::DB::Open(options, path_, families, &opened_families, &opened);
  }
  if (!status.ok()) return ExplainOpenError(status, path_);
  handles->db.reset(opened);
  handles->rows = opened_families[0];
  handles->blobs = opened_families[1];
  return CheckFormat(*opened, path_, formats_).status();
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

void ReopenableDb::Close() {
  Ref old;
  {
    absl::MutexLock lock(&mutex_);
    old = std::move(current_);
    current_ = nullptr;
  }
  if (old == nullptr) return;
  old->closing = true;
  // Each holder of a Ref is inside one call; the last one to release it closes the database.
  const std::shared_ptr<absl::Notification> closed = old->closed;
  old.reset();
  closed->WaitForNotification();
}

void ReopenableDb::Install(Ref opened) {
  absl::MutexLock lock(&mutex_);
  current_ = std::move(opened);
  epoch_.fetch_add(1, std::memory_order_acq_rel);
}

absl::Status ReopenableDb::Reopen() {
  if (ModeNow() == Mode::kFrugal) reserve_.Release();
  absl::Status why = Probe();
  if (!why.ok()) {
    const Ref open = Get();
    if (open != nullptr && open->Valid()) return why;
  }
  Close();
  if (why.ok()) {
    absl::StatusOr<Ref> opened = OpenForWriting();
    if (opened.ok()) {
      Install(*std::move(opened));
      return absl::OkStatus();
    }
    why = opened.status();
  }
  absl::StatusOr<Ref> opened = OpenHandles(Mode::kReadOnly);
  if (opened.ok()) Install(*std::move(opened));
  log::LogIfError(opened.status(), "opening a store for reading");
  return why;
}

}  // namespace posthouse::store
