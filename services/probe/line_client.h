// LineClient: the client's side of a protocol of lines (SMTP, IMAP, POP3) over TLS, for the probe. It knows no
// protocol: it sends a line, and reads lines until one ends the answer. All waits have the deadline of the client.
// Threads: an object lives on its event loop.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/net/connection.h"
#include "services/common/net/tls.h"

namespace posthouse::probe {

// Whom to connect to.
struct Target {
  std::string host;
  std::string port;
  // "HOST:PORT", "[::1]:993".
  static absl::StatusOr<Target> Parse(absl::string_view text);
};

class LineClient {
 public:
  // Connects to the addresses of `to` in turn. With `tls`, checks the certificate for `tls_name`; null: in the clear.
  // The lookup of the name blocks the loop, which has nothing else to do.
  static Task<absl::StatusOr<LineClient>> Open(net::EventLoop& loop, Target to,
                                               std::shared_ptr<net::TlsClientContext> tls, std::string tls_name,
                                               absl::Time deadline);

  Task<absl::Status> Send(std::string bytes);
  // The next line, with the literals of IMAP in it ("{5}" is followed by CRLF and 5 bytes). At most 1 MiB.
  Task<absl::StatusOr<std::string>> ReadLine();
  // Reads lines up to the first one for which `last` is true, and returns them joined by CRLF. At most 1 MiB.
  Task<absl::StatusOr<std::string>> ReadUntil(std::function<bool(absl::string_view line)> last);

 private:
  LineClient(std::unique_ptr<net::Connection> connection, absl::Time deadline)
      : connection_(std::move(connection)), deadline_(deadline) {}
  absl::Duration Left() const;

  std::unique_ptr<net::Connection> connection_;
  absl::Time deadline_;
};

}  // namespace posthouse::probe
