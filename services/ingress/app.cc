#include "services/ingress/app.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/live_sessions/sessions_service.h"
#include "services/common/log/log.h"
#include "services/common/net/drain.h"
#include "services/common/runtime/mail_tls.h"
#include "services/common/status/status.h"
#include "services/ingress/admin_service.h"

namespace posthouse::ingress {
namespace {

constexpr size_t kCachedRecipients = 20000;
constexpr Port kAllPorts[] = {Port::kMx, Port::kSubmission, Port::kSubmissions};

// A net::ConnectionRefusal is the Reason of the same number.
static_assert(static_cast<int>(Reason::kConnectionLimit) == static_cast<int>(net::ConnectionRefusal::kLimit));
static_assert(static_cast<int>(Reason::kAddressLimit) == static_cast<int>(net::ConnectionRefusal::kAddressLimit));
static_assert(static_cast<int>(Reason::kBadProxy) == static_cast<int>(net::ConnectionRefusal::kBadProxy));
static_assert(static_cast<int>(Reason::kTlsHandshake) == static_cast<int>(net::ConnectionRefusal::kTlsHandshake));

// Brings a counter to a total that is counted elsewhere. Scrapes come one at a time.
void Follow(metrics::Counter& counter, uint64_t total) {
  const double behind = static_cast<double>(total) - counter.Value();
  if (behind > 0) counter.Add(behind);
}

}  // namespace

App::App(runtime::Runtime& rt, const rpc::Channels& channels, Settings settings,
         std::shared_ptr<net::TlsServerContext> tls)
    : ServiceApp(rt, "ingress", CheckConfig),
      metrics_(std::make_shared<Metrics>(rt.registry())),
      refusals_(std::make_shared<Refusals>(metrics_)),
      open_networks_(rt.registry()),
      lost_addresses_(std::make_shared<LostAddresses>(rt.registry())),
      live_peers_(std::make_shared<rpc::LivePeers>(channels, rt.config(), "ingress")),
      peers_(RoutingAndDirectory::Create(live_peers_, kCachedRecipients, rt.loops().Next())),
      live_(channels.directory == nullptr
                ? nullptr
                : std::make_shared<LiveSessions>(channels.directory, rt.loops().Next(), rt.registry(), "ingress")),
      memory_(std::make_shared<MemoryBudget>(settings.message_memory_bytes)),
      enqueuer_(Enqueuer::Create(channels.queue, memory_)),
      tls_(std::move(tls)),
      settings_(std::make_shared<const Settings>(std::move(settings))) {}

App::~App() { Stop(); }

absl::StatusOr<std::unique_ptr<App>> App::Create(runtime::Runtime& rt, rpc::Channels channels) {
  PH_ASSIGN_OR_RETURN(Settings settings, Settings::FromConfig(rt.config()));
  PH_ASSIGN_OR_RETURN(std::shared_ptr<net::TlsServerContext> tls, runtime::LoadMailTls(rt.config()));
  auto app = std::unique_ptr<App>(new App(rt, channels, std::move(settings), std::move(tls)));
  const std::shared_ptr<const Settings> s = app->settings();
  app->open_networks_.Look(*s);
  PH_RETURN_IF_ERROR(app->Listen(Port::kMx, s->smtp));
  PH_RETURN_IF_ERROR(app->Listen(Port::kSubmission, s->submission));
  PH_RETURN_IF_ERROR(app->Listen(Port::kSubmissions, s->submissions));
  app->OnCollect([raw = app.get()] { raw->Collect(); });
  runtime::GrpcServices services = {NewAdminService(app->runner(), app->refusals_)};
  // A part of standalone is called by no administrator; standalone has one SessionsService for all parts.
  if (!rt.config().rpc().in_process_only()) {
    std::vector<LiveSessions*> live;
    if (app->live_ != nullptr) live.push_back(app->live_.get());
    services.push_back(NewSessionsService(app->runner(), std::move(live)));
  }
  PH_RETURN_IF_ERROR(app->Serve(std::move(services)));
  return app;
}

absl::Status App::CheckConfig(const config::v1::Config& config) { return Settings::FromConfig(config).status(); }

absl::Status App::Listen(Port port, const Settings::Listener& listener) {
  if (!listener.enabled) return absl::OkStatus();
  if (port == Port::kSubmissions && tls_ == nullptr) {
    LOG_EVENT(kWarning, "listener_closed").Str("port", PortName(port)).Str("why", "no certificate is configured");
    return absl::OkStatus();
  }
  if (port == Port::kSubmission && tls_ == nullptr && !settings()->allow_plaintext_auth) {
    LOG_EVENT(kWarning, "no_logins").Str("port", PortName(port)).Str("why", "no certificate, and AUTH needs TLS");
  }
  net::ListenerOptions options;
  options.address = listener.address;
  options.port = listener.port;
  options.max_connections = listener.max_connections;
  options.max_connections_per_address = listener.max_connections_per_address;
  options.proxy_from = listener.proxy_from;
  options.proxy_port = listener.proxy_port;
  options.overload_line = absl::StrCat("421 4.3.2 ", settings()->hostname, " Too many connections\r\n");
  if (port == Port::kSubmissions) options.implicit_tls = tls_;
  options.on_refused = [refusals = refusals_, port](const net::Connection& connection, net::ConnectionRefusal why,
                                                    const absl::Status& status) {
    Refusal refusal;
    refusal.at = absl::Now();
    refusal.stage = Stage::kConnect;
    refusal.reason = static_cast<Reason>(why);
    refusal.port = PortName(port);
    refusal.client = connection.peer().address;
    refusal.error = std::string(status.message());
    refusals->Record(std::move(refusal));
  };
  const SessionContext context{peers_, enqueuer_, metrics_, refusals_, live_, lost_addresses_};
  const auto serve = [this, context, port](std::unique_ptr<net::Connection> connection) {
    return ServeSmtp(context, port, settings(), tls_, std::move(connection));
  };
  absl::StatusOr<std::unique_ptr<net::Listener>> started = net::Listener::Start(runtime().loops(), options, serve);
  if (!started.ok()) return Annotate(started.status(), absl::StrCat("ingress.", PortName(port)));
  listeners_[static_cast<size_t>(port)] = *std::move(started);
  LOG_EVENT(kInfo, "listening")
      .Str("port", PortName(port))
      .Str("address", listener.address)
      .Int("number", PortOf(port))
      .Int("proxy_port", listeners_[static_cast<size_t>(port)]->proxy_port());
  return absl::OkStatus();
}

uint16_t App::PortOf(Port port) const {
  const auto& listener = listeners_[static_cast<size_t>(port)];
  return listener == nullptr ? 0 : listener->port();
}

std::shared_ptr<const Settings> App::settings() const {
  absl::MutexLock lock(&mutex_);
  return settings_;
}

// Limits and policies for sessions that begin from now on, and shards for messages that do;
// addresses and ports need a restart.
absl::Status App::Reload(const config::v1::Config& config) {
  PH_ASSIGN_OR_RETURN(Settings settings, Settings::FromConfig(config));
  if (tls_ != nullptr) PH_RETURN_IF_ERROR(tls_->ReloadIfChanged().status());
  const std::shared_ptr<const rpc::Channels> before = live_peers_->Get();
  PH_RETURN_IF_ERROR(live_peers_->Reload(config));
  const std::shared_ptr<const rpc::Channels> now = live_peers_->Get();
  if (now != before) enqueuer_->SetQueues(now->queue);
  open_networks_.Look(settings);
  absl::MutexLock lock(&mutex_);
  settings_ = std::make_shared<const Settings>(std::move(settings));
  return absl::OkStatus();
}

void App::FinishDrain(absl::Time deadline) {
  std::vector<net::Listener*> open;
  for (const auto& listener : listeners_) {
    if (listener != nullptr) open.push_back(listener.get());
  }
  // At once: a sending host comes back by its own schedule, and not in the same second as all others.
  net::DrainAll(runtime().loops().at(0), name(), open, runtime::TimeLeft(deadline));
  // Sessions that still wait for an answer must not start another call: gRPC 1.51
  // crashes on a call into an in-process server that was shut down.
  enqueuer_->Stop();
  peers_->Stop();
  if (live_ != nullptr) live_->Stop();
}

void App::Collect() {
  refusals_->Tick(absl::Now());
  lost_addresses_->Tick(absl::Now());
  metrics_->message_memory.Set(static_cast<double>(memory_->used()));
  for (const Port port : kAllPorts) {
    const auto& listener = listeners_[static_cast<size_t>(port)];
    if (listener == nullptr) continue;
    const net::ListenerStats stats = listener->stats();
    metrics_->OpenConnections(port).Set(static_cast<double>(stats.open));
    Follow(metrics_->RefusedConnections(port, Reason::kConnectionLimit), stats.refused_total);
    Follow(metrics_->RefusedConnections(port, Reason::kAddressLimit), stats.refused_per_address);
    Follow(metrics_->RefusedConnections(port, Reason::kBadProxy), stats.bad_proxy);
    Follow(metrics_->RefusedConnections(port, Reason::kTlsHandshake), stats.failed_handshakes);
  }
  if (tls_ == nullptr) return;
  metrics_->certificate_not_after.Set(static_cast<double>(absl::ToUnixSeconds(tls_->NotAfter())));
  Follow(metrics_->certificate_reload_failures, tls_->ReloadFailures());
}

std::vector<std::pair<std::string, std::string>> App::Status() {
  std::vector<std::pair<std::string, std::string>> rows;
  for (const Port port : kAllPorts) {
    const auto& listener = listeners_[static_cast<size_t>(port)];
    const std::string value = listener == nullptr
                                  ? "closed"
                                  : absl::StrCat("port ", listener->port(), ", ", listener->stats().open, " open, ",
                                                 listener->stats().accepted, " since start");
    rows.emplace_back(absl::StrCat("SMTP ", PortName(port)), value);
  }
  rows.emplace_back("Messages accepted",
                    absl::StrCat(static_cast<uint64_t>(metrics_->Messages(MessageEnd::kAccepted).Value())));
  rows.emplace_back("Refusals remembered", absl::StrCat(refusals_->remembered()));
  return rows;
}

}  // namespace posthouse::ingress
