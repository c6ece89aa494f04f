#include "services/queue/delivery/routing_client.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "posthouse/routing/v1/routing.grpc.pb.h"
#include "services/common/rpc/client.h"
#include "services/common/status/status.h"
#include "services/queue/spool/item_record.h"

namespace posthouse::queue {
namespace {

namespace rv1 = posthouse::routing::v1;

constexpr size_t kMaxCached = 10000;
constexpr absl::Duration kMaxTtl = absl::Minutes(5);
constexpr absl::Duration kShortTtl = absl::Seconds(5);
constexpr absl::Duration kDeadline = absl::Seconds(30);  // three tries of DNS take 21 s
// The earlier answer is there to go on with.
constexpr absl::Duration kLocalDeadline = absl::Seconds(5);

class RoutingClient final : public Routing {
 public:
  RoutingClient(std::shared_ptr<grpc::Channel> channel, Clock clock)
      : stub_(rv1::RoutingService::NewStub(std::move(channel))), clock_(std::move(clock)) {}

  Task<absl::StatusOr<std::shared_ptr<const rv1::ResolveDestinationResponse>>> ResolveDestination(
      std::string domain, std::string traceparent) override {
    if (std::optional<DestinationAnswer> cached = Cached(domain); cached.has_value()) co_return *std::move(cached);
    rv1::ResolveDestinationRequest request;
    request.set_domain(domain);
    const rpc::CallOptions options = rpc::OptionsFor(kDeadline, traceparent);
    absl::StatusOr<rv1::ResolveDestinationResponse> response = co_await rpc::Call<rv1::ResolveDestinationResponse>(
        options, std::move(request), [this](auto* context, auto* req, auto* resp, auto done) {
          stub_->async()->ResolveDestination(context, req, resp, std::move(done));
        });
    DestinationAnswer answer = absl::UnknownError("no answer");
    absl::Duration ttl = kShortTtl;
    if (response.ok()) {
      if (response->outcome() == rv1::ResolveDestinationResponse::OUTCOME_HOSTS) {
        ttl = std::min(std::max(FromProto(response->ttl()), kShortTtl), kMaxTtl);
      }
      answer = std::make_shared<const rv1::ResolveDestinationResponse>(*std::move(response));
    } else {
      answer = response.status();
    }
    absl::MutexLock lock(&mutex_);
    if (cache_.size() >= kMaxCached) cache_.clear();  // it fills again with the domains in use
    cache_[domain] = {clock_() + ttl, answer};
    co_return answer;
  }

  Task<absl::StatusOr<rv1::ResolveRecipientResponse>> ResolveRecipient(std::string address,
                                                                       std::string traceparent) override {
    return AskForRecipient(std::move(address), /*may_relay=*/true, rpc::OptionsFor(kDeadline, traceparent));
  }
  Task<absl::StatusOr<rv1::ResolveRecipientResponse>> ResolveLocal(std::string address,
                                                                   std::string traceparent) override {
    return AskForRecipient(std::move(address), /*may_relay=*/false, rpc::OptionsFor(kLocalDeadline, traceparent));
  }

 private:
  Task<absl::StatusOr<rv1::ResolveRecipientResponse>> AskForRecipient(std::string address, bool may_relay,
                                                                      rpc::CallOptions options) {
    rv1::ResolveRecipientRequest request;
    request.set_address(std::move(address));
    request.set_may_relay(may_relay);
    co_return co_await rpc::Call<rv1::ResolveRecipientResponse>(
        options, std::move(request), [this](auto* context, auto* req, auto* resp, auto done) {
          stub_->async()->ResolveRecipient(context, req, resp, std::move(done));
        });
  }

  using DestinationAnswer = absl::StatusOr<std::shared_ptr<const rv1::ResolveDestinationResponse>>;
  struct Entry {
    absl::Time until;
    DestinationAnswer answer;
  };
  std::optional<DestinationAnswer> Cached(const std::string& domain) {
    absl::MutexLock lock(&mutex_);
    const auto it = cache_.find(domain);
    if (it == cache_.end() || it->second.until <= clock_()) return std::nullopt;
    return it->second.answer;
  }

  const std::unique_ptr<rv1::RoutingService::Stub> stub_;
  const Clock clock_;
  absl::Mutex mutex_;
  absl::flat_hash_map<std::string, Entry> cache_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

std::unique_ptr<Routing> NewRouting(std::shared_ptr<grpc::Channel> channel, Clock clock) {
  return std::make_unique<RoutingClient>(std::move(channel), std::move(clock));
}

}  // namespace posthouse::queue
