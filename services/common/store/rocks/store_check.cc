#include "services/common/store/rocks/store_check.h"

#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/write_batch.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "services/common/durable_file/durable_file.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/freezing_fs.h"
#include "services/common/store/rocks/key_encoding.h"
#include "services/common/store/rocks/loss_check.h"
#include "services/common/store/rocks/manifest_copy.h"
#include "services/common/store/rocks/readable_rows.h"
#include "services/common/store/rocks/rocks_status.h"
#include "services/common/store/rocks/rocks_tuning.h"

namespace posthouse::store {
namespace {

// An open database with its families; closed in the order of need.
struct Db {
  ~Db() {
    if (db != nullptr) {
      for (rocksdb::ColumnFamilyHandle* family : families) db->DestroyColumnFamilyHandle(family);
      db->Close().PermitUncheckedError();
      db.reset();
    }
    if (lock != nullptr) rocksdb::Env::Default()->UnlockFile(lock).PermitUncheckedError();
  }
  std::shared_ptr<FreezingFs> fs;
  std::unique_ptr<rocksdb::Env> env;
  std::unique_ptr<rocksdb::DB> db;
  std::vector<rocksdb::ColumnFamilyHandle*> families;
  rocksdb::FileLock* lock = nullptr;
};

std::vector<rocksdb::ColumnFamilyDescriptor> Families(const Tuning& tuning) {
  return {{rocksdb::kDefaultColumnFamilyName, tuning.rows}, {"blobs", tuning.blobs}};
}

// For reading only: nothing in the directory changes, and no process can open it meanwhile.
absl::Status OpenToRead(const std::string& path, Db* db) {
  if (!std::filesystem::exists(path + "/CURRENT")) {
    return absl::NotFoundError(absl::StrCat(path, " is no store: it has no file CURRENT"));
  }
  rocksdb::Env& env = *rocksdb::Env::Default();
  if (const rocksdb::Status locked = env.LockFile(path + "/LOCK", &db->lock); !locked.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " is in use: stop the process that has it open. (", locked.ToString(), ")"));
  }
  PH_ASSIGN_OR_RETURN(const ManifestPlan plan, PlanManifest(env, path));
  if (!plan.manifest.empty()) {
    return absl::DataLossError(absl::StrCat(
        plan.why,
        ". Nothing of it is lost: the next start of the service puts it back from its copy. Check again then."));
  }
  db->fs = std::make_shared<FreezingFs>(env.GetFileSystem(), nullptr);
  db->fs->Seal();
  db->env = rocksdb::NewCompositeEnv(db->fs);
  RocksOptions options;
  options.path = path;
  Tuning tuning = MakeTuning(options);
  tuning.db.env = db->env.get();
  // A table that cannot even be opened costs its keys, and not the store.
  tuning.db.paranoid_checks = false;
  tuning.db.skip_checking_sst_file_sizes_on_db_open = true;
  rocksdb::DB* opened = nullptr;
  PH_RETURN_IF_ERROR(
      FromRocks(rocksdb::DB::OpenForReadOnly(tuning.db, path, Families(tuning), &db->families, &opened), path));
  db->db.reset(opened);
  return absl::OkStatus();
}

using Row = std::function<absl::Status(size_t family, absl::string_view key, absl::string_view value)>;

absl::StatusOr<StoreCheck> ReadAll(Db& db, const Row& row) {
  StoreCheck check;
  for (size_t family = 0; family < db.families.size(); ++family) {
    const bool bodies = family == 1;
    PH_RETURN_IF_ERROR(WalkReadable(
        *db.db, db.families[family], "", "",
        [&](absl::string_view key, absl::string_view value) {
          ++(bodies ? check.bodies : check.rows);
          return row(family, key, value);
        },
        [&](const Unreadable& range) { check.lost.push_back({Describe(range, bodies), range.error.ToString()}); }));
  }
  return check;
}

// Gives the files of `fresh` the owner of the directory `store`, which the administrator who
// salvages need not be, and lets nobody else read them.
absl::Status TakeOwner(const std::string& store, const std::string& fresh) {
  struct stat owner = {};
  if (stat(store.c_str(), &owner) != 0) return absl::ErrnoToStatus(errno, store);
  std::vector<std::string> files = {fresh};
  for (const auto& entry : std::filesystem::directory_iterator(fresh)) files.push_back(entry.path());
  for (const std::string& file : files) {
    const mode_t mode = file == fresh ? owner.st_mode & 07777 : 0600;
    if (lchown(file.c_str(), owner.st_uid, owner.st_gid) != 0 || chmod(file.c_str(), mode) != 0) {
      return absl::ErrnoToStatus(errno, absl::StrCat("giving ", file, " its owner"));
    }
  }
  return absl::OkStatus();
}

// Copies what can be read of `from`, which is at `source`, into a new store at `target`.
absl::StatusOr<StoreCheck> CopyReadable(Db& from, const std::string& source, const std::string& target) {
  RocksOptions options;
  options.path = target;
  const Tuning tuning = MakeTuning(options);
  Db to;
  rocksdb::DB* opened = nullptr;
  PH_RETURN_IF_ERROR(FromRocks(rocksdb::DB::Open(tuning.db, target, Families(tuning), &to.families, &opened), target));
  to.db.reset(opened);
  constexpr size_t kBatchBytes = 4 << 20;
  rocksdb::WriteOptions unlogged;
  unlogged.disableWAL = true;  // flushed at the end, before anything names the new store
  rocksdb::WriteBatch batch;
  const auto write = [&]() -> absl::Status {
    PH_RETURN_IF_ERROR(FromRocks(to.db->Write(unlogged, &batch), target));
    batch.Clear();
    return absl::OkStatus();
  };
  PH_ASSIGN_OR_RETURN(StoreCheck check,
                      ReadAll(from, [&](size_t family, absl::string_view key, absl::string_view value) -> absl::Status {
                        batch.Put(to.families[family], rocksdb::Slice(key.data(), key.size()),
                                  rocksdb::Slice(value.data(), value.size()));
                        return batch.GetDataSize() < kBatchBytes ? absl::OkStatus() : write();
                      }));
  PH_RETURN_IF_ERROR(write());
  PH_RETURN_IF_ERROR(FromRocks(to.db->Flush(rocksdb::FlushOptions(), to.families), target));
  PH_RETURN_IF_ERROR(CopyIncarnation(*rocksdb::Env::Default(), source, target));
  // The next start raises the incarnation: what is lost may have held numbers given out.
  PH_RETURN_IF_ERROR(FromRocks(rocksdb::WriteStringToFile(rocksdb::Env::Default(), "salvaged\n", target + "/RESTORED",
                                                          /*should_sync=*/true),
                               target));
  PH_RETURN_IF_ERROR(SyncDirectory(target));
  return check;
}

}  // namespace

absl::StatusOr<StoreCheck> CheckStore(const std::string& path, const RowCheck& row_check) {
  Db db;
  PH_RETURN_IF_ERROR(OpenToRead(path, &db));
  std::vector<LostRange> malformed;
  const auto look = [&](size_t family, absl::string_view key, absl::string_view value) {
    const std::optional<Partition> partition = PartitionOfRowKey(key);
    if (family != 0 || !partition.has_value() || row_check == nullptr) return absl::OkStatus();
    key.remove_prefix(PartitionPrefix(*partition).size());
    if (const absl::Status status = row_check(*partition, key, value); !status.ok()) {
      malformed.push_back(
          {absl::StrCat("row ", absl::CHexEscape(key), " of ", partition->id), std::string(status.message())});
    }
    return absl::OkStatus();
  };
  PH_ASSIGN_OR_RETURN(StoreCheck check, ReadAll(db, look));
  check.malformed = std::move(malformed);
  return check;
}

absl::StatusOr<StoreCheck> SalvageStore(const std::string& path) {
  std::string store = path;
  while (store.size() > 1 && store.back() == '/') store.pop_back();
  PH_ASSIGN_OR_RETURN(StoreCheck found, CheckStore(store));
  if (found.lost.empty()) return found;
  const std::string fresh = store + ".salvaged", damaged = store + ".damaged";
  std::error_code error;
  if (std::filesystem::exists(damaged, error)) {
    return absl::FailedPreconditionError(absl::StrCat(damaged, " exists: move it away first"));
  }
  std::filesystem::remove_all(fresh, error);  // of a salvage that did not end
  Db from;
  PH_RETURN_IF_ERROR(OpenToRead(store, &from));
  PH_ASSIGN_OR_RETURN(StoreCheck check, CopyReadable(from, store, fresh));
  PH_RETURN_IF_ERROR(TakeOwner(store, fresh));
  std::filesystem::rename(store, damaged, error);
  if (error) return absl::UnavailableError(absl::StrCat("renaming ", store, ": ", error.message()));
  std::filesystem::rename(fresh, store, error);
  if (error) {
    return absl::UnavailableError(
        absl::StrCat("renaming ", fresh, " to ", store, ": ", error.message(), ". Rename it by hand."));
  }
  const std::filesystem::path parent = std::filesystem::path(store).parent_path();
  PH_RETURN_IF_ERROR(SyncDirectory(parent.empty() ? "." : parent.string()));
  check.kept_at = damaged;
  return check;
}

}  // namespace posthouse::store
