// Connection: one TCP or TLS byte stream with deadlines on every wait, bounded
// line and block readers and an upgrade to TLS. And how to make one.
//
// Threads: a connection lives on one EventLoop; every method is called on that
// loop, except InterruptRead() and Close(), which any thread may call.
// One read and one write may be in progress at a time, also together.
//
// Errors: kDeadlineExceeded (time-out), kUnavailable (peer closed, reset, or
// Close() was called), kResourceExhausted (line too long; see ReadLine),
// kCancelled (InterruptRead), kInvalidArgument (TLS handshake failed).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/net/event_loop.h"
#include "services/common/net/tls.h"

namespace posthouse::net {

// "192.0.2.1" or "2001:db8::1" and a port; text form as inet_ntop writes it.
struct Endpoint {
  std::string address;
  uint16_t port = 0;
  std::string ToString() const;  // "192.0.2.1:25", "[2001:db8::1]:25"
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

// "10.0.0.0/8", "::1/128", or a bare address.
class Cidr {
 public:
  static absl::StatusOr<Cidr> Parse(absl::string_view text);
  bool Contains(absl::string_view address) const;  // IPv4-mapped IPv6 counts as IPv4

 private:
  std::string bytes_;
  int bits_ = 0;
};

class Connection {
 public:
  virtual ~Connection() = default;  // closes
  Connection(const Connection&) = delete;

  // One line up to and including LF, returned without its CRLF (or bare LF when
  // `allow_bare_lf`). Without it a bare LF does not end a line and stays inside.
  // A line over `max_bytes`: the rest of it is read and dropped in bounded memory,
  // then kResourceExhausted; the connection stays usable.
  virtual Task<absl::StatusOr<std::string>> ReadLine(size_t max_bytes, absl::Duration timeout,
                                                     bool allow_bare_lf = false) = 0;
  // Whatever is there, at least one byte, at most `max_bytes`, moved out of the buffer.
  virtual Task<absl::StatusOr<std::string>> ReadSome(size_t max_bytes, absl::Duration timeout) = 0;
  // Exactly `bytes` (small, bounded by the caller).
  virtual Task<absl::StatusOr<std::string>> ReadExactly(size_t bytes, absl::Duration timeout) = 0;
  // Waits until input is buffered or can be read; consumes nothing. Releases the
  // read buffer meanwhile: what idle sessions wait in.
  virtual Task<absl::Status> WaitReadable(absl::Duration timeout) = 0;
  // Bytes already received and not yet read: whether the client has pipelined.
  virtual size_t Buffered() const = 0;
  // Whether a whole line is among them: ReadLine() with the same argument will not wait.
  virtual bool LineBuffered(bool allow_bare_lf = false) const = 0;
  // Returns bytes to the front of the read buffer (what a data decoder did not use).
  virtual void Unread(std::string bytes) = 0;

  // Acknowledges what has arrived now instead of after the kernel's 40 ms: for a wait
  // in the middle of what a client sends in two pieces, the second of which its own
  // kernel holds back until then (Nagle, RFC 896).
  virtual void AcknowledgeNow() = 0;

  // Sends all of `bytes`. They are copied or owned; the await may be long (back-pressure).
  virtual Task<absl::Status> Write(std::string bytes, absl::Duration timeout) = 0;

  // Handshakes as server (STARTTLS or implicit). Bytes received in the clear and
  // not read are thrown away first (RFC 3207 §4.2). kInvalidArgument when it fails.
  virtual Task<absl::Status> StartTlsServer(std::shared_ptr<TlsServerContext> context, absl::Duration timeout) = 0;
  virtual Task<absl::Status> StartTlsClient(std::shared_ptr<TlsClientContext> context, std::string server_name,
                                            absl::Duration timeout) = 0;
  virtual bool tls() const = 0;
  virtual const TlsInfo& tls_info() const = 0;

  // The other end as it is known (after a PROXY header: the real client).
  virtual const Endpoint& peer() const = 0;
  virtual const Endpoint& local() const = 0;

  // Ends a read in progress, or the next one if none is, with kCancelled; nothing
  // that arrived is lost. Any thread. How IDLE is woken and sessions are drained.
  virtual void InterruptRead() = 0;
  // Sends TLS close_notify if it can without waiting, and closes. Any thread.
  virtual void Close() = 0;
  virtual EventLoop& loop() = 0;

 protected:
  Connection() = default;
};

// Connects `address` (literal, from our resolver) from `source` (empty: any).
Task<absl::StatusOr<std::unique_ptr<Connection>>> Connect(EventLoop& loop, Endpoint to, std::string source_address,
                                                          absl::Duration timeout);

struct ListenerOptions {
  std::string address = "127.0.0.1";
  uint16_t port = 0;  // 0: any free one; see Listener::port()
  int backlog = 1024;
  size_t max_connections = 10000;  // over it: accepted, told `overload_line`, closed
  // 0: no limit. An IPv6 client counts with its /64, since that is what one customer gets.
  size_t max_connections_per_address = 0;
  std::string overload_line;  // e.g. "421 4.3.2 too many connections\r\n"
  // Peers in these networks must send a PROXY v1 or v2 header first; from others
  // it is not looked for, so nobody else can lie about his address.
  std::vector<Cidr> proxy_from;
  absl::Duration proxy_timeout = absl::Seconds(5);
  std::shared_ptr<TlsServerContext> implicit_tls;  // null: plaintext first
  absl::Duration handshake_timeout = absl::Seconds(30);
};

// What a listener did; read by its owner's metrics.
struct ListenerStats {
  uint64_t accepted = 0, refused_total = 0, refused_per_address = 0, bad_proxy = 0, failed_handshakes = 0;
  size_t open = 0;
};

// Accepts on one socket per event loop (SO_REUSEPORT), so that a connection is
// served by the loop that took it. `serve` is called on that loop and owns the
// connection until its task ends.
class Listener {
 public:
  using Serve = std::function<Task<void>(std::unique_ptr<Connection>)>;
  static absl::StatusOr<std::unique_ptr<Listener>> Start(EventLoops& loops, ListenerOptions options, Serve serve);
  virtual ~Listener() = default;  // Close()s, then waits for nothing
  virtual uint16_t port() const = 0;
  virtual ListenerStats stats() const = 0;
  // Stops accepting; open connections go on.
  virtual void Close() = 0;
  // Close(), then InterruptRead() on each open connection (sessions see kCancelled,
  // say goodbye and end), waits up to `grace` for them, then closes what is left.
  virtual Task<void> Drain(absl::Duration grace) = 0;
  // Kilobytes of user-space buffers are freed while idle; number of open connections.
  virtual size_t open() const = 0;
};

}  // namespace posthouse::net
