#include "services/common/private_dir/private_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"

namespace posthouse {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kOthers = S_IRWXG | S_IRWXO;

absl::Status Cannot(absl::string_view what, const std::string& path, int error) {
  return absl::FailedPreconditionError(absl::StrCat("cannot ", what, " ", path, ": ", std::strerror(error)));
}

absl::Status SyncDirectory(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Cannot("open", path, errno);
  const int error = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  return error == 0 ? absl::OkStatus() : Cannot("sync", path, error);
}

// True: the mode was changed.
absl::StatusOr<bool> Narrow(const std::string& path, bool follow) {
  struct stat info = {};
  if ((follow ? stat(path.c_str(), &info) : lstat(path.c_str(), &info)) != 0) {
    if (errno == ENOENT) return false;  // removed meanwhile
    return Cannot("look at", path, errno);
  }
  if (S_ISLNK(info.st_mode) || (info.st_mode & kOthers) == 0) return false;
  if (chmod(path.c_str(), info.st_mode & 07777 & ~kOthers) == 0) return true;
  return absl::FailedPreconditionError(
      absl::StrCat(path, " can be read by others, and its permissions cannot be changed: ", std::strerror(errno),
                   ". Run the process as the owner of the file, or as the owner: chmod go= ", path));
}

void Report(const std::string& path, int64_t files) {
  if (files == 0) return;
  LOG_EVENT(kWarning, "permissions_repaired").Str("path", path).Int("files", files);
}

}  // namespace

absl::Status CreatePrivateDirectory(const std::string& path,
                                    const std::function<absl::Status(const std::string&)>& sync) {
  std::vector<fs::path> missing;
  std::error_code error;
  const fs::path whole = fs::absolute(path, error).lexically_normal();
  if (error) return Cannot("find", path, error.value());
  for (fs::path at = whole; !at.empty() && at != at.root_path(); at = at.parent_path()) {
    if (!at.has_filename()) continue;  // a slash at the end
    if (fs::exists(at, error)) break;
    missing.push_back(at);
  }
  // From the top.
  for (; !missing.empty(); missing.pop_back()) {
    const std::string& made = missing.back().native();
    if (mkdir(made.c_str(), S_IRWXU) != 0 && errno != EEXIST) return Cannot("create", made, errno);
    PH_RETURN_IF_ERROR(sync(missing.back().parent_path().native()));
  }
  return absl::OkStatus();
}

absl::Status OpenPrivateDirectory(const std::string& path) {
  PH_RETURN_IF_ERROR(CreatePrivateDirectory(path, SyncDirectory));
  int64_t repaired = 0;
  PH_ASSIGN_OR_RETURN(const bool changed, Narrow(path, /*follow=*/true));
  if (changed) ++repaired;
  std::error_code error;
  for (fs::recursive_directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    PH_ASSIGN_OR_RETURN(const bool narrowed, Narrow(it->path().native(), /*follow=*/false));
    if (narrowed) ++repaired;
  }
  if (error) return Cannot("list", path, error.value());
  // Other users cannot reach files in a closed directory, whatever the modes of the files are.
  Report(path, changed ? repaired : 0);
  return absl::OkStatus();
}

absl::Status OpenPrivateParent(const std::string& path, const std::vector<std::string>& expected) {
  PH_RETURN_IF_ERROR(CreatePrivateDirectory(path, SyncDirectory));
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return Cannot("look at", path, errno);
  if ((info.st_mode & kOthers) == 0 || info.st_uid != geteuid()) return absl::OkStatus();
  std::error_code error;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().native();
    std::error_code ignored;
    if (it->is_socket(ignored)) continue;
    if (std::find(expected.begin(), expected.end(), name) == expected.end()) return absl::OkStatus();
  }
  if (error) return Cannot("list", path, error.value());
  PH_ASSIGN_OR_RETURN(const bool changed, Narrow(path, /*follow=*/true));
  Report(path, changed ? 1 : 0);
  return absl::OkStatus();
}

}  // namespace posthouse
