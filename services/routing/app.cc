#include "services/routing/app.h"

#include <grpcpp/grpcpp.h>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "posthouse/config/v1/config.pb.h"
#include "posthouse/directory/v1/directory.grpc.pb.h"
#include "services/common/rpc/client.h"
#include "services/common/rpc/directory_changes.h"
#include "services/common/status/status.h"
#include "services/routing/dns/caching_resolver.h"
#include "services/routing/dns/cares_resolver.h"
#include "services/routing/grpc_service.h"
#include "services/routing/local_network.h"
#include "services/routing/metrics.h"
#include "services/routing/mx_lookup.h"
#include "services/routing/recipient_resolver.h"
#include "services/routing/settings.h"

namespace posthouse::routing {
namespace {

constexpr absl::Duration kDirectoryDeadline = absl::Seconds(2);

absl::Time Now() { return absl::Now(); }

// Uniform in [0, n). The function may be called by many threads.
MxLookup::Random SharedRandom() {
  struct State {
    absl::Mutex mutex;
    absl::BitGen bits ABSL_GUARDED_BY(mutex);
  };
  return [state = std::make_shared<State>()](size_t n) {
    absl::MutexLock lock(&state->mutex);
    return absl::Uniform<size_t>(state->bits, 0, n);
  };
}

}  // namespace

// In the order of construction.
struct App::Parts {
  Parts(runtime::Runtime& rt, Settings s, std::unique_ptr<dns::CaresResolver> cares, const rpc::Channels& channels)
      : settings(std::move(s)),
        metrics(rt.registry()),
        directory(directory::v1::DirectoryService::NewStub(channels.directory)),
        resolver(std::move(cares)),
        dns(*resolver, settings.dns_cache, Now,
            [this](dns::QueryResult r, absl::Duration took) { metrics.Dns(r, took); }),
        network(settings.own_addresses, settings.listeners),
        destinations(dns, network,
                     {settings.hostname, settings.smtp_port, settings.ipv6, settings.transports, settings.destinations,
                      settings.allow_private_literals},
                     SharedRandom()),
        recipients(
            [this](std::string address, std::string trace) { return LookUp(std::move(address), std::move(trace)); },
            settings.recipient_cache_entries, Now,
            [this](RecipientResolver::Source source) { metrics.RecipientSource(source); },
            {settings.hostname, settings.postmaster, settings.allow_private_literals, settings.destinations}),
        watcher(
            channels.directory, rt.loops().Next(),
            {[this](uint64_t revision, const directory::v1::WatchResponse& r) { recipients.OnChanged(revision, r); },
             [this] { recipients.OnLost(); }, [this](uint64_t) { recipients.OnAlive(); }}) {}

  // DNS queries may run on without a caller: end them while all parts live.
  ~Parts() {
    watcher.Stop();
    resolver->Stop();
  }

  // Tries twice: a directory that restarts answers the second time.
  Task<absl::StatusOr<directory::v1::LookupAddressResponse>> LookUp(std::string address, std::string traceparent) {
    directory::v1::LookupAddressRequest request;
    request.set_address(std::move(address));
    const auto start = [this](auto* context, auto* req, auto* resp, auto done) {
      directory->async()->LookupAddress(context, req, resp, std::move(done));
    };
    using Response = directory::v1::LookupAddressResponse;
    const rpc::CallOptions options = rpc::OptionsFor(kDirectoryDeadline, traceparent);
    absl::StatusOr<Response> response = co_await rpc::Call<Response>(options, request, start);
    if (absl::IsUnavailable(response.status())) {
      response = co_await rpc::Call<Response>(options, std::move(request), start);
    }
    co_return response;
  }

  bool UsesIpv6() { return settings.ipv6.value_or(network.HasIpv6Route()); }

  const Settings settings;
  Metrics metrics;
  const std::unique_ptr<directory::v1::DirectoryService::Stub> directory;
  const std::unique_ptr<dns::CaresResolver> resolver;
  dns::CachingResolver dns;
  SystemNetwork network;
  MxLookup destinations;
  RecipientResolver recipients;
  rpc::ChangeWatcher watcher;
};

App::App(runtime::Runtime& rt) : ServiceApp(rt, "routing", CheckConfig) {}

App::~App() { Stop(); }

absl::StatusOr<std::unique_ptr<App>> App::Create(runtime::Runtime& rt, rpc::Channels channels) {
  if (channels.directory == nullptr) return absl::InvalidArgumentError("peers.directory: required by routing");
  PH_ASSIGN_OR_RETURN(Settings settings, ReadSettings(rt.config()));
  settings.dns.observer = DnsAnswerCounter(rt.registry());
  PH_ASSIGN_OR_RETURN(std::unique_ptr<dns::CaresResolver> cares, dns::CaresResolver::Create(settings.dns));
  std::unique_ptr<App> app(new App(rt));
  app->parts_ = std::make_unique<Parts>(rt, std::move(settings), std::move(cares), channels);
  Parts& parts = *app->parts_;
  app->OnCollect([&parts] {
    parts.metrics.CacheSizes(parts.recipients.cached(), parts.dns.size());
    parts.metrics.DirectoryStream(parts.recipients.followed());
    parts.metrics.Ipv6(parts.UsesIpv6());
  });
  PH_RETURN_IF_ERROR(app->Serve(NewGrpcServices(app->runner(), parts.recipients, parts.destinations, parts.metrics)));
  return app;
}

absl::Status App::CheckConfig(const config::v1::Config& config) { return ReadSettings(config).status(); }

void App::FinishDrain(absl::Time /*deadline*/) {
  if (parts_ != nullptr) parts_->watcher.Stop();
}

std::vector<std::pair<std::string, std::string>> App::Status() {
  return {{"directory's change stream", parts_->recipients.followed() ? "up" : "down"},
          {"recipients cached", absl::StrCat(parts_->recipients.cached())},
          {"DNS answers cached", absl::StrCat(parts_->dns.size())},
          {"DNS servers",
           parts_->settings.dns.servers.empty() ? "of the system" : absl::StrJoin(parts_->settings.dns.servers, ", ")},
          {"IPv6", absl::StrCat(parts_->UsesIpv6() ? "used" : "not used",
                                parts_->settings.ipv6.has_value() ? " (configured)" : " (by the route)")},
          {"transports", absl::StrCat(parts_->settings.transports.size())}};
}

}  // namespace posthouse::routing
