#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include <asio/ip/tcp.hpp>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "services/common/async/sync.h"
#include "services/common/log/log.h"
#include "services/common/net/connection.h"
#include "services/common/net/connection_impl.h"
#include "services/common/status/status.h"

namespace posthouse::net {
namespace {

using asio::ip::tcp;

// Shared by the listener and its connections' tasks.
struct ListenerState {
  ListenerState(ListenerOptions o, Listener::Serve s) : options(std::move(o)), serve(std::move(s)) {}

  const ListenerOptions options;
  const Listener::Serve serve;
  std::atomic<bool> closed{false};
  Wakeup idle;  // signalled when the last connection ends
  log::RateLimit log_limit{5};

  absl::Mutex mutex;
  ListenerStats stats ABSL_GUARDED_BY(mutex);
  absl::flat_hash_map<ConnectionCore*, std::weak_ptr<ConnectionCore>> open ABSL_GUARDED_BY(mutex);
  absl::flat_hash_map<std::string, size_t> per_address ABSL_GUARDED_BY(mutex);

  std::vector<std::shared_ptr<ConnectionCore>> OpenCores() {
    absl::MutexLock lock(&mutex);
    std::vector<std::shared_ptr<ConnectionCore>> cores;
    for (auto& [raw, weak] : open) {
      if (std::shared_ptr<ConnectionCore> core = weak.lock()) cores.push_back(std::move(core));
    }
    return cores;
  }

  void Count(uint64_t ListenerStats::* counter) {
    absl::MutexLock lock(&mutex);
    ++(stats.*counter);
  }
};

bool Trusted(const ListenerOptions& options, const std::string& address) {
  return std::any_of(options.proxy_from.begin(), options.proxy_from.end(),
                     [&](const Cidr& cidr) { return cidr.Contains(address); });
}

// The key of the limit for one client: the address, or the /64 of an IPv6 address.
std::string LimitedAs(const std::string& address) {
  in6_addr bytes{};
  if (inet_pton(AF_INET6, address.c_str(), &bytes) != 1) return address;
  return std::string(reinterpret_cast<const char*>(bytes.s6_addr), 8);
}

// Counts the connection for its client; false: over the limit.
bool AdmitAddress(ListenerState& state, const std::string& client) {
  absl::MutexLock lock(&state.mutex);
  size_t& count = state.per_address[client];
  if (state.options.max_connections_per_address != 0 && count >= state.options.max_connections_per_address) {
    ++state.stats.refused_per_address;
    return false;
  }
  ++count;
  return true;
}

void ForgetAddress(ListenerState& state, const std::string& client) {
  absl::MutexLock lock(&state.mutex);
  const auto it = state.per_address.find(client);
  if (it != state.per_address.end() && --it->second == 0) state.per_address.erase(it);
}

// Reports a refused connection to the owner, else to the log. The log is rate limited, since connections
// come in floods.
void ReportRefused(ListenerState& state, const ConnectionImpl& connection, ConnectionRefusal refusal,
                   const absl::Status& why) {
  if (state.options.on_refused != nullptr) return state.options.on_refused(connection, refusal, why);
  static constexpr const char* kEvents[] = {"connection_refused", "connection_refused", "proxy_header_refused",
                                            "tls_handshake_failed"};
  int64_t dropped = 0;
  if (!state.log_limit.Allow(&dropped)) return;
  const bool handshake = refusal == ConnectionRefusal::kTlsHandshake;
  log::Event(handshake ? log::Level::kInfo : log::Level::kWarning, kEvents[static_cast<size_t>(refusal)])
      .Str("client", connection.peer().address)
      .Str("local", connection.local().ToString())
      .Err(why)
      .Int("not_logged", dropped);
}

Task<void> Refuse(ListenerState& state, ConnectionImpl& connection, ConnectionRefusal refusal, absl::string_view why) {
  ReportRefused(state, connection, refusal, absl::ResourceExhaustedError(why));
  if (state.options.implicit_tls == nullptr && !state.options.overload_line.empty()) {
    (co_await connection.Write(state.options.overload_line, absl::Seconds(1))).IgnoreError();  // best effort
  }
}

Task<void> Admitted(std::shared_ptr<ListenerState> state, std::unique_ptr<ConnectionImpl> connection) {
  if (state->options.implicit_tls != nullptr) {
    const absl::Status status =
        co_await connection->StartTlsServer(state->options.implicit_tls, state->options.handshake_timeout);
    if (!status.ok()) {
      state->Count(&ListenerStats::failed_handshakes);
      ReportRefused(*state, *connection, ConnectionRefusal::kTlsHandshake, status);
      co_return;
    }
  }
  co_await state->serve(std::move(connection));
}

Task<void> Run(std::shared_ptr<ListenerState> state, std::unique_ptr<ConnectionImpl> connection, bool overload) {
  // Lives to the end: its address is the key in `open`, so no new connection may get the
  // address before the entry is removed.
  const std::shared_ptr<ConnectionCore> core = connection->core();
  if (overload) {
    co_await Refuse(*state, *connection, ConnectionRefusal::kLimit, "too many connections");
  } else {
    absl::Status proxy;
    if (Trusted(state->options, connection->peer().address)) {
      proxy = co_await connection->TakeProxyHeader(state->options.proxy_timeout);
    }
    if (proxy.ok()) {
      const std::string client = LimitedAs(connection->peer().address);
      if (AdmitAddress(*state, client)) {
        co_await Admitted(state, std::move(connection));
        ForgetAddress(*state, client);
      } else {
        co_await Refuse(*state, *connection, ConnectionRefusal::kAddressLimit, "too many connections of one client");
      }
    } else if (!absl::IsUnavailable(proxy)) {
      // A balancer that connects and closes only checks that the port answers.
      state->Count(&ListenerStats::bad_proxy);
      ReportRefused(*state, *connection, ConnectionRefusal::kBadProxy, proxy);
    }
  }
  connection.reset();
  absl::MutexLock lock(&state->mutex);
  state->open.erase(core.get());
  if (state->open.empty()) state->idle.Signal();
}

struct Acceptor : std::enable_shared_from_this<Acceptor> {
  Acceptor(EventLoop& event_loop, std::shared_ptr<ListenerState> s)
      : loop(event_loop), state(std::move(s)), acceptor(event_loop.impl().io) {}

  void Accept() {
    acceptor.async_accept([self = shared_from_this()](const asio::error_code& error, tcp::socket socket) {
      if (self->state->closed) return;
      if (error) {
        // Out of descriptors or memory: an immediate retry would spin.
        int64_t dropped = 0;
        if (self->state->log_limit.Allow(&dropped)) {
          LOG_EVENT(kError, "accept_failed").Str("error", error.message()).Int("not_logged", dropped);
        }
        self->loop.PostAfter(absl::Milliseconds(100), [self] {
          if (!self->state->closed) self->Accept();
        });
        return;
      }
      self->Begin(std::move(socket));
      self->Accept();
    });
  }

  void CloseNow() {
    asio::error_code ignored;
    acceptor.close(ignored);
  }

  void Begin(tcp::socket socket) {
    auto connection = std::make_unique<ConnectionImpl>(loop, std::move(socket));
    bool overload;
    {
      absl::MutexLock lock(&state->mutex);
      ++state->stats.accepted;
      overload = state->open.size() >= state->options.max_connections;
      if (overload) ++state->stats.refused_total;
      state->open.emplace(connection->core().get(), connection->core());
    }
    SpawnHere(Run(state, std::move(connection), overload));
  }

  EventLoop& loop;
  const std::shared_ptr<ListenerState> state;
  tcp::acceptor acceptor;
};

absl::Status Bind(tcp::acceptor& acceptor, const ListenerOptions& options, uint16_t port) {
  asio::error_code error;
  const asio::ip::address address = asio::ip::make_address(options.address, error);
  if (error)
    return absl::InvalidArgumentError(absl::StrCat("cannot listen on \"", options.address, "\": not an address"));
  const tcp::endpoint endpoint(address, port);
  const int on = 1;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error && setsockopt(acceptor.native_handle(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) {
    error = asio::error_code(errno, asio::error::get_system_category());
  }
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(options.backlog, error);
  if (error) {
    return absl::FailedPreconditionError(absl::StrCat("cannot listen on ", Endpoint{options.address, port}.ToString(),
                                                      ": ", error.message(), " (is another server using the port?)"));
  }
  return absl::OkStatus();
}

// SO_REUSEPORT would let a second process share the port unnoticed: check first.
absl::Status CheckFree(EventLoop& loop, const ListenerOptions& options) {
  asio::error_code error;
  const asio::ip::address address = asio::ip::make_address(options.address, error);
  if (error || options.port == 0) return absl::OkStatus();
  tcp::acceptor probe(loop.impl().io);
  const tcp::endpoint endpoint(address, options.port);
  probe.open(endpoint.protocol(), error);
  if (!error) probe.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) probe.bind(endpoint, error);
  if (!error) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("cannot listen on ",
                                                    Endpoint{options.address, options.port}.ToString(), ": ",
                                                    error.message(), " (is another server using the port?)"));
}

class ListenerImpl final : public Listener {
 public:
  ListenerImpl(std::shared_ptr<ListenerState> state, std::vector<std::shared_ptr<Acceptor>> acceptors, uint16_t port)
      : state_(std::move(state)), acceptors_(std::move(acceptors)), port_(port) {}
  ~ListenerImpl() override { ListenerImpl::Close(); }

  uint16_t port() const override { return port_; }
  size_t open() const override {
    absl::MutexLock lock(&state_->mutex);
    return state_->open.size();
  }
  ListenerStats stats() const override {
    absl::MutexLock lock(&state_->mutex);
    ListenerStats stats = state_->stats;
    stats.open = state_->open.size();
    return stats;
  }

  void Close() override {
    if (state_->closed.exchange(true)) return;
    for (const std::shared_ptr<Acceptor>& acceptor : acceptors_) {
      acceptor->loop.Post([acceptor] { acceptor->CloseNow(); });
    }
  }

  Task<void> Drain(absl::Duration grace) override {
    Close();
    for (const std::shared_ptr<Acceptor>& acceptor : acceptors_) {
      // After this returns no client can connect.
      co_await RunOn(acceptor->loop, [&acceptor] { acceptor->CloseNow(); });
    }
    const absl::Time deadline = absl::Now() + grace;
    Interrupt();
    co_await WaitForEnd(deadline - std::min(absl::Seconds(1), grace / 10));
    Interrupt();
    co_await WaitForEnd(deadline);
    for (const auto& core : state_->OpenCores()) core->loop.Post([core] { core->CloseNow(); });
    co_await WaitForEnd(absl::Now() + absl::Seconds(5));
  }

 private:
  void Interrupt() {
    for (const auto& core : state_->OpenCores()) core->loop.Post([core] { core->Interrupt(); });
  }
  Task<void> WaitForEnd(absl::Time deadline) {
    while (open() > 0 && absl::Now() < deadline) co_await state_->idle.WaitFor(deadline - absl::Now());
  }

  const std::shared_ptr<ListenerState> state_;
  const std::vector<std::shared_ptr<Acceptor>> acceptors_;
  const uint16_t port_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Listener>> Listener::Start(EventLoops& loops, ListenerOptions options, Serve serve) {
  PH_RETURN_IF_ERROR(CheckFree(loops.at(0), options));
  auto state = std::make_shared<ListenerState>(std::move(options), std::move(serve));
  std::vector<std::shared_ptr<Acceptor>> acceptors;
  uint16_t port = state->options.port;
  for (size_t i = 0; i < loops.size(); ++i) {
    auto acceptor = std::make_shared<Acceptor>(loops.at(i), state);
    PH_RETURN_IF_ERROR(Bind(acceptor->acceptor, state->options, port));
    asio::error_code ignored;
    port = acceptor->acceptor.local_endpoint(ignored).port();
    acceptors.push_back(std::move(acceptor));
  }
  for (const auto& acceptor : acceptors) acceptor->loop.Post([acceptor] { acceptor->Accept(); });
  return std::make_unique<ListenerImpl>(std::move(state), std::move(acceptors), port);
}

}  // namespace posthouse::net
