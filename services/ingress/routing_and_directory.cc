#include "services/ingress/routing_and_directory.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "posthouse/directory/v1/directory.pb.h"
#include "posthouse/routing/v1/routing.grpc.pb.h"
#include "services/common/async/when_all.h"
#include "services/common/log/log.h"
#include "services/common/rpc/client.h"
#include "services/common/rpc/directory_changes.h"
#include "services/common/time/calm_clock.h"
#include "services/common/time/proto_time.h"
#include "services/ingress/recipient_cache.h"
#include "services/ingress/usage_client.h"
#include "services/mail_formats/address/address.h"

namespace posthouse::ingress {
namespace {

namespace dir = ::posthouse::directory::v1;
namespace route = ::posthouse::routing::v1;
using Answer = route::ResolveRecipientResponse;

constexpr absl::Duration kResolve = absl::Seconds(20);
constexpr absl::Duration kMaxTtl = absl::Minutes(5);
// One of more mailboxes will have room; the queue reports the others to the sender.
constexpr int kMostMailboxesAsked = 32;

Resolution::Outcome OutcomeOf(Answer::Outcome outcome) {
  switch (outcome) {
    case Answer::OUTCOME_ACCEPT:
      return Resolution::Outcome::kAccept;
    case Answer::OUTCOME_NO_SUCH_MAILBOX:
      return Resolution::Outcome::kNoSuchMailbox;
    case Answer::OUTCOME_BAD_ADDRESS:
      return Resolution::Outcome::kBadAddress;
    case Answer::OUTCOME_RELAY_DENIED:
      return Resolution::Outcome::kRelayDenied;
    case Answer::OUTCOME_SUSPENDED:
      return Resolution::Outcome::kSuspended;
    case Answer::OUTCOME_TOO_DEEP:
      return Resolution::Outcome::kTooDeep;
    case Answer::OUTCOME_TOO_MANY:
      return Resolution::Outcome::kTooMany;
    default:
      return Resolution::Outcome::kTemporary;
  }
}

Resolution FromAnswer(std::shared_ptr<const Answer> answer) {
  Resolution resolution;
  resolution.outcome = OutcomeOf(answer->outcome());
  if (resolution.outcome != Resolution::Outcome::kAccept) return resolution;
  // "Accepted" without a recipient is a malformed answer, so the failure is temporary.
  if (answer->recipients().empty()) resolution.outcome = Resolution::Outcome::kTemporary;
  for (const route::Recipient& recipient : answer->recipients()) {
    if (!recipient.has_local() || resolution.places.mailboxes.size() >= kMostMailboxesAsked) {
      resolution.places.others = true;
      continue;
    }
    resolution.places.mailboxes.push_back({.max_message_bytes = recipient.local().max_message_bytes(), .usage = {}});
  }
  resolution.recipients = static_cast<uint32_t>(answer->recipients_size());
  if (answer->recipients_size() == 1 && answer->recipients(0).has_local()) {
    resolution.account_id = AccountId(answer->recipients(0).local().account().account_id());
    resolution.detail = answer->recipients(0).local().detail();
  }
  resolution.answer = std::move(answer);
  return resolution;
}

class RoutingAndDirectoryClient final : public RoutingAndDirectory {
 public:
  RoutingAndDirectoryClient(const std::shared_ptr<const rpc::LivePeers>& peers, size_t cache_entries,
                            Executor& executor)
      : logins_(peers->Get()->directory), usage_(peers), cache_(cache_entries) {
    const std::shared_ptr<const rpc::Channels> channels = peers->Get();
    if (channels->routing != nullptr) routing_ = route::RoutingService::NewStub(channels->routing);
    if (channels->directory == nullptr) return;
    changes_ = std::make_unique<rpc::ChangeWatcher>(
        channels->directory, executor,
        rpc::ChangeWatcher::Callbacks{
            .changed = [this](uint64_t, const dir::WatchResponse& response) { OnChanged(response); },
            .lost = [this] { cache_.ForgetAll(absl::Now()); },
            .alive = [this](uint64_t) { following_ = true; },
            .interrupted = [this] { following_ = false; }});
  }

  Task<Resolution> Resolve(rpc::TraceContext trace, std::string address, bool may_relay) override {
    Resolution resolution = co_await Ask(trace, std::move(address), may_relay);
    if (resolution.places.others || resolution.places.mailboxes.empty() || stopped_) co_return resolution;
    std::vector<Task<std::optional<MailboxUsage>>> questions;
    for (const route::Recipient& recipient : resolution.answer->recipients()) {
      questions.push_back(usage_.Of(trace, recipient.local().account()));
    }
    std::vector<std::optional<MailboxUsage>> answers = co_await WhenAll(std::move(questions));
    for (size_t i = 0; i < answers.size(); ++i) resolution.places.mailboxes[i].usage = answers[i];
    co_return resolution;
  }

  void Accepted(const Envelope& envelope, uint64_t bytes) override {
    for (const Recipient& recipient : envelope.recipients) {
      if (recipient.places.others || recipient.places.mailboxes.empty()) continue;  // no store was asked
      for (const route::Recipient& resolved : recipient.answer->recipients()) {
        usage_.Accepted(resolved.local().account(), bytes);
      }
    }
  }

  Task<Resolution> Ask(rpc::TraceContext trace, std::string address, bool may_relay) {
    const absl::Time asked = absl::Now(), current_at = MonotonicNow();
    const bool following =
        following_;  // before the look at the cache: a stream that ends then may have said too little
    std::optional<Resolution> cached = cache_.Find(address, may_relay, asked);
    if (cached.has_value()) {
      if (following) cached->current_at = current_at;
      co_return *std::move(cached);
    }
    if (routing_ == nullptr || stopped_) co_return Resolution();
    route::ResolveRecipientRequest request;
    request.set_address(address);
    request.set_may_relay(may_relay);
    rpc::CallOptions options;
    options.deadline = kResolve;
    options.trace = trace;
    const auto start = [stub = routing_.get()](auto* context, auto* req, auto* resp, auto done) {
      stub->async()->ResolveRecipient(context, req, resp, std::move(done));
    };
    absl::StatusOr<Answer> answer = co_await rpc::Call<Answer>(options, std::move(request), start);
    if (!answer.ok()) {
      // When routing is down every RCPT fails, so the log lines are limited.
      int64_t dropped = 0;
      if (log_limit_.Allow(&dropped)) {
        LOG_EVENT(kWarning, "resolve_failed").Err(answer.status()).Trace(trace.trace_id).Int("not_logged", dropped);
      }
      co_return Resolution();
    }
    const absl::Duration ttl = FromProto(answer->ttl());
    Resolution resolution = FromAnswer(std::make_shared<const Answer>(*std::move(answer)));
    if (ttl > absl::ZeroDuration() && resolution.outcome != Resolution::Outcome::kTemporary) {
      // The entry is as old as the question: a change while the answer was on its way may not be in it.
      cache_.Put(address, may_relay, resolution, asked, absl::Now() + std::min(ttl, kMaxTtl));
    }
    resolution.current_at = current_at;
    co_return resolution;
  }

  Task<absl::StatusOr<Login>> Authenticate(rpc::PasswordLogin login) override {
    if (stopped_) co_return absl::UnavailableError("shutting down");
    absl::StatusOr<dir::AuthenticateResponse> response = co_await logins_.Check(std::move(login));
    if (!response.ok()) co_return response.status();
    Login result;
    result.address = response->address();
    result.tenant = TenantId(response->account().tenant());
    result.account_id = AccountId(response->account().account_id());
    result.home = Home(response->account().home());
    result.placement_epoch = response->account().placement_epoch();
    result.credential_revision = response->credential_revision();
    result.directory_revision = response->revision();
    const auto& senders = response->may_send_as();
    result.may_send_as = NormalizeSenders(std::vector<std::string>(senders.begin(), senders.end()));
    co_return result;
  }

  void Stop() override {
    stopped_ = true;
    if (changes_ != nullptr) changes_->Stop();
  }

 private:
  void OnChanged(const dir::WatchResponse& response) {
    for (const dir::Change& change : response.changes()) {
      switch (change.kind()) {
        case dir::Change::KIND_CREDENTIAL:
          break;
        case dir::Change::KIND_ACCOUNT:
          cache_.Forget(AccountId(change.account_id()), absl::Now());
          break;
        default:
          cache_.ForgetAll(absl::Now());
      }
    }
  }

  std::atomic<bool> stopped_{false};
  std::atomic<bool> following_{false};  // changes come as they happen: what the cache has is current
  std::unique_ptr<route::RoutingService::Stub> routing_;
  rpc::LoginChecks logins_;
  UsageClient usage_;
  RecipientCache cache_;
  log::RateLimit log_limit_{10};
  std::unique_ptr<rpc::ChangeWatcher> changes_;  // the last member: its callbacks use the others; null: no directory
};

}  // namespace

std::vector<std::string> NormalizeSenders(absl::Span<const std::string> addresses) {
  std::vector<std::string> senders;
  for (const std::string& address : addresses) {
    absl::StatusOr<std::string> normal = NormalizeLocalAddress(address);
    if (normal.ok()) senders.push_back(*std::move(normal));
  }
  return senders;
}

std::unique_ptr<RoutingAndDirectory> RoutingAndDirectory::Create(const std::shared_ptr<const rpc::LivePeers>& peers,
                                                                 size_t cache_entries, Executor& executor) {
  return std::make_unique<RoutingAndDirectoryClient>(peers, cache_entries, executor);
}

}  // namespace posthouse::ingress
