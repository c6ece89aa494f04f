// ScriptedServer: an SMTP server that follows a script, over real sockets.
//
//   ScriptedServer server(loops, {"S 220 hello", "C EHLO client.example", "S 250 ok", "X"});
//
// One line a step:
//   S text    sends "text\r\n"          s text   sends "text" without a line end
//   C line    reads a line, which must be this
//   D         reads message data up to the final dot; see data()
//   B n       reads n bytes of any kind
//   T         becomes a TLS server (after "S 220")
//   X         closes                    W        waits for the client to close
// After the last step it closes. problems() is empty when the client followed the script.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "services/common/async/task.h"
#include "services/common/net/connection.h"

namespace posthouse::smtp {

class ScriptedServer {
 public:
  ScriptedServer(net::EventLoops& loops, std::vector<std::string> script,
                 std::shared_ptr<net::TlsServerContext> tls = nullptr);
  ~ScriptedServer();  // waits for its sessions
  uint16_t port() const { return listener_->port(); }
  // Waits until a connection played the script to its end or its failure.
  void WaitForEnd();
  std::vector<std::string> problems() const;
  std::string data() const;  // of all "D" steps, dots removed

 private:
  Task<void> Serve(std::unique_ptr<net::Connection> connection);
  Task<absl::Status> Step(net::Connection& connection, std::string step);

  const std::vector<std::string> script_;
  const std::shared_ptr<net::TlsServerContext> tls_;
  std::unique_ptr<net::Listener> listener_;
  mutable absl::Mutex mutex_;
  int ended_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::string> problems_ ABSL_GUARDED_BY(mutex_);
  std::string data_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::smtp
