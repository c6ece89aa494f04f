#include "services/common/net/socket_connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/common/net/proxy_protocol.h"
#include "services/common/status/status.h"

namespace posthouse::net {
namespace {

using Clock = ConnectionCore::Clock;

// Discard at most this much of an overlong line, then close the connection.
constexpr size_t kMaxDiscard = 64 * 1024 * 1024;
// Reads in a row without a wait; then other work on the loop gets its turn, so that one
// fast client cannot take the whole loop.
constexpr int kEagerReads = 4;
// A larger receive buffer is freed once it is empty.
constexpr size_t kKeepBuffer = 2048;

Clock::time_point DeadlineAfter(absl::Duration timeout) {
  if (timeout >= absl::Hours(24 * 365)) return Clock::time_point::max();
  return Clock::now() + absl::ToChronoNanoseconds(std::max(timeout, absl::ZeroDuration()));
}

absl::Status PeerClosed() { return absl::UnavailableError("peer closed the connection"); }

}  // namespace

Endpoint ToEndpoint(const asio::ip::tcp::endpoint& endpoint) {
  asio::ip::address address = endpoint.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  }
  return Endpoint{address.to_string(), endpoint.port()};
}

SocketConnection::SocketConnection(EventLoop& loop, asio::ip::tcp::socket socket)
    : core_(std::make_shared<ConnectionCore>(loop, std::move(socket))) {
  asio::error_code ignored;
  core_->socket.non_blocking(true, ignored);
  core_->socket.set_option(asio::ip::tcp::no_delay(true), ignored);
  peer_ = ToEndpoint(core_->socket.remote_endpoint(ignored));
  local_ = ToEndpoint(core_->socket.local_endpoint(ignored));
}

SocketConnection::~SocketConnection() {
  if (Executor::Current() == &core_->loop) {
    core_->CloseNow();
  } else {
    Close();
  }
}

const TlsInfo& SocketConnection::tls_info() const {
  static const TlsInfo kNone;
  return tls_info_ == nullptr ? kNone : *tls_info_;
}

Task<absl::Status> SocketConnection::TakeProxyHeader(absl::Duration timeout) {
  const Deadline deadline = DeadlineAfter(timeout);
  std::string header;
  while (true) {
    if (core_->closed) co_return ClosedHere();
    char ahead[kMaxProxyHeader];
    const int fd = core_->socket.native_handle();
    const ssize_t n = ::recv(fd, ahead, sizeof(ahead) - header.size(), MSG_PEEK);
    if (n == 0) co_return PeerClosed();
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
      co_return absl::UnavailableError(absl::StrCat("read: ", strerror(errno)));
    }
    if (n < 0) {
      PH_CO_RETURN_IF_ERROR(co_await WaitFor(Attempt::kWaitRead, deadline));
      continue;
    }
    const size_t before = header.size();
    header.append(ahead, static_cast<size_t>(n));
    absl::StatusOr<ProxyHeader> parsed = ParseProxyHeader(header);
    const bool incomplete = absl::IsUnavailable(parsed.status()) && header.size() < kMaxProxyHeader;
    if (!parsed.ok() && !incomplete) co_return absl::InvalidArgumentError(parsed.status().message());
    // An incomplete header is all that has arrived.
    const size_t take = (parsed.ok() ? parsed->header_bytes : header.size()) - before;
    if (::recv(fd, ahead, take, 0) != static_cast<ssize_t>(take))
      co_return absl::InternalError("read lost peeked bytes");
    if (!parsed.ok()) continue;
    if (parsed->source.has_value()) {
      peer_ = *std::move(parsed->source);
      local_ = *std::move(parsed->destination);
    }
    co_return absl::OkStatus();
  }
}

void SocketConnection::InterruptRead() {
  core_->loop.Post([core = core_] { core->Interrupt(); });
}

void SocketConnection::Close() {
  core_->loop.Post([core = core_] { core->CloseNow(); });
}

void SocketConnection::AcknowledgeNow() {
  if (core_->closed) return;
  const int on = 1;
  // Best effort: if it fails, the client waits a little longer.
  static_cast<void>(::setsockopt(core_->socket.native_handle(), IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on)));
}

void SocketConnection::Unread(std::string bytes) {
  if (bytes.empty()) return;
  bytes.append(in_, pos_);
  in_ = std::move(bytes);
  pos_ = 0;
}

void SocketConnection::Consume(size_t bytes) {
  pos_ += bytes;
  if (pos_ < in_.size()) return;
  pos_ = 0;
  if (in_.capacity() > kKeepBuffer) {
    in_ = std::string();
  } else {
    in_.clear();
  }
}

SocketConnection::Attempt SocketConnection::FromSsl(int result, const char* what) {
  switch (SSL_get_error(core_->ssl.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return {Attempt::kWaitRead};
    case SSL_ERROR_WANT_WRITE:
      return {Attempt::kWaitWrite};
    case SSL_ERROR_ZERO_RETURN:
      return {Attempt::kFailed, 0, PeerClosed()};
    case SSL_ERROR_SYSCALL:
      return {Attempt::kFailed, 0,
              absl::UnavailableError(absl::StrCat(what, ": ", errno != 0 ? strerror(errno) : "peer closed"))};
    default:
      return {Attempt::kFailed, 0, absl::UnavailableError(absl::StrCat(what, ": ", TakeSslErrors()))};
  }
}

SocketConnection::Attempt SocketConnection::TryRead(char* to, size_t max) {
  if (core_->closed) return {Attempt::kFailed, 0, ClosedHere()};
  if (core_->ssl != nullptr) {
    ERR_clear_error();
    errno = 0;
    const int n = SSL_read(core_->ssl.get(), to, static_cast<int>(max));
    return n > 0 ? Attempt{Attempt::kBytes, static_cast<size_t>(n)} : FromSsl(n, "TLS read");
  }
  while (true) {
    const ssize_t n = ::recv(core_->socket.native_handle(), to, max, 0);
    if (n > 0) return {Attempt::kBytes, static_cast<size_t>(n)};
    if (n == 0) return {Attempt::kFailed, 0, PeerClosed()};
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {Attempt::kWaitRead};
    if (errno != EINTR) return {Attempt::kFailed, 0, absl::UnavailableError(absl::StrCat("read: ", strerror(errno)))};
  }
}

SocketConnection::Attempt SocketConnection::TryWrite(const char* from, size_t bytes) {
  if (core_->closed) return {Attempt::kFailed, 0, ClosedHere()};
  if (core_->ssl != nullptr) {
    ERR_clear_error();
    errno = 0;
    const int n = SSL_write(core_->ssl.get(), from, static_cast<int>(std::min<size_t>(bytes, 1 << 20)));
    return n > 0 ? Attempt{Attempt::kBytes, static_cast<size_t>(n)} : FromSsl(n, "TLS write");
  }
  while (true) {
    const ssize_t n = ::send(core_->socket.native_handle(), from, bytes, MSG_NOSIGNAL);
    if (n >= 0) return {Attempt::kBytes, static_cast<size_t>(n)};
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {Attempt::kWaitWrite};
    if (errno != EINTR) return {Attempt::kFailed, 0, absl::UnavailableError(absl::StrCat("write: ", strerror(errno)))};
  }
}

Task<absl::Status> SocketConnection::WaitFor(Attempt::Kind kind, Deadline deadline) {
  ConnectionCore::Side& side = kind == Attempt::kWaitRead ? core_->read : core_->write;
  if (side.waiting) {
    // TLS needs the direction that the session's other task waits on (a key update): rare
    // and short.
    if (Clock::now() >= deadline) co_return absl::DeadlineExceededError("timed out waiting for the peer");
    co_await Sleep(absl::Milliseconds(2));
    co_return absl::OkStatus();
  }
  co_return co_await ReadinessAwaiter{*core_, side, deadline};
}

Task<absl::Status> SocketConnection::Fill(Deadline deadline) {
  char* const scratch = core_->loop.impl().scratch.get();
  if (eager_reads_ >= kEagerReads) {
    eager_reads_ = 0;
    co_await SwitchTo(core_->loop);
  }
  while (true) {
    if (core_->interrupted) {
      core_->interrupted = false;
      co_return absl::CancelledError("read interrupted");
    }
    Attempt attempt = TryRead(scratch, EventLoop::Impl::kScratchBytes);
    if (attempt.kind == Attempt::kBytes) {
      ++eager_reads_;
      if (pos_ > 0 && pos_ >= in_.size() / 2) {
        in_.erase(0, pos_);
        pos_ = 0;
      }
      in_.append(scratch, attempt.bytes);
      co_return absl::OkStatus();
    }
    if (attempt.kind == Attempt::kFailed) co_return attempt.error;
    eager_reads_ = 0;
    PH_CO_RETURN_IF_ERROR(co_await WaitFor(attempt.kind, deadline));
  }
}

Task<absl::StatusOr<std::string>> SocketConnection::ReadLine(size_t max_bytes, absl::Duration timeout,
                                                             bool allow_bare_lf) {
  const Deadline deadline = DeadlineAfter(timeout);
  size_t scanned = 0;  // bytes after pos_ that have no line end
  size_t dropped = 0;
  while (true) {
    size_t lf;
    while ((lf = in_.find('\n', pos_ + scanned)) != std::string::npos) {
      const bool crlf = lf > pos_ && in_[lf - 1] == '\r';
      if (crlf || allow_bare_lf) break;
      scanned = lf + 1 - pos_;
    }
    if (lf != std::string::npos) {
      const size_t end = lf > pos_ && in_[lf - 1] == '\r' ? lf - 1 : lf;
      const size_t length = end - pos_;
      if (dropped > 0 || length > max_bytes) {
        Consume(lf + 1 - pos_);
        co_return absl::ResourceExhaustedError(absl::StrCat("line over ", max_bytes, " bytes"));
      }
      std::string line = in_.substr(pos_, length);
      Consume(lf + 1 - pos_);
      co_return line;
    }
    scanned = Buffered();
    if (scanned > max_bytes + 1) {
      // Drop it, but keep a CR that may be half of the line end.
      const size_t keep = in_.back() == '\r' ? 1 : 0;
      dropped += scanned - keep;
      Consume(scanned - keep);
      scanned = 0;
      if (dropped > kMaxDiscard) co_return absl::UnavailableError("the peer sent a line of more than 64 MiB");
    }
    PH_CO_RETURN_IF_ERROR(co_await Fill(deadline));
  }
}

Task<absl::StatusOr<std::string>> SocketConnection::ReadSome(size_t max_bytes, absl::Duration timeout) {
  if (Buffered() == 0) PH_CO_RETURN_IF_ERROR(co_await Fill(DeadlineAfter(timeout)));
  std::string bytes;
  if (pos_ == 0 && in_.size() <= max_bytes) {
    bytes = std::move(in_);
    in_ = std::string();
  } else {
    bytes = in_.substr(pos_, max_bytes);
    Consume(bytes.size());
  }
  co_return bytes;
}

Task<absl::StatusOr<std::string>> SocketConnection::ReadExactly(size_t bytes, absl::Duration timeout) {
  const Deadline deadline = DeadlineAfter(timeout);
  while (Buffered() < bytes) PH_CO_RETURN_IF_ERROR(co_await Fill(deadline));
  std::string result = in_.substr(pos_, bytes);
  Consume(bytes);
  co_return result;
}

Task<absl::Status> SocketConnection::WaitReadable(absl::Duration timeout) {
  if (Buffered() > 0) co_return absl::OkStatus();
  in_ = std::string();
  co_return co_await Fill(DeadlineAfter(timeout));
}

Task<absl::Status> SocketConnection::Write(std::string bytes, absl::Duration timeout) {
  size_t sent = 0;
  while (sent < bytes.size()) {
    Attempt attempt = TryWrite(bytes.data() + sent, bytes.size() - sent);
    if (attempt.kind == Attempt::kFailed) co_return attempt.error;
    if (attempt.kind == Attempt::kBytes) {
      sent += attempt.bytes;
    } else {
      PH_CO_RETURN_IF_ERROR(co_await WaitFor(attempt.kind, DeadlineAfter(timeout)));
    }
  }
  co_return absl::OkStatus();
}

Task<absl::Status> SocketConnection::StartTlsServer(std::shared_ptr<TlsServerContext> context, absl::Duration timeout) {
  co_return co_await Handshake(MakeServerSsl(*context), /*server=*/true, /*verify=*/false, timeout);
}

Task<absl::Status> SocketConnection::StartTlsClient(std::shared_ptr<TlsClientContext> context, std::string server_name,
                                                    absl::Duration timeout) {
  co_return co_await Handshake(MakeClientSsl(*context, server_name), /*server=*/false, VerifiesPeer(*context), timeout);
}

Task<absl::Status> SocketConnection::Handshake(NewSsl made, bool server, bool verify, absl::Duration timeout) {
  if (core_->closed) co_return ClosedHere();
  const Deadline deadline = DeadlineAfter(timeout);
  // RFC 3207 §4.2: discard what was received in the clear.
  in_ = std::string();
  pos_ = 0;
  tls_keep_ = std::move(made.keep);
  SSL* const ssl = made.ssl.get();
  SSL_set_fd(ssl, core_->socket.native_handle());
  if (server) {
    SSL_set_accept_state(ssl);
  } else {
    SSL_set_connect_state(ssl);
  }
  core_->ssl = std::move(made.ssl);
  while (true) {
    if (core_->closed) co_return ClosedHere();
    ERR_clear_error();
    errno = 0;
    const int result = SSL_do_handshake(ssl);
    if (result == 1) break;
    const Attempt attempt = FromSsl(result, "TLS handshake");
    if (attempt.kind == Attempt::kFailed) {
      const long verdict = SSL_get_verify_result(ssl);  // NOLINT(google-runtime-int): OpenSSL's type
      std::string why(attempt.error.message());
      if (verify && verdict != X509_V_OK) absl::StrAppend(&why, " (", X509_verify_cert_error_string(verdict), ")");
      co_return absl::InvalidArgumentError(why);
    }
    PH_CO_RETURN_IF_ERROR(co_await WaitFor(attempt.kind, deadline));
  }
  tls_info_ = std::make_unique<TlsInfo>();
  tls_info_->version = SSL_get_version(ssl);
  tls_info_->cipher = SSL_get_cipher_name(ssl);
  tls_info_->cipher_bits = SSL_get_cipher_bits(ssl, nullptr);
  const char* sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  if (sni != nullptr) tls_info_->sni = sni;
  tls_info_->verified = verify && SSL_get_verify_result(ssl) == X509_V_OK;
  co_return absl::OkStatus();
}

}  // namespace posthouse::net
