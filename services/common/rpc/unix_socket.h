// The Unix socket that administers a process. For the .cc files of this directory.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace posthouse::rpc {

// A path that fits into a socket's address (107 bytes). A longer one is reached through an open descriptor of its
// folder, by /proc/self/fd.
class SocketPath {
 public:
  // kInvalidArgument: the name itself is too long; kNotFound and others: the folder cannot be opened.
  static absl::StatusOr<SocketPath> Of(const std::string& path);
  SocketPath(SocketPath&& other) noexcept : path_(std::move(other.path_)), folder_(std::exchange(other.folder_, -1)) {}
  SocketPath& operator=(SocketPath&&) = delete;
  ~SocketPath();
  const std::string& path() const { return path_; }  // valid while the object lives, or for ever after KeepOpen()
  void KeepOpen() { folder_ = -1; }

 private:
  SocketPath(std::string path, int folder) : path_(std::move(path)), folder_(folder) {}
  std::string path_;
  int folder_;  // -1: none
};

// Listens on a socket of mode 0600 and gives each connection of this process's user or of root to `accept`, which owns
// the descriptor. Others are closed (log event rpc_socket_refused): root could have changed the mode. Owns a thread.
class UnixListener {
 public:
  // A socket that an ended process left is replaced. kUnavailable: another process listens there.
  static absl::StatusOr<std::unique_ptr<UnixListener>> Start(const std::string& path, std::function<void(int)> accept);
  // Removes the socket. No call of `accept` runs afterwards.
  ~UnixListener();

 private:
  UnixListener(SocketPath path, int listener, int stop, std::function<void(int)> accept);
  void Run();

  const SocketPath path_;
  const int listener_;
  const int stop_;  // eventfd
  const std::function<void(int)> accept_;
  std::thread thread_;
};

}  // namespace posthouse::rpc
