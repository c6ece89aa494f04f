#include "services/gateway/app.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/async/task.h"
#include "services/common/live_sessions/live_sessions.h"
#include "services/common/live_sessions/sessions_service.h"
#include "services/common/log/log.h"
#include "services/common/net/connection.h"
#include "services/common/net/drain.h"
#include "services/common/rpc/live_peers.h"
#include "services/common/runtime/mail_tls.h"
#include "services/common/status/status.h"
#include "services/gateway/change_watcher.h"
#include "services/gateway/imap/session.h"
#include "services/gateway/logins.h"
#include "services/gateway/mailbox_client.h"
#include "services/gateway/metrics.h"
#include "services/gateway/pop3/session.h"
#include "services/gateway/settings.h"

namespace posthouse::gateway {
namespace {

LoginOptions LoginOptionsOf(const Settings& settings) {
  LoginOptions options;
  options.max_sessions_per_account = settings.max_sessions_per_account;
  return options;
}

ImapSettings ImapSettingsOf(const Settings& settings) {
  ImapSettings imap;
  imap.idle_timeout = settings.idle_timeout;
  imap.login_timeout = settings.login_timeout;
  imap.poll_interval = settings.poll_interval;
  imap.max_append_bytes = settings.max_append_bytes;
  imap.max_line_bytes = settings.max_line_bytes;
  imap.allow_plaintext_auth = settings.allow_plaintext_auth;
  imap.hostname = settings.hostname;
  return imap;
}

std::shared_ptr<const pop3::Config> Pop3ConfigOf(const Settings& settings, std::shared_ptr<net::TlsServerContext> tls) {
  auto config = std::make_shared<pop3::Config>();
  config->idle_timeout = settings.pop3_timeout;
  config->login_timeout = settings.login_timeout;
  config->allow_plaintext_auth = settings.allow_plaintext_auth;
  config->tls = std::move(tls);
  return config;
}

}  // namespace

struct App::Parts {
  Parts(runtime::Runtime& rt, const Settings& settings, const rpc::Channels& channels,
        std::shared_ptr<net::TlsServerContext> certificates)
      : loop(rt.loops().at(0)),
        tls(std::move(certificates)),
        drain_spread(settings.drain_spread),
        peers(std::make_shared<rpc::LivePeers>(channels, rt.config(), "gateway")),
        mailbox(peers),
        metrics(rt.registry()),
        live(channels.directory, rt.loops().Next(), rt.registry(), "gateway"),
        logins(channels.directory, metrics, LoginOptionsOf(settings), &live),
        watch(mailbox, rt.loops().Next()),
        imap{mailbox, logins, metrics, watch, tls, ImapSettingsOf(settings)},
        pop3_config(Pop3ConfigOf(settings, tls)),
        pop3{mailbox, logins, metrics, drop_locks} {}

  void Collect();  // gauges, before each scrape

  net::EventLoop& loop;
  const std::shared_ptr<net::TlsServerContext> tls;  // null: no TLS
  std::optional<absl::Duration> drain_spread;        // main thread
  const std::shared_ptr<rpc::LivePeers> peers;
  MailboxClient mailbox;
  Metrics metrics;
  LiveSessions live;
  Logins logins;
  ChangeWatcher watch;
  ImapShared imap;
  pop3::DropLocks drop_locks;
  const std::shared_ptr<const pop3::Config> pop3_config;
  pop3::Services pop3;

  std::unique_ptr<net::Listener> imap_listener;
  std::unique_ptr<net::Listener> imaps_listener;
  std::unique_ptr<net::Listener> pop3_listener;
  std::unique_ptr<net::Listener> pop3s_listener;

  std::vector<net::Listener*> listeners() const {
    std::vector<net::Listener*> all;
    for (const auto* listener : {&imap_listener, &imaps_listener, &pop3_listener, &pop3s_listener}) {
      if (*listener != nullptr) all.push_back(listener->get());
    }
    return all;
  }
};

namespace {

template <typename Parts>
Task<void> ServeImap(std::shared_ptr<Parts> parts, std::unique_ptr<net::Connection> connection) {
  ImapSession session(parts->imap, std::move(connection));
  co_await session.Run();
}

template <typename Parts>
Task<void> ServePop3Session(std::shared_ptr<Parts> parts, std::unique_ptr<net::Connection> connection) {
  co_await pop3::ServePop3(std::move(connection), parts->pop3_config, parts->pop3);
}

// `tls`: the port speaks TLS from the start; without certificates it stays closed.
absl::Status Listen(runtime::Runtime& rt, absl::string_view key, const Port& port, bool tls,
                    std::shared_ptr<net::TlsServerContext> context, net::Listener::Serve serve,
                    std::unique_ptr<net::Listener>* listener) {
  if (!port.enabled || (tls && context == nullptr)) return absl::OkStatus();
  net::ListenerOptions options = port.listener;
  if (tls) options.implicit_tls = std::move(context);
  absl::StatusOr<std::unique_ptr<net::Listener>> started =
      net::Listener::Start(rt.loops(), std::move(options), std::move(serve));
  if (!started.ok()) return Annotate(started.status(), absl::StrCat("gateway.", key));
  *listener = *std::move(started);
  return absl::OkStatus();
}

uint16_t PortOf(const std::unique_ptr<net::Listener>& listener) { return listener == nullptr ? 0 : listener->port(); }

}  // namespace

App::App(runtime::Runtime& rt, std::shared_ptr<Parts> parts)
    : ServiceApp(rt, "gateway", CheckConfig), parts_(std::move(parts)) {}

absl::StatusOr<std::unique_ptr<App>> App::Create(runtime::Runtime& rt, rpc::Channels channels) {
  if (channels.directory == nullptr) return absl::FailedPreconditionError("peers.directory is missing");
  if (channels.mailbox.empty()) return absl::FailedPreconditionError("peers.mailbox is missing");
  PH_ASSIGN_OR_RETURN(const Settings settings, ReadSettings(rt.config()));
  PH_ASSIGN_OR_RETURN(std::shared_ptr<net::TlsServerContext> tls, runtime::LoadMailTls(rt.config()));
  if (tls == nullptr && !settings.allow_plaintext_auth) {
    LOG_EVENT(kWarning, "no_certificate")
        .Str("effect", "no client can log in: there is no TLS, and allow_plaintext_auth is false");
  }
  auto parts = std::make_shared<Parts>(rt, settings, channels, tls);
  auto app = std::unique_ptr<App>(new App(rt, parts));
  // The parts own the listener, so its callback must not own the parts.
  const std::weak_ptr<Parts> weak = parts;
  const auto imap = [weak](std::unique_ptr<net::Connection> connection) {
    return ServeImap(weak.lock(), std::move(connection));
  };
  const auto pop3 = [weak](std::unique_ptr<net::Connection> connection) {
    return ServePop3Session(weak.lock(), std::move(connection));
  };
  PH_RETURN_IF_ERROR(Listen(rt, "imap", settings.imap, false, tls, imap, &parts->imap_listener));
  PH_RETURN_IF_ERROR(Listen(rt, "imaps", settings.imaps, true, tls, imap, &parts->imaps_listener));
  PH_RETURN_IF_ERROR(Listen(rt, "pop3", settings.pop3, false, tls, pop3, &parts->pop3_listener));
  PH_RETURN_IF_ERROR(Listen(rt, "pop3s", settings.pop3s, true, tls, pop3, &parts->pop3s_listener));
  app->OnCollect([&parts = *parts] { parts.Collect(); });
  runtime::GrpcServices services;
  // A part of standalone is called by no administrator; standalone has one SessionsService for all parts.
  if (!rt.config().rpc().in_process_only()) services.push_back(NewSessionsService(app->runner(), {&parts->live}));
  PH_RETURN_IF_ERROR(app->Serve(std::move(services)));
  LOG_EVENT(kInfo, "gateway_started")
      .Int("imap_port", app->imap_port())
      .Int("imaps_port", app->imaps_port())
      .Int("pop3_port", app->pop3_port())
      .Int("pop3s_port", app->pop3s_port());
  return app;
}

absl::Status App::CheckConfig(const config::v1::Config& config) { return ReadSettings(config).status(); }

App::~App() { Stop(); }

absl::Status App::Health() {
  return parts_->listeners().empty() ? absl::FailedPreconditionError("no port is open") : absl::OkStatus();
}

absl::Status App::Reload(const config::v1::Config& config) {
  PH_ASSIGN_OR_RETURN(const Settings settings, ReadSettings(config));
  if (parts_->tls != nullptr) {
    PH_ASSIGN_OR_RETURN(const bool changed, parts_->tls->ReloadIfChanged());
    if (changed) LOG_EVENT(kInfo, "certificates_reloaded").Str("not_after", absl::FormatTime(parts_->tls->NotAfter()));
  }
  PH_RETURN_IF_ERROR(parts_->peers->Reload(config));
  parts_->drain_spread = settings.drain_spread;
  return absl::OkStatus();
}

void App::FinishDrain(absl::Time deadline) {
  const absl::Duration grace = runtime::TimeLeft(deadline);
  net::DrainAll(parts_->loop, name(), parts_->listeners(), grace, parts_->drain_spread.value_or(grace / 2));
  parts_->watch.Stop();
  parts_->live.Stop();
}

void App::Parts::Collect() {
  size_t port = 0;
  for (const auto* listener : {&imap_listener, &imaps_listener, &pop3_listener, &pop3s_listener}) {
    if (*listener != nullptr) {
      const net::ListenerStats stats = (*listener)->stats();
      metrics.Connections(port, stats.open,
                          stats.refused_total + stats.refused_per_address + stats.bad_proxy + stats.failed_handshakes);
    }
    ++port;
  }
  if (tls == nullptr) return;
  metrics.certificate_not_after.Set(static_cast<double>(absl::ToUnixSeconds(tls->NotAfter())));
  metrics.certificate_reload_failures.RaiseTo(static_cast<double>(tls->ReloadFailures()));
}

std::vector<std::pair<std::string, std::string>> App::Status() {
  std::vector<std::pair<std::string, std::string>> rows;
  const auto port = [&rows](absl::string_view name, const std::unique_ptr<net::Listener>& listener) {
    if (listener == nullptr) return;
    const net::ListenerStats stats = listener->stats();
    rows.emplace_back(std::string(name),
                      absl::StrCat("port ", listener->port(), ", ", stats.open, " open, ", stats.accepted,
                                   " accepted, ", stats.refused_total + stats.refused_per_address, " refused"));
  };
  port("imap", parts_->imap_listener);
  port("imaps", parts_->imaps_listener);
  port("pop3", parts_->pop3_listener);
  port("pop3s", parts_->pop3s_listener);
  rows.emplace_back("change streams up", absl::StrCat(parts_->watch.connected()));
  if (parts_->tls != nullptr) rows.emplace_back("certificate valid until", absl::FormatTime(parts_->tls->NotAfter()));
  return rows;
}

LiveSessions& App::live() { return parts_->live; }
uint16_t App::imap_port() const { return PortOf(parts_->imap_listener); }
uint16_t App::imaps_port() const { return PortOf(parts_->imaps_listener); }
uint16_t App::pop3_port() const { return PortOf(parts_->pop3_listener); }
uint16_t App::pop3s_port() const { return PortOf(parts_->pop3s_listener); }

}  // namespace posthouse::gateway
