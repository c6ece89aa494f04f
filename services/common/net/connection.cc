#include "services/common/net/connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <asio/connect.hpp>

#include "absl/strings/str_cat.h"
#include "services/common/net/connection_impl.h"
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
absl::Status ClosedHere() { return absl::UnavailableError("connection is closed"); }

// Suspends until the side is ready or has failed, or its deadline has passed.
struct ReadinessAwaiter {
  ConnectionCore& core;
  ConnectionCore::Side& side;
  Clock::time_point deadline;
  bool await_ready() const { return !core.WaitBegins(side); }
  void await_suspend(std::coroutine_handle<> handle) const { core.Suspend(side, handle, deadline); }
  absl::Status await_resume() const { return std::move(side.result); }
};

}  // namespace

Endpoint ToEndpoint(const asio::ip::tcp::endpoint& endpoint) {
  asio::ip::address address = endpoint.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  }
  return Endpoint{address.to_string(), endpoint.port()};
}

// ---- ConnectionCore

// False: the result is known already.
bool ConnectionCore::WaitBegins(Side& side) {
  if (closed) {
    side.result = ClosedHere();
    return false;
  }
  if (&side == &read && interrupted) {
    interrupted = false;
    side.result = absl::CancelledError("read interrupted");
    return false;
  }
  return true;
}

void ConnectionCore::Suspend(Side& side, std::coroutine_handle<> handle, Clock::time_point deadline) {
  side.waiting = handle;
  side.deadline = deadline;
  if (!side.armed) {
    side.armed = true;
    const auto type = &side == &read ? asio::socket_base::wait_read : asio::socket_base::wait_write;
    socket.async_wait(type, [self = shared_from_this(), &side](const asio::error_code& error) {
      side.armed = false;
      if (error && self->closed) return;  // CloseNow() has resumed the waiter
      // Readiness with an error: the next system call reports it.
      self->Complete(side, absl::OkStatus());
    });
  }
  SetTimer(side);
}

void ConnectionCore::Complete(Side& side, absl::Status status) {
  if (!side.waiting) return;
  side.result = std::move(status);
  std::exchange(side.waiting, {}).resume();
}

// Keeps a timer that is set for an earlier time: when it fires, it checks the present deadline.
void ConnectionCore::SetTimer(Side& side) {
  if (side.deadline == Clock::time_point::max()) return;
  if (side.timer != 0 && side.timer_due <= side.deadline) return;
  if (side.timer != 0) loop.CancelTimer(side.timer);
  side.timer_due = side.deadline;
  const absl::Duration delay = absl::FromChrono(side.deadline - Clock::now());
  side.timer = loop.PostAfter(delay, [weak = weak_from_this(), &side] {
    const std::shared_ptr<ConnectionCore> self = weak.lock();
    if (self == nullptr) return;
    side.timer = 0;
    if (!side.waiting) return;
    if (Clock::now() >= side.deadline) {
      self->Complete(side, absl::DeadlineExceededError("timed out waiting for the peer"));
    } else {
      self->SetTimer(side);
    }
  });
}

void ConnectionCore::Interrupt() {
  if (closed) return;
  if (read.waiting) {
    Complete(read, absl::CancelledError("read interrupted"));
  } else {
    interrupted = true;
  }
}

void ConnectionCore::CloseNow() {
  if (closed) return;
  closed = true;
  const int fd = socket.native_handle();
  if (ssl != nullptr) {
    ERR_clear_error();
    if (SSL_is_init_finished(ssl.get())) SSL_shutdown(ssl.get());  // close_notify, if it can be sent now
  }
  // Half-close and read what the peer has sent: closing with unread input would send a
  // reset, which can destroy the last reply on its way.
  ::shutdown(fd, SHUT_WR);
  char* const scratch = loop.impl().scratch.get();
  for (int i = 0; i < 16 && ::recv(fd, scratch, EventLoop::Impl::kScratchBytes, MSG_DONTWAIT) > 0; ++i) {
  }
  asio::error_code ignored;
  socket.close(ignored);
  for (Side* side : {&read, &write}) {
    if (side->timer != 0) loop.CancelTimer(std::exchange(side->timer, 0));
    Complete(*side, ClosedHere());
  }
}

// ---- ConnectionImpl

ConnectionImpl::ConnectionImpl(EventLoop& loop, asio::ip::tcp::socket socket)
    : core_(std::make_shared<ConnectionCore>(loop, std::move(socket))) {
  asio::error_code ignored;
  core_->socket.non_blocking(true, ignored);
  core_->socket.set_option(asio::ip::tcp::no_delay(true), ignored);
  peer_ = ToEndpoint(core_->socket.remote_endpoint(ignored));
  local_ = ToEndpoint(core_->socket.local_endpoint(ignored));
}

ConnectionImpl::~ConnectionImpl() {
  if (Executor::Current() == &core_->loop) {
    core_->CloseNow();
  } else {
    Close();
  }
}

const TlsInfo& ConnectionImpl::tls_info() const {
  static const TlsInfo kNone;
  return tls_info_ == nullptr ? kNone : *tls_info_;
}

Task<absl::Status> ConnectionImpl::TakeProxyHeader(absl::Duration timeout) {
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

void ConnectionImpl::InterruptRead() {
  core_->loop.Post([core = core_] { core->Interrupt(); });
}

void ConnectionImpl::Close() {
  core_->loop.Post([core = core_] { core->CloseNow(); });
}

void ConnectionImpl::AcknowledgeNow() {
  if (core_->closed) return;
  const int on = 1;
  // Best effort: if it fails, the client waits a little longer.
  static_cast<void>(::setsockopt(core_->socket.native_handle(), IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on)));
}

void ConnectionImpl::Unread(std::string bytes) {
  if (bytes.empty()) return;
  bytes.append(in_, pos_);
  in_ = std::move(bytes);
  pos_ = 0;
}

void ConnectionImpl::Consume(size_t bytes) {
  pos_ += bytes;
  if (pos_ < in_.size()) return;
  pos_ = 0;
  if (in_.capacity() > kKeepBuffer) {
    in_ = std::string();
  } else {
    in_.clear();
  }
}

ConnectionImpl::Attempt ConnectionImpl::FromSsl(int result, const char* what) {
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

ConnectionImpl::Attempt ConnectionImpl::TryRead(char* to, size_t max) {
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

ConnectionImpl::Attempt ConnectionImpl::TryWrite(const char* from, size_t bytes) {
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

Task<absl::Status> ConnectionImpl::WaitFor(Attempt::Kind kind, Deadline deadline) {
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

Task<absl::Status> ConnectionImpl::Fill(Deadline deadline) {
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

Task<absl::StatusOr<std::string>> ConnectionImpl::ReadLine(size_t max_bytes, absl::Duration timeout,
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

Task<absl::StatusOr<std::string>> ConnectionImpl::ReadSome(size_t max_bytes, absl::Duration timeout) {
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

Task<absl::StatusOr<std::string>> ConnectionImpl::ReadExactly(size_t bytes, absl::Duration timeout) {
  const Deadline deadline = DeadlineAfter(timeout);
  while (Buffered() < bytes) PH_CO_RETURN_IF_ERROR(co_await Fill(deadline));
  std::string result = in_.substr(pos_, bytes);
  Consume(bytes);
  co_return result;
}

Task<absl::Status> ConnectionImpl::WaitReadable(absl::Duration timeout) {
  if (Buffered() > 0) co_return absl::OkStatus();
  in_ = std::string();
  co_return co_await Fill(DeadlineAfter(timeout));
}

Task<absl::Status> ConnectionImpl::Write(std::string bytes, absl::Duration timeout) {
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

Task<absl::Status> ConnectionImpl::StartTlsServer(std::shared_ptr<TlsServerContext> context, absl::Duration timeout) {
  co_return co_await Handshake(MakeServerSsl(*context), /*server=*/true, /*verify=*/false, timeout);
}

Task<absl::Status> ConnectionImpl::StartTlsClient(std::shared_ptr<TlsClientContext> context, std::string server_name,
                                                  absl::Duration timeout) {
  co_return co_await Handshake(MakeClientSsl(*context, server_name), /*server=*/false, VerifiesPeer(*context), timeout);
}

Task<absl::Status> ConnectionImpl::Handshake(NewSsl made, bool server, bool verify, absl::Duration timeout) {
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

// ---- Connect

Task<absl::StatusOr<std::unique_ptr<Connection>>> Connect(EventLoop& loop, Endpoint to, std::string source_address,
                                                          absl::Duration timeout) {
  if (Executor::Current() != &loop) co_await SwitchTo(loop);
  asio::error_code error;
  const asio::ip::address address = asio::ip::make_address(to.address, error);
  if (error) co_return absl::InvalidArgumentError(absl::StrCat("not an address: ", to.address));
  auto socket = std::make_shared<asio::ip::tcp::socket>(loop.impl().io);
  socket->open(address.is_v6() ? asio::ip::tcp::v6() : asio::ip::tcp::v4(), error);
  if (!error && !source_address.empty()) {
    const asio::ip::address source = asio::ip::make_address(source_address, error);
    if (!error) socket->bind(asio::ip::tcp::endpoint(source, 0), error);
  }
  if (error) {
    co_return absl::UnavailableError(absl::StrCat("cannot open a socket to ", to.ToString(), ": ", error.message()));
  }
  auto timed_out = std::make_shared<bool>(false);
  const uint64_t timer = loop.PostAfter(timeout, [socket, timed_out] {
    *timed_out = true;
    asio::error_code ignored;
    socket->close(ignored);
  });
  error = co_await AwaitCallback<asio::error_code>([&](absl::AnyInvocable<void(asio::error_code)> done) {
    socket->async_connect(asio::ip::tcp::endpoint(address, to.port),
                          [done = std::move(done)](const asio::error_code& e) mutable { done(e); });
  });
  loop.CancelTimer(timer);
  if (*timed_out) co_return absl::DeadlineExceededError(absl::StrCat("connecting to ", to.ToString(), " timed out"));
  if (error) co_return absl::UnavailableError(absl::StrCat("connecting to ", to.ToString(), ": ", error.message()));
  std::unique_ptr<Connection> connection = std::make_unique<ConnectionImpl>(loop, std::move(*socket));
  co_return connection;
}

}  // namespace posthouse::net
