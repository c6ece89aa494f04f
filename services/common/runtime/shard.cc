#include "services/common/runtime/shard.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "services/common/log/log.h"

namespace posthouse::runtime {
namespace {

constexpr char kFile[] = "SHARD";
constexpr size_t kLongestName = 64;

// The name in the file; "" without one.
std::string Recorded(const std::string& path) {
  std::ifstream file(path);
  std::string text(kLongestName + 16, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

bool WriteAndSync(int fd, absl::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return fsync(fd) == 0;
}

// A power failure leaves the file as it was, or whole.
bool Record(const std::string& folder, const std::string& name) {
  const std::string path = absl::StrCat(folder, "/", kFile);
  const std::string next = path + ".new";
  const int fd = open(next.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  const bool written = WriteAndSync(fd, name + "\n");
  const int error = errno;
  close(fd);
  errno = error;
  if (!written || std::rename(next.c_str(), path.c_str()) != 0) return false;
  const int parent = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (parent < 0) return false;
  const bool synced = fsync(parent) == 0;
  close(parent);
  return synced;
}

}  // namespace

absl::Status ClaimShard(const std::string& folder, absl::string_view key, const std::string& name) {
  if (name.size() > kLongestName || std::any_of(name.begin(), name.end(), absl::ascii_iscntrl)) {
    return absl::InvalidArgumentError(
        absl::StrCat(key, ": a name has at most ", kLongestName, " bytes and no control characters"));
  }
  const std::string path = absl::StrCat(folder, "/", kFile);
  const std::string recorded = Recorded(path);
  if (!recorded.empty() && recorded != name) {
    return absl::FailedPreconditionError(
        absl::StrCat("the store in ", folder, " is \"", absl::CHexEscape(recorded), "\" (", path, "), and ", key,
                     " is \"", name, "\": this process has the configuration or the data of another one"));
  }
  if (!recorded.empty() || name.empty() || Record(folder, name)) return absl::OkStatus();
  if (errno == ENOSPC || errno == EDQUOT) {
    LOG_EVENT(kWarning, "shard_not_recorded").Str("file", path).Str("why", "the volume is full");
    return absl::OkStatus();
  }
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", path));
}

}  // namespace posthouse::runtime
