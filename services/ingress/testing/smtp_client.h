// SmtpTestClient: the client's end of a session in tests, blocking, over a real socket.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "services/common/net/connection.h"

namespace posthouse::ingress {

class SmtpTestClient {
 public:
  SmtpTestClient(net::EventLoop& loop, uint16_t port, bool implicit_tls = false);
  ~SmtpTestClient();

  void Send(std::string bytes);
  // False: the server has closed.
  bool TrySend(std::string bytes);
  // The next reply, whole: "250-a\r\n250 b\r\n"; "" when the server closed instead.
  std::string Reply();
  // Its code and enhanced code: "250 2.1.0"; "354"; "closed".
  std::string Code();
  std::string Say(absl::string_view line);  // line + CRLF, then Code()
  bool StartTls();                          // the handshake after "220"
  void Close();

  // Plays a transcript: lines "C: ..." are said, each "S: ..." is the beginning of
  // the next reply's last line. Returns "" or what went wrong.
  std::string Play(absl::string_view transcript);

 private:
  net::EventLoop& loop_;
  std::unique_ptr<net::Connection> connection_;
};

}  // namespace posthouse::ingress
