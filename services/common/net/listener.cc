#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>
#include <vector>

#include <asio/ip/tcp.hpp>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "services/common/async/sync.h"
#include "services/common/ip_address/ip_address.h"
#include "services/common/log/log.h"
#include "services/common/net/connection.h"
#include "services/common/net/socket_connection.h"
#include "services/common/net/spread.h"
#include "services/common/status/status.h"

namespace posthouse::net {
namespace {

using asio::ip::tcp;

// Connections of a listener that are being refused with a line; further ones are closed without it. A client that
// takes nothing must not hold many descriptors.
constexpr size_t kMostRefused = 8;

// Shared by the listener and its connections' tasks.
struct ListenerState {
  ListenerState(ListenerOptions o, Listener::Serve s, std::shared_ptr<ConnectionBudget> shared)
      : options(std::move(o)), serve(std::move(s)), budget(options.shares_budget ? std::move(shared) : nullptr) {}

  const ListenerOptions options;
  const Listener::Serve serve;
  const std::shared_ptr<ConnectionBudget> budget;  // null: does not count
  std::atomic<bool> closed{false};
  Wakeup idle;  // signalled when the last connection ends
  log::RateLimit log_limit{5};
  log::RateLimit accept_log_limit{1, absl::Minutes(1)};

  absl::Mutex mutex;
  size_t refused_now ABSL_GUARDED_BY(mutex) = 0;  // of `open`
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
void ReportRefused(ListenerState& state, const SocketConnection& connection, ConnectionRefusal refusal,
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

Task<void> Refuse(ListenerState& state, SocketConnection& connection, ConnectionRefusal refusal,
                  absl::string_view why) {
  ReportRefused(state, connection, refusal, absl::ResourceExhaustedError(why));
  if (state.options.implicit_tls == nullptr && !state.options.overload_line.empty()) {
    (co_await connection.Write(state.options.overload_line, absl::Seconds(1))).IgnoreError();  // best effort
  }
}

Task<void> Admitted(std::shared_ptr<ListenerState> state, std::unique_ptr<SocketConnection> connection) {
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

// Whose connections start with a PROXY header.
enum class Header {
  kOfTrusted,  // those of proxy_from
  kNone,
  kRequired,  // all; only proxy_from may connect
};

// Reads the header. kPermissionDenied: this peer may not use the port.
Task<absl::Status> TakeHeader(const ListenerOptions& options, SocketConnection& connection, Header header) {
  const bool trusted = header != Header::kNone && Trusted(options, connection.peer().address);
  if (trusted) co_return co_await connection.TakeProxyHeader(options.proxy_timeout);
  if (header != Header::kRequired) co_return absl::OkStatus();
  co_return absl::PermissionDeniedError(
      "the port is for the PROXY protocol, and proxy_from does not have this address");
}

enum class Admission {
  kServe,
  kRefuse,  // with a line
  kClose,
};

Task<void> Run(std::shared_ptr<ListenerState> state, std::unique_ptr<SocketConnection> connection, Admission admission,
               Header header) {
  // Lives to the end: its address is the key in `open`, so no new connection may get the
  // address before the entry is removed.
  const std::shared_ptr<ConnectionCore> core = connection->core();
  if (admission == Admission::kClose) {
    ReportRefused(*state, *connection, ConnectionRefusal::kLimit, absl::ResourceExhaustedError("too many connections"));
  } else if (admission == Admission::kRefuse) {
    co_await Refuse(*state, *connection, ConnectionRefusal::kLimit, "too many connections");
  } else {
    const absl::Status proxy = co_await TakeHeader(state->options, *connection, header);
    if (proxy.ok()) {
      const std::string client = ClientOf(connection->peer().address);
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
  if (admission == Admission::kServe && state->budget != nullptr) state->budget->Return();
  absl::MutexLock lock(&state->mutex);
  if (admission == Admission::kRefuse) --state->refused_now;
  state->open.erase(core.get());
  if (state->open.empty()) state->idle.Signal();
}

struct Acceptor : std::enable_shared_from_this<Acceptor> {
  Acceptor(EventLoop& event_loop, std::shared_ptr<ListenerState> s, Header h)
      : loop(event_loop), state(std::move(s)), header(h), acceptor(event_loop.impl().io) {}

  void Accept() {
    acceptor.async_accept([self = shared_from_this()](const asio::error_code& error, tcp::socket socket) {
      if (self->state->closed) return;
      if (error) {
        // Out of descriptors or memory: an immediate retry would spin.
        int64_t dropped = 0;
        if (self->state->accept_log_limit.Allow(&dropped)) {
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
    auto connection = std::make_unique<SocketConnection>(loop, std::move(socket));
    Admission admission = Admission::kServe;
    {
      absl::MutexLock lock(&state->mutex);
      ++state->stats.accepted;
      if (state->open.size() - state->refused_now >= state->options.max_connections ||
          (state->budget != nullptr && !state->budget->Take())) {
        ++state->stats.refused_total;
        admission = state->refused_now < kMostRefused ? Admission::kRefuse : Admission::kClose;
        if (admission == Admission::kRefuse) ++state->refused_now;
      }
      state->open.emplace(connection->core().get(), connection->core());
    }
    SpawnHere(Run(state, std::move(connection), admission, header));
  }

  EventLoop& loop;
  const std::shared_ptr<ListenerState> state;
  const Header header;
  tcp::acceptor acceptor;
};

absl::Status CannotListen(const ListenerOptions& options, uint16_t port, const asio::error_code& error) {
  std::string why = error.message();
  if (error.value() == EADDRINUSE) absl::StrAppend(&why, " (is another server using the port?)");
  if (error.value() == EADDRNOTAVAIL) absl::StrAppend(&why, " (no interface of this machine has the address)");
  if (error.value() == EACCES) absl::StrAppend(&why, " (a port below 1024 needs CAP_NET_BIND_SERVICE)");
  return absl::FailedPreconditionError(
      absl::StrCat("cannot listen on ", Endpoint{options.address, port}.ToString(), ": ", why));
}

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
  return error ? CannotListen(options, port, error) : absl::OkStatus();
}

// SO_REUSEPORT would let a second process share the port unnoticed: check first.
absl::Status CheckFree(EventLoop& loop, const ListenerOptions& options, uint16_t port) {
  asio::error_code error;
  const asio::ip::address address = asio::ip::make_address(options.address, error);
  if (error || port == 0) return absl::OkStatus();
  tcp::acceptor probe(loop.impl().io);
  const tcp::endpoint endpoint(address, port);
  probe.open(endpoint.protocol(), error);
  if (!error) probe.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) probe.bind(endpoint, error);
  return error ? CannotListen(options, port, error) : absl::OkStatus();
}

class MultiLoopListener final : public Listener {
 public:
  MultiLoopListener(std::shared_ptr<ListenerState> state, std::vector<std::shared_ptr<Acceptor>> acceptors,
                    uint16_t port, uint16_t proxy_port)
      : state_(std::move(state)), acceptors_(std::move(acceptors)), port_(port), proxy_port_(proxy_port) {}
  ~MultiLoopListener() override { MultiLoopListener::Close(); }

  uint16_t port() const override { return port_; }
  uint16_t proxy_port() const override { return proxy_port_; }
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

  Task<void> Drain(absl::Duration grace, absl::Duration spread) override {
    Close();
    for (const std::shared_ptr<Acceptor>& acceptor : acceptors_) {
      // After this returns no client can connect.
      co_await RunOn(acceptor->loop, [&acceptor] { acceptor->CloseNow(); });
    }
    const absl::Time deadline = absl::Now() + grace;
    DrainConnections(spread);
    co_await WaitForEnd(deadline - std::min(absl::Seconds(1), grace / 10));
    DrainConnections(absl::ZeroDuration());
    co_await WaitForEnd(deadline);
    for (const auto& core : state_->OpenCores()) {
      state_->Count(&ListenerStats::cut);
      core->loop.Post([core] { core->CloseNow(); });
    }
    co_await WaitForEnd(absl::Now() + absl::Seconds(5));
  }

 private:
  void DrainConnections(absl::Duration spread) {
    std::vector<std::shared_ptr<ConnectionCore>> cores = state_->OpenCores();
    if (spread <= absl::ZeroDuration()) {
      for (const auto& core : cores) core->loop.Post([core] { core->Drain(); });
      return;
    }
    absl::BitGen random;
    std::shuffle(cores.begin(), cores.end(), random);
    const std::vector<absl::Duration> turns = SpreadOver(cores.size(), spread, random);
    for (size_t i = 0; i < cores.size(); ++i) {
      cores[i]->loop.PostAfter(turns[i], [weak = cores[i]->weak_from_this()] {
        if (const std::shared_ptr<ConnectionCore> core = weak.lock()) core->Drain();
      });
    }
  }
  Task<void> WaitForEnd(absl::Time deadline) {
    while (open() > 0 && absl::Now() < deadline) co_await state_->idle.WaitFor(deadline - absl::Now());
  }

  const std::shared_ptr<ListenerState> state_;
  const std::vector<std::shared_ptr<Acceptor>> acceptors_;
  const uint16_t port_, proxy_port_;
};

// Opens `*port` on each loop, and writes the number that a free port has to it.
absl::Status Open(EventLoops& loops, const std::shared_ptr<ListenerState>& state, Header header, uint16_t* port,
                  std::vector<std::shared_ptr<Acceptor>>* acceptors) {
  PH_RETURN_IF_ERROR(CheckFree(loops.at(0), state->options, *port));
  for (size_t i = 0; i < loops.size(); ++i) {
    auto acceptor = std::make_shared<Acceptor>(loops.at(i), state, header);
    PH_RETURN_IF_ERROR(Bind(acceptor->acceptor, state->options, *port));
    asio::error_code ignored;
    *port = acceptor->acceptor.local_endpoint(ignored).port();
    acceptors->push_back(std::move(acceptor));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Listener>> Listener::Start(EventLoops& loops, ListenerOptions options, Serve serve) {
  auto state = std::make_shared<ListenerState>(std::move(options), std::move(serve), loops.connections());
  const std::optional<uint16_t> second = state->options.proxy_port;
  std::vector<std::shared_ptr<Acceptor>> acceptors;
  uint16_t port = state->options.port, proxy_port = second.value_or(0);
  PH_RETURN_IF_ERROR(Open(loops, state, second ? Header::kNone : Header::kOfTrusted, &port, &acceptors));
  if (second) PH_RETURN_IF_ERROR(Open(loops, state, Header::kRequired, &proxy_port, &acceptors));
  for (const auto& acceptor : acceptors) acceptor->loop.Post([acceptor] { acceptor->Accept(); });
  return std::make_unique<MultiLoopListener>(std::move(state), std::move(acceptors), port, proxy_port);
}

}  // namespace posthouse::net
