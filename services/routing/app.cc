#include "services/routing/app.h"

#include <grpcpp/grpcpp.h>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "posthouse/config/v1/config.pb.h"
#include "posthouse/routing/v1/routing.grpc.pb.h"
#include "services/common/log/log.h"
#include "services/common/rpc/streaming.h"
#include "services/common/status/status.h"
#include "services/directory/client.h"
#include "services/routing/dns/caching_resolver.h"
#include "services/routing/dns/cares_resolver.h"
#include "services/routing/metrics.h"
#include "services/routing/mx_lookup.h"
#include "services/routing/recipient_resolver.h"
#include "services/routing/settings.h"

namespace posthouse::routing {
namespace {

constexpr absl::Duration kDirectoryDeadline = absl::Seconds(2);

absl::Time Now() { return absl::Now(); }

// Evenly from [0, n), for many threads.
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

class RoutingRpc final : public v1::RoutingService::CallbackService {
 public:
  RoutingRpc(rpc::ServerRunner& runner, RecipientResolver& recipients, MxLookup& destinations, Metrics& metrics)
      : runner_(runner), recipients_(recipients), destinations_(destinations), metrics_(metrics) {}

  grpc::ServerUnaryReactor* ResolveRecipient(grpc::CallbackServerContext* context,
                                             const v1::ResolveRecipientRequest* request,
                                             v1::ResolveRecipientResponse* response) override {
    return rpc::Unary(runner_, context, request, response, [this](auto& call) { return DoRecipient(call); });
  }
  grpc::ServerUnaryReactor* ResolveDestination(grpc::CallbackServerContext* context,
                                               const v1::ResolveDestinationRequest* request,
                                               v1::ResolveDestinationResponse* response) override {
    return rpc::Unary(runner_, context, request, response, [this](auto& call) { return DoDestination(call); });
  }

 private:
  Task<absl::Status> DoRecipient(rpc::UnaryCall<v1::ResolveRecipientRequest, v1::ResolveRecipientResponse>& call) {
    call.response() = co_await recipients_.Resolve(call.request(), call.info().trace.trace_id);
    metrics_.Recipient(call.response().outcome());
    co_return absl::OkStatus();
  }
  Task<absl::Status> DoDestination(
      rpc::UnaryCall<v1::ResolveDestinationRequest, v1::ResolveDestinationResponse>& call) {
    call.response() = co_await destinations_.Resolve(call.request().domain());
    metrics_.Destination(call.response().outcome());
    if (call.response().outcome() == v1::ResolveDestinationResponse::OUTCOME_TEMPORARY) {
      LOG_EVENT(kInfo, "destination_unknown")
          .Str("domain", call.request().domain())
          .Str("detail", call.response().detail())
          .Trace(call.info().trace.trace_id);
    }
    co_return absl::OkStatus();
  }

  rpc::ServerRunner& runner_;
  RecipientResolver& recipients_;
  MxLookup& destinations_;
  Metrics& metrics_;
};

}  // namespace

// In the order of their making; destroyed in the opposite one.
struct App::Parts {
  Parts(runtime::Runtime& rt, Settings s, std::unique_ptr<dns::CaresResolver> cares, const rpc::Channels& channels)
      : settings(std::move(s)),
        metrics(rt.registry()),
        directory(channels.directory),
        resolver(std::move(cares)),
        dns(*resolver, settings.dns_cache, Now,
            [this](dns::QueryResult r, absl::Duration took) { metrics.Dns(r, took); }),
        destinations(dns, {settings.hostname, settings.smtp_port, settings.ipv6, settings.transports}, SharedRandom()),
        recipients(
            [this](std::string address, std::string trace) { return LookUp(std::move(address), std::move(trace)); },
            settings.recipient_cache_entries, Now,
            [this](RecipientResolver::Source source) { metrics.RecipientSource(source); }),
        runner(rt.loops(), rt.registry()),
        service(runner, recipients, destinations, metrics) {}

  // Questions to the DNS may go on without a caller: they end while all is here.
  ~Parts() { resolver->Stop(); }

  // A directory that restarts answers the second time.
  Task<absl::StatusOr<directory::v1::LookupAddressResponse>> LookUp(std::string address, std::string trace_id) {
    auto response = co_await directory.LookupAddress(address, kDirectoryDeadline, trace_id);
    if (absl::IsUnavailable(response.status())) {
      response = co_await directory.LookupAddress(address, kDirectoryDeadline, trace_id);
    }
    co_return response;
  }

  const Settings settings;
  Metrics metrics;
  directory::Client directory;
  const std::unique_ptr<dns::CaresResolver> resolver;
  dns::CachingResolver dns;
  MxLookup destinations;
  RecipientResolver recipients;
  rpc::ServerRunner runner;
  RoutingRpc service;
  std::unique_ptr<directory::ChangeWatcher> watcher;
  std::unique_ptr<rpc::RpcServer> server;
};

App::App(std::shared_ptr<Parts> parts) : parts_(std::move(parts)) {}

App::~App() {
  parts_->server.reset();
  parts_->watcher.reset();
}

absl::StatusOr<std::unique_ptr<App>> App::Create(runtime::Runtime& rt, rpc::Channels channels) {
  if (channels.directory == nullptr) return absl::InvalidArgumentError("peers.directory is missing: routing asks it");
  PH_ASSIGN_OR_RETURN(Settings settings, ReadSettings(rt.config()));
  PH_ASSIGN_OR_RETURN(std::unique_ptr<dns::CaresResolver> cares, dns::CaresResolver::Create(settings.dns));
  const auto parts = std::make_shared<Parts>(rt, std::move(settings), std::move(cares), channels);
  Parts* const raw = parts.get();  // the watcher is stopped before its parts go
  parts->watcher = std::make_unique<directory::ChangeWatcher>(
      parts->directory, rt.loops().Next(),
      directory::ChangeWatcher::Callbacks{
          [raw](uint64_t revision, const directory::v1::WatchResponse& r) { raw->recipients.OnChanged(revision, r); },
          [raw] { raw->recipients.OnLost(); }, [raw](uint64_t) { raw->recipients.OnAlive(); }});
  const std::weak_ptr<Parts> weak = parts;
  rt.registry().OnCollect([weak] {
    const auto live = weak.lock();
    if (live == nullptr) return;
    live->metrics.CacheSizes(live->recipients.cached(), live->dns.size());
    live->metrics.DirectoryStream(live->recipients.followed());
  });
  PH_ASSIGN_OR_RETURN(parts->server, rpc::RpcServer::Start(runtime::RpcOptions(rt.config(), "routing"),
                                                           {&parts->service}, rt.registry()));
  parts->server->SetServing(true);
  return std::unique_ptr<App>(new App(parts));
}

// Ready without the directory: what it cached still answers, the rest is temporary.
absl::Status App::Ready() { return absl::OkStatus(); }

absl::Status App::CheckConfig(const config::v1::Config& config) { return ReadSettings(config).status(); }

// Nothing of routing's changes without a restart; a bad config is refused all the same.
absl::Status App::Reload(const config::v1::Config& config) { return CheckConfig(config); }

void App::Drain(absl::Duration grace) {
  parts_->runner.BeginDrain();
  parts_->server->Shutdown(grace);
  parts_->watcher->Stop();
}

std::vector<std::pair<std::string, std::string>> App::Status() {
  return {{"directory's change stream", parts_->recipients.followed() ? "up" : "down"},
          {"recipients cached", absl::StrCat(parts_->recipients.cached())},
          {"DNS answers cached", absl::StrCat(parts_->dns.size())},
          {"DNS servers",
           parts_->settings.dns.servers.empty() ? "of the system" : absl::StrJoin(parts_->settings.dns.servers, ", ")},
          {"transports", absl::StrCat(parts_->settings.transports.size())}};
}

rpc::RpcServer& App::rpc() { return *parts_->server; }

std::vector<grpc::Service*> App::services() { return {&parts_->service}; }

}  // namespace posthouse::routing
