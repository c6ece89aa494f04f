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
#include "services/common/store/rocks/closed_store.h"
#include "services/common/store/rocks/key_encoding.h"
#include "services/common/store/rocks/loss_check.h"
#include "services/common/store/rocks/rocks_status.h"
#include "services/common/store/rocks/rocks_tuning.h"

namespace posthouse::store {
namespace {

// The new store; closed in the order of need.
struct Fresh {
  ~Fresh() {
    if (db == nullptr) return;
    for (rocksdb::ColumnFamilyHandle* family : families) db->DestroyColumnFamilyHandle(family);
    db->Close().PermitUncheckedError();
  }
  std::unique_ptr<rocksdb::DB> db;
  std::vector<rocksdb::ColumnFamilyHandle*> families;
};

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

// What services keep beside their store: its name, and whether its messages are held.
absl::Status CopyMarks(const std::string& source, const std::string& target) {
  for (const char* name : {"SHARD", "HOLD"}) {
    std::string content;
    const std::string file = absl::StrCat(source, "/", name);
    const rocksdb::Status read = rocksdb::ReadFileToString(rocksdb::Env::Default(), file, &content);
    if (read.IsNotFound() || read.IsPathNotFound()) continue;
    PH_RETURN_IF_ERROR(FromRocks(read, absl::StrCat("reading ", file)));
    PH_RETURN_IF_ERROR(WriteDurably(absl::StrCat(target, "/", name), content));
  }
  return absl::OkStatus();
}

// Copies what can be read of `from`, which is at `source`, into a new store at `target`.
absl::StatusOr<StoreCheck> CopyReadable(ClosedStore& from, const std::string& source, const std::string& target) {
  RocksOptions options;
  options.path = target;
  const Tuning tuning = MakeTuning(options);
  Fresh to;
  rocksdb::DB* opened = nullptr;
  PH_RETURN_IF_ERROR(
      FromRocks(rocksdb::DB::Open(tuning.db, target, FamiliesOf(tuning), &to.families, &opened), target));
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
  PH_ASSIGN_OR_RETURN(StoreCheck check, from.ReadAll([&](size_t family, absl::string_view key,
                                                         absl::string_view value) -> absl::Status {
    batch.Put(to.families[family], rocksdb::Slice(key.data(), key.size()), rocksdb::Slice(value.data(), value.size()));
    return batch.GetDataSize() < kBatchBytes ? absl::OkStatus() : write();
  }));
  PH_RETURN_IF_ERROR(write());
  PH_RETURN_IF_ERROR(FromRocks(to.db->Flush(rocksdb::FlushOptions(), to.families), target));
  PH_RETURN_IF_ERROR(CopyMarks(source, target));
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
  PH_ASSIGN_OR_RETURN(ClosedStore store, ClosedStore::Open(path));
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
  PH_ASSIGN_OR_RETURN(StoreCheck check, store.ReadAll(look));
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
  PH_ASSIGN_OR_RETURN(ClosedStore from, ClosedStore::Open(store));
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
