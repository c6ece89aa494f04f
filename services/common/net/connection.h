// Connection: one TCP or TLS byte stream with a deadline on every wait, bounded line
// and block readers, and an upgrade to TLS. Connect() and Listener make connections.
//
// Threads: a connection lives on one EventLoop. Every method is called on that loop,
// except InterruptRead() and Close(), which any thread may call.
// One read and one write may be in progress, also at the same time.
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

  // Reads one line and returns it without its CRLF. With `allow_bare_lf` a bare LF ends
  // a line, too; without, a bare LF stays inside the line.
  // kResourceExhausted: the line is longer than `max_bytes`. Its rest has been read and
  // dropped in bounded memory; the connection stays usable.
  virtual Task<absl::StatusOr<std::string>> ReadLine(size_t max_bytes, absl::Duration timeout,
                                                     bool allow_bare_lf = false) = 0;
  // Returns what has arrived: at least one byte, at most `max_bytes`. Waits for the first.
  virtual Task<absl::StatusOr<std::string>> ReadSome(size_t max_bytes, absl::Duration timeout) = 0;
  // Returns exactly `bytes` bytes. The caller bounds `bytes`: they are buffered.
  virtual Task<absl::StatusOr<std::string>> ReadExactly(size_t bytes, absl::Duration timeout) = 0;
  // Waits until input is buffered or can be read; consumes nothing. Frees the read
  // buffer meanwhile, so an idle session should wait here.
  virtual Task<absl::Status> WaitReadable(absl::Duration timeout) = 0;
  // The number of bytes received and not yet read. Not 0: the client has pipelined.
  virtual size_t Buffered() const = 0;
  // Whether these bytes have a whole line: ReadLine() with the same argument will not wait.
  virtual bool LineBuffered(bool allow_bare_lf = false) const = 0;
  // Puts `bytes` back to the front of the read buffer (what a data decoder did not use).
  virtual void Unread(std::string bytes) = 0;

  // Acknowledges received bytes now instead of after the kernel's 40 ms. Call it before
  // waiting for the second part of something that a client sends in two parts: the
  // client's kernel holds the second part back until then (Nagle, RFC 896).
  virtual void AcknowledgeNow() = 0;

  // Sends all of `bytes`. Waits while the peer does not read (back-pressure).
  virtual Task<absl::Status> Write(std::string bytes, absl::Duration timeout) = 0;

  // Makes the TLS handshake as server (STARTTLS or implicit TLS). First drops bytes that
  // were received in the clear and not read (RFC 3207 §4.2). kInvalidArgument: it failed.
  virtual Task<absl::Status> StartTlsServer(std::shared_ptr<TlsServerContext> context, absl::Duration timeout) = 0;
  virtual Task<absl::Status> StartTlsClient(std::shared_ptr<TlsClientContext> context, std::string server_name,
                                            absl::Duration timeout) = 0;
  virtual bool tls() const = 0;
  virtual const TlsInfo& tls_info() const = 0;

  // The other end; after a PROXY header, the client that it names.
  virtual const Endpoint& peer() const = 0;
  virtual const Endpoint& local() const = 0;

  // Whether its listener drains and has interrupted this connection for it: the session ends
  // after what it does.
  virtual bool draining() const = 0;
  // Ends the read in progress, or else the next one, with kCancelled. Received bytes
  // stay. Any thread. Wakes IDLE, and starts the drain of a session.
  virtual void InterruptRead() = 0;
  // Sends a TLS close_notify when that needs no wait, and closes. Any thread.
  virtual void Close() = 0;
  virtual EventLoop& loop() = 0;

 protected:
  Connection() = default;
};

// Connects to `to`, whose address is a literal, from `source_address` (empty: any).
Task<absl::StatusOr<std::unique_ptr<Connection>>> Connect(EventLoop& loop, Endpoint to, std::string source_address,
                                                          absl::Duration timeout);

// Why a listener refused a connection before its session.
enum class ConnectionRefusal { kLimit, kAddressLimit, kBadProxy, kTlsHandshake };

struct ListenerOptions {
  std::string address = "127.0.0.1";
  uint16_t port = 0;  // 0: any free one; see Listener::port()
  int backlog = 1024;
  size_t max_connections = 10000;  // more are accepted, sent `overload_line` and closed
  // Counts for EventLoops::connections(); a connection over that is refused as one over max_connections.
  bool shares_budget = true;
  // 0: no limit. IPv6 clients of one /64 count together: one customer has a whole /64.
  size_t max_connections_per_address = 0;
  std::string overload_line;  // e.g. "421 4.3.2 too many connections\r\n"
  // Peers in these networks must send a PROXY v1 or v2 header first. From other peers a
  // header is not read, so that they cannot claim another address.
  std::vector<Cidr> proxy_from;
  // A second port, with the limits and counters of the first: peers in proxy_from send a header, others are refused. On
  // `port` no header is read then. 0: any free one; see Listener::proxy_port().
  std::optional<uint16_t> proxy_port;
  absl::Duration proxy_timeout = absl::Seconds(5);
  std::shared_ptr<TlsServerContext> implicit_tls;  // null: plaintext first
  absl::Duration handshake_timeout = absl::Seconds(30);
  // Called for each refused connection, on its loop. Null: the listener logs refusals, a few each second.
  std::function<void(const Connection&, ConnectionRefusal, const absl::Status& why)> on_refused;
};

// Counters of a listener, for its owner's metrics.
struct ListenerStats {
  uint64_t accepted = 0, refused_total = 0, refused_per_address = 0, bad_proxy = 0, failed_handshakes = 0;
  uint64_t cut = 0;  // closed at the end of Drain()
  size_t open = 0;
};

// Accepts on one socket for each event loop (SO_REUSEPORT): the loop that accepts a
// connection serves it. `serve` is called on that loop and owns the connection until
// its task ends.
class Listener {
 public:
  using Serve = std::function<Task<void>(std::unique_ptr<Connection>)>;
  static absl::StatusOr<std::unique_ptr<Listener>> Start(EventLoops& loops, ListenerOptions options, Serve serve);
  virtual ~Listener() = default;  // Close()s; does not wait
  virtual uint16_t port() const = 0;
  virtual uint16_t proxy_port() const = 0;  // 0: there is none
  virtual ListenerStats stats() const = 0;
  // Stops accepting; open connections continue.
  virtual void Close() = 0;
  // Close(), then InterruptRead() on each open connection, which is draining() from then on: a
  // session gets kCancelled, writes its last reply and ends, or finishes what it does. The
  // connections have their turns in random order over the time `spread`, which is shorter than
  // `grace`; before it a session goes on. InterruptRead() again for those left at the end of
  // `grace`, less a second or a tenth of it: their time is up. At the end of `grace` closes the rest.
  virtual Task<void> Drain(absl::Duration grace, absl::Duration spread = absl::ZeroDuration()) = 0;
  // The number of open connections.
  virtual size_t open() const = 0;
};

}  // namespace posthouse::net
