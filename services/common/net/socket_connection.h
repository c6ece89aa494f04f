// SocketConnection: a Connection over an Asio socket. For common/net only.
//
// Reads and writes are system calls on the non-blocking socket (recv, send, SSL_read,
// SSL_write); Asio only waits for readiness. Input arrives in the loop's scratch buffer,
// so an idle connection owns no buffer.
//
// Threads: the loop's, except for Close() and InterruptRead(): any (connection.h).
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include <asio/ip/tcp.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/net/connection.h"
#include "services/common/net/connection_core.h"
#include "services/common/net/tls_impl.h"

namespace posthouse::net {

class SocketConnection final : public Connection {
 public:
  SocketConnection(EventLoop& loop, asio::ip::tcp::socket socket);
  ~SocketConnection() override;

  Task<absl::StatusOr<std::string>> ReadLine(size_t max_bytes, absl::Duration timeout, bool allow_bare_lf) override;
  Task<absl::StatusOr<std::string>> ReadSome(size_t max_bytes, absl::Duration timeout) override;
  Task<absl::StatusOr<std::string>> ReadExactly(size_t bytes, absl::Duration timeout) override;
  Task<absl::Status> WaitReadable(absl::Duration timeout) override;
  size_t Buffered() const override { return in_.size() - pos_; }
  bool LineBuffered(bool allow_bare_lf) const override {
    return (allow_bare_lf ? in_.find('\n', pos_) : in_.find("\r\n", pos_)) != std::string::npos;
  }
  void Unread(std::string bytes) override;
  void AcknowledgeNow() override;
  Task<absl::Status> Write(std::string bytes, absl::Duration timeout) override;
  Task<absl::Status> StartTlsServer(std::shared_ptr<TlsServerContext> context, absl::Duration timeout) override;
  Task<absl::Status> StartTlsClient(std::shared_ptr<TlsClientContext> context, std::string server_name,
                                    absl::Duration timeout) override;
  bool tls() const override { return core_->ssl != nullptr; }
  const TlsInfo& tls_info() const override;
  const Endpoint& peer() const override { return peer_; }
  const Endpoint& local() const override { return local_; }
  bool draining() const override { return core_->draining; }
  void InterruptRead() override;
  void Close() override;
  EventLoop& loop() override { return core_->loop; }

  const std::shared_ptr<ConnectionCore>& core() const { return core_; }
  // Reads the PROXY header that comes first, and no byte more: a TLS handshake may follow,
  // which OpenSSL reads from the socket itself. Afterwards peer() and local() are those of
  // the header. kInvalidArgument: no header.
  Task<absl::Status> TakeProxyHeader(absl::Duration timeout);

 private:
  using Deadline = ConnectionCore::Clock::time_point;
  // How an attempt on the non-blocking socket ended.
  struct Attempt {
    enum Kind { kBytes, kWaitRead, kWaitWrite, kFailed } kind;
    size_t bytes = 0;
    absl::Status error;
  };

  Attempt TryRead(char* to, size_t max);
  Attempt TryWrite(const char* from, size_t bytes);
  Attempt FromSsl(int result, const char* what);
  Task<absl::Status> WaitFor(Attempt::Kind kind, Deadline deadline);
  // Receives at least one byte into `in_`.
  Task<absl::Status> Fill(Deadline deadline);
  Task<absl::Status> Handshake(NewSsl ssl, bool server, bool verify, absl::Duration timeout);
  void Consume(size_t bytes);

  const std::shared_ptr<ConnectionCore> core_;
  std::shared_ptr<const void> tls_keep_;
  std::unique_ptr<TlsInfo> tls_info_;
  std::string in_;  // received; consumed up to pos_
  size_t pos_ = 0;
  int eager_reads_ = 0;
  Endpoint peer_, local_;
};

// An IPv4-mapped IPv6 address becomes IPv4.
Endpoint ToEndpoint(const asio::ip::tcp::endpoint& endpoint);

}  // namespace posthouse::net
