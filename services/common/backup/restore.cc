#include "services/common/backup/restore.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <set>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "services/common/backup/repository.h"
#include "services/common/durable_file/durable_file.h"
#include "services/common/private_dir/private_dir.h"
#include "services/common/status/status.h"
#include "services/common/time/proto_time.h"

namespace posthouse::backup {
namespace {

namespace fs = std::filesystem;

absl::Status RefuseUsed(const std::string& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return absl::OkStatus();
  if (fs::is_directory(path, error) && fs::is_empty(path, error) && !error) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(path, " is in use: it is not empty. Move it away first, or name another data directory."));
}

// The administrator who restores need not be the user of the service.
absl::Status GiveTo(const struct stat& owner, const std::string& path) {
  if (geteuid() != 0 || lchown(path.c_str(), owner.st_uid, owner.st_gid) == 0) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, absl::StrCat("giving ", path, " its owner"));
}

absl::Status CopyFiles(Repository& repository, const v1::Backup& backup, const std::string& to,
                       const struct stat& owner, Transfer& transfer) {
  for (const v1::File& file : backup.files()) {
    const std::string path = absl::StrCat(to, "/", file.name());
    const std::string object = repository.ObjectPath(file.object());
    PH_ASSIGN_OR_RETURN(const Digest digest, transfer.Copy(object, path));
    if (digest.sha256 != file.object()) {
      return absl::DataLossError(absl::StrCat("the backup ", backup.id(), " is damaged: ", object, " (", file.name(),
                                              ") has other bytes. Nothing was restored."));
    }
    PH_RETURN_IF_ERROR(GiveTo(owner, path));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Restored> Restore(const RestoreOptions& options, Transfer& transfer) {
  PH_ASSIGN_OR_RETURN(const std::unique_ptr<Repository> repository, Repository::Open(options.directory, options.store));
  PH_ASSIGN_OR_RETURN(v1::Backup backup, repository->Get(options.id));
  // The name becomes a directory's.
  const std::string& service = backup.service();
  if (service != "queue" && service != "mailbox" && service != "directory") {
    return absl::DataLossError(absl::StrCat("the backup ", backup.id(), " is damaged: it is of no store"));
  }
  std::error_code error;
  if (!fs::exists(options.data_dir, error)) PH_RETURN_IF_ERROR(OpenPrivateDirectory(options.data_dir));
  struct stat owner = {};
  if (stat(options.data_dir.c_str(), &owner) != 0) return absl::ErrnoToStatus(errno, options.data_dir);
  const std::string place = absl::StrCat(options.data_dir, "/", service);
  PH_RETURN_IF_ERROR(RefuseUsed(place));
  const std::string fresh = place + ".restoring";
  fs::remove_all(fresh, error);  // of a restore that did not end
  if (mkdir(fresh.c_str(), 0700) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("creating ", fresh));
  absl::Cleanup remove = [&fresh] {
    std::error_code ignored;
    fs::remove_all(fresh, ignored);
  };
  PH_RETURN_IF_ERROR(CopyFiles(*repository, backup, fresh, owner, transfer));
  const std::string what = absl::StrCat("backup ", backup.id(), " of ",
                                        absl::FormatTime(FromProto(backup.instant()), absl::UTCTimeZone()), "\n");
  std::vector<std::string> marks = {"RESTORED"};
  if (service == "queue" && options.hold_queue) marks.emplace_back(kHoldFile);
  for (const std::string& mark : marks) {
    const std::string path = absl::StrCat(fresh, "/", mark);
    PH_RETURN_IF_ERROR(WriteDurably(path, what));
    PH_RETURN_IF_ERROR(GiveTo(owner, path));
  }
  PH_RETURN_IF_ERROR(GiveTo(owner, fresh));
  PH_RETURN_IF_ERROR(SyncDirectory(fresh));
  rmdir(place.c_str());  // an empty one
  if (std::rename(fresh.c_str(), place.c_str()) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("renaming ", fresh, " to ", place));
  }
  std::move(remove).Cancel();
  PH_RETURN_IF_ERROR(SyncDirectory(options.data_dir));
  return Restored{std::move(backup), place};
}

absl::StatusOr<std::string> NewestCommonId(const std::string& directory, const std::vector<std::string>& stores) {
  std::set<std::string> common;
  for (size_t i = 0; i < stores.size(); ++i) {
    PH_ASSIGN_OR_RETURN(const std::unique_ptr<Repository> repository, Repository::Open(directory, stores[i]));
    PH_ASSIGN_OR_RETURN(const Listing listing, repository->List(/*with_files=*/false));
    std::set<std::string> ids;
    for (const v1::Backup& backup : listing.backups) {
      if (i == 0 || common.contains(backup.id())) ids.insert(backup.id());
    }
    common = std::move(ids);
  }
  if (!common.empty()) return *common.rbegin();
  return absl::NotFoundError(absl::StrCat("no backup is in all of ", absl::StrJoin(stores, ", "),
                                          ": restore each store by itself with --store and --backup"));
}

}  // namespace posthouse::backup
