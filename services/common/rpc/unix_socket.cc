#include "services/common/rpc/unix_socket.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"

namespace posthouse::rpc {
namespace {

constexpr size_t kLongestPath = sizeof(sockaddr_un::sun_path) - 1;

absl::Status Failed(const std::string& path, const char* what) {
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot ", what, " the socket ", path));
}

sockaddr_un AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

bool Bind(int fd, const sockaddr_un& address) {
  return bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

// Whether a process listens at `address`.
bool Answers(const sockaddr_un& address) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return true;
  // EAGAIN: its backlog is full.
  const bool answers = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 || errno == EAGAIN;
  close(fd);
  return answers;
}

bool MayConnect(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  if (peer.uid == geteuid() || peer.uid == 0) return true;
  static log::RateLimit limit(1);
  int64_t dropped = 0;
  if (limit.Allow(&dropped)) {
    LOG_EVENT(kWarning, "rpc_socket_refused")
        .Int("uid", peer.uid)
        .Int("pid", peer.pid)
        .Str("why", "only the user of this process and root may administer it")
        .Int("not_logged", dropped);
  }
  return false;
}

}  // namespace

absl::StatusOr<SocketPath> SocketPath::Of(const std::string& path) {
  if (path.size() <= kLongestPath) return SocketPath(path, -1);
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat("the name of the socket ", path, " is too long"));
  }
  const int folder = open(path.substr(0, slash).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return Failed(path, "open the folder of");
  SocketPath result(absl::StrCat("/proc/self/fd/", folder, path.substr(slash)), folder);
  if (result.path().size() > kLongestPath) {
    return absl::InvalidArgumentError(absl::StrCat("the name of the socket ", path, " is too long"));
  }
  return result;
}

SocketPath::~SocketPath() {
  if (folder_ >= 0) close(folder_);
}

absl::StatusOr<std::unique_ptr<UnixListener>> UnixListener::Start(const std::string& path,
                                                                  std::function<void(int)> accept) {
  PH_ASSIGN_OR_RETURN(SocketPath short_path, SocketPath::Of(path));
  const sockaddr_un address = AddressOf(short_path.path());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return Failed(path, "make");
  // Linux gives the file the mode of the unbound socket, so nobody can connect before the mode is set.
  bool bound = fchmod(fd, 0600) == 0 && Bind(fd, address);
  if (!bound && errno == EADDRINUSE) {
    struct stat info{};
    if (lstat(short_path.path().c_str(), &info) == 0 && !S_ISSOCK(info.st_mode)) {
      close(fd);
      return absl::FailedPreconditionError(absl::StrCat(path, " exists and is no socket: move it away"));
    }
    if (Answers(address)) {
      close(fd);
      return absl::UnavailableError(absl::StrCat("cannot listen on ", path, ": another process listens there"));
    }
    unlink(short_path.path().c_str());
    bound = Bind(fd, address);
  }
  const int stop = eventfd(0, EFD_CLOEXEC);
  if (!bound || listen(fd, 64) != 0 || stop < 0) {
    const absl::Status status = Failed(path, "listen on");
    close(fd);
    if (stop >= 0) close(stop);
    return status;
  }
  return std::unique_ptr<UnixListener>(new UnixListener(std::move(short_path), fd, stop, std::move(accept)));
}

UnixListener::UnixListener(SocketPath path, int listener, int stop, std::function<void(int)> accept)
    : path_(std::move(path)), listener_(listener), stop_(stop), accept_(std::move(accept)) {
  thread_ = std::thread([this] { Run(); });
}

UnixListener::~UnixListener() {
  eventfd_write(stop_, 1);
  thread_.join();
  unlink(path_.path().c_str());
  close(listener_);
  close(stop_);
}

void UnixListener::Run() {
  std::array<pollfd, 2> waits = {{{listener_, POLLIN, 0}, {stop_, POLLIN, 0}}};
  while (true) {
    if (poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) return;
    if ((waits[1].revents & POLLIN) != 0) return;
    if ((waits[0].revents & POLLIN) == 0) continue;
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
      // No descriptor is free: the connection waits, and so does this thread instead of spinning.
      if (errno == EMFILE || errno == ENFILE) absl::SleepFor(absl::Milliseconds(100));
      continue;
    }
    if (MayConnect(fd)) {
      accept_(fd);
    } else {
      close(fd);
    }
  }
}

}  // namespace posthouse::rpc
