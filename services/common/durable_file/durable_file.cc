#include "services/common/durable_file/durable_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace posthouse {
namespace {

absl::Status Errno(absl::string_view what, const std::string& path) {
  return absl::ErrnoToStatus(errno, absl::StrCat(what, " ", path));
}

}  // namespace

absl::Status WriteAll(int fd, absl::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return Errno("writing", path);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status SyncDirectory(const std::string& directory) {
  const int fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Errno("opening", directory);
  const absl::Cleanup close_it = [fd] { close(fd); };
  return fsync(fd) == 0 ? absl::OkStatus() : Errno("syncing", directory);
}

absl::Status WriteDurably(const std::string& path, const std::string& content) {
  const std::string next = path + ".new";
  const int fd = open(next.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return Errno("creating", next);
  absl::Status written = WriteAll(fd, content, next);
  if (written.ok() && fsync(fd) != 0) written = Errno("syncing", next);
  close(fd);
  if (written.ok() && std::rename(next.c_str(), path.c_str()) != 0) written = Errno("renaming", next);
  if (!written.ok()) {
    unlink(next.c_str());
    return written;
  }
  return SyncDirectory(path.substr(0, path.rfind('/')));
}

}  // namespace posthouse
