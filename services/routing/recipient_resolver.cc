#include "services/routing/recipient_resolver.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "services/common/ip_address/ip_address.h"
#include "services/common/time/proto_time.h"
#include "services/mail_formats/address/address.h"

namespace posthouse::routing {
namespace {

using directory::v1::LookupAddressResponse;
using Response = v1::ResolveRecipientResponse;

// The age limit of an answer while the stream is up, in case an invalidation was lost.
constexpr absl::Duration kMaxAge = absl::Hours(1);
// The stream counts as up for this time after each message (the directory sends one every 10 s).
constexpr absl::Duration kAliveFor = absl::Seconds(45);
constexpr size_t kMaxChangedNames = 100000;
// The caller has no invalidation: its TTL is short, and zero for a rejection.
constexpr int64_t kCallerTtlSeconds = 10;

Response Outcome(Response::Outcome outcome, std::string detail) {
  Response response;
  response.set_outcome(outcome);
  response.set_detail(std::move(detail));
  return response;
}

void AddRemote(Response* response, const Address& address) {
  v1::Recipient* recipient = response->add_recipients();
  recipient->set_address(address.ToString());
  recipient->mutable_remote()->set_domain(address.domain);
}

Response FromTargets(const LookupAddressResponse& found) {
  Response response;
  for (const LookupAddressResponse::Target& target : found.targets()) {
    if (!target.has_account()) {
      const absl::StatusOr<Address> address = ParseAddress(target.address());
      if (address.ok()) AddRemote(&response, *address);
      continue;
    }
    v1::Recipient* recipient = response.add_recipients();
    recipient->set_address(target.address());
    v1::Recipient::Local* local = recipient->mutable_local();
    *local->mutable_account() = target.account();
    local->set_detail(target.detail());
    local->set_max_message_bytes(target.limits().message_bytes());
  }
  response.set_outcome(response.recipients().empty() ? Response::OUTCOME_TEMPORARY : Response::OUTCOME_ACCEPT);
  return response;
}

// Else a client that may relay could make this system talk to services inside its network.
bool IsPrivateLiteral(absl::string_view domain, const DestinationNetworks& destinations) {
  if (!absl::ConsumePrefix(&domain, "[") || !absl::ConsumeSuffix(&domain, "]")) return false;
  if (absl::StartsWithIgnoreCase(domain, "IPv6:")) domain.remove_prefix(5);
  return !IsGlobal(domain) && !destinations.IsListed(domain);
}

// `address` is null for a bare postmaster.
Response FromLookup(const LookupAddressResponse& found, const Address* address, bool may_relay,
                    const RecipientResolver::Options& options) {
  Response response;
  switch (found.outcome()) {
    case LookupAddressResponse::OUTCOME_FOUND:
      response = FromTargets(found);
      break;
    case LookupAddressResponse::OUTCOME_NO_SUCH_ADDRESS:
      response = Outcome(Response::OUTCOME_NO_SUCH_MAILBOX, "no such mailbox");
      break;
    case LookupAddressResponse::OUTCOME_NOT_LOCAL:
      if (address == nullptr) return Outcome(Response::OUTCOME_NO_SUCH_MAILBOX, "no such mailbox");
      if (!may_relay) return Outcome(Response::OUTCOME_RELAY_DENIED, "the domain is not ours");
      if (!options.allow_private_literals && IsPrivateLiteral(address->domain, options.destinations)) {
        return Outcome(Response::OUTCOME_RELAY_DENIED, "the address literal is not of the Internet");
      }
      response.set_outcome(Response::OUTCOME_ACCEPT);
      AddRemote(&response, *address);
      break;
    case LookupAddressResponse::OUTCOME_SUSPENDED:
      response = Outcome(Response::OUTCOME_SUSPENDED, "the mailbox takes no mail now");
      break;
    case LookupAddressResponse::OUTCOME_TOO_DEEP:
      response = Outcome(Response::OUTCOME_TOO_DEEP, found.detail());
      break;
    case LookupAddressResponse::OUTCOME_TOO_MANY:
      response = Outcome(Response::OUTCOME_TOO_MANY, found.detail());
      break;
    default:
      response = Outcome(Response::OUTCOME_TEMPORARY, "the directory's answer is not understood");
      break;
  }
  response.set_tenant(found.tenant());
  if (response.outcome() == Response::OUTCOME_ACCEPT) response.mutable_ttl()->set_seconds(kCallerTtlSeconds);
  return response;
}

}  // namespace

RecipientResolver::RecipientResolver(Lookup lookup, size_t cache_entries, Clock clock, Observer observer,
                                     Options options)
    : lookup_(std::move(lookup)),
      clock_(std::move(clock)),
      observer_(std::move(observer)),
      options_(std::move(options)),
      cache_(cache_entries, kMaxAge) {}

Task<Response> RecipientResolver::Resolve(v1::ResolveRecipientRequest request, std::string traceparent) {
  std::string key, text;
  std::optional<Address> address;
  if (absl::AsciiStrToLower(request.address()) == "postmaster") {
    key = text = "postmaster";  // RFC 5321 §4.5.1
  } else {
    absl::StatusOr<Address> parsed = ParseAddress(request.address());
    if (!parsed.ok()) co_return Outcome(Response::OUTCOME_BAD_ADDRESS, std::string(parsed.status().message()));
    address = *std::move(parsed);
    text = address->ToString();
    key = address->Folded().ToString();
  }
  absl::StatusOr<LookupAddressResponse> found = co_await Ask(key, text, traceparent);
  // RFC 5321 §4.5.1: reports come from MAILER-DAEMON at this host's name, and people reply.
  if (found.ok() && address.has_value() && IsPostmasterOfHost(*address) &&
      (found->outcome() == LookupAddressResponse::OUTCOME_NOT_LOCAL ||
       found->outcome() == LookupAddressResponse::OUTCOME_NO_SUCH_ADDRESS)) {
    key = text = options_.postmaster.empty() ? "postmaster" : options_.postmaster;
    found = co_await Ask(std::move(key), std::move(text), std::move(traceparent));
  }
  if (!found.ok()) {
    if (absl::IsInvalidArgument(found.status())) {
      co_return Outcome(Response::OUTCOME_BAD_ADDRESS, std::string(found.status().message()));
    }
    co_return Outcome(Response::OUTCOME_TEMPORARY, absl::StrCat("directory: ", found.status().message()));
  }
  co_return FromLookup(*found, address ? &*address : nullptr, request.may_relay(), options_);
}

bool RecipientResolver::IsPostmasterOfHost(const Address& address) const {
  const std::string local = absl::AsciiStrToLower(address.local);
  return address.domain == options_.hostname && (local == "postmaster" || local == "mailer-daemon");
}

Task<absl::StatusOr<LookupAddressResponse>> RecipientResolver::Ask(std::string key, std::string address,
                                                                   std::string traceparent) {
  // A foreign domain is one entry, however many of its addresses are tried.
  const size_t at = key.rfind('@');
  const std::string domain_key = at == std::string::npos ? key : key.substr(at);
  std::optional<Cache::Hit> hit = cache_.Get(domain_key, clock_());
  if (!hit) hit = cache_.Get(key, clock_());
  const Freshness freshness = hit ? Judge(*hit, clock_()) : Freshness::kChanged;
  if (freshness == Freshness::kGood) {
    observer_(Source::kCache);
    co_return std::move(hit->value.response);
  }
  uint64_t epoch = 0;
  {
    absl::MutexLock lock(&mutex_);
    epoch = epoch_;
  }
  absl::StatusOr<LookupAddressResponse> answer = co_await lookup_(std::move(address), std::move(traceparent));
  if (answer.ok()) {
    observer_(Source::kDirectory);
    const bool foreign = answer->outcome() == LookupAddressResponse::OUTCOME_NOT_LOCAL;
    if (!foreign) cache_.Erase(domain_key);  // it may have become local
    cache_.Put(foreign ? domain_key : key, Entry{*answer, epoch}, kMaxAge, clock_());
    co_return answer;
  }
  // A definite error is an answer; any other error means that the directory is away.
  if (freshness == Freshness::kOld && !absl::IsInvalidArgument(answer.status()) &&
      !absl::IsFailedPrecondition(answer.status())) {
    observer_(Source::kStale);
    co_return std::move(hit->value.response);
  }
  observer_(Source::kNone);
  co_return answer;
}

RecipientResolver::Freshness RecipientResolver::Judge(const Cache::Hit& hit, absl::Time now) {
  const LookupAddressResponse& response = hit.value.response;
  absl::MutexLock lock(&mutex_);
  for (const std::string& name : response.depends_on()) {
    if (name == "*") {
      if (newest_ > response.revision()) return Freshness::kChanged;
      continue;
    }
    const auto it = changed_at_.find(name);
    if (it != changed_at_.end() && it->second > response.revision()) return Freshness::kChanged;
  }
  const bool followed = now - alive_ < kAliveFor && hit.value.epoch == epoch_;
  if (followed) return hit.fresh ? Freshness::kGood : Freshness::kOld;
  const absl::Duration ttl = FromProto(response.ttl());
  return now - hit.stored < ttl ? Freshness::kGood : Freshness::kOld;
}

void RecipientResolver::OnChanged(uint64_t revision, const directory::v1::WatchResponse& changes) {
  absl::MutexLock lock(&mutex_);
  newest_ = std::max(newest_, revision);
  for (const directory::v1::Change& change : changes.changes()) {
    // A new password does not change the destination of mail.
    if (change.kind() == directory::v1::Change::KIND_CREDENTIAL) continue;
    if (change.kind() == directory::v1::Change::KIND_UNSPECIFIED) ++epoch_;  // a newer kind: any entry may be wrong
    changed_at_[change.name()] = revision;
  }
  if (changed_at_.size() > kMaxChangedNames) {
    changed_at_.clear();
    ++epoch_;
  }
}

void RecipientResolver::OnLost() {
  absl::MutexLock lock(&mutex_);
  ++epoch_;
}

bool RecipientResolver::followed() {
  const absl::Time now = clock_();
  absl::MutexLock lock(&mutex_);
  return now - alive_ < kAliveFor;
}

void RecipientResolver::OnAlive() {
  const absl::Time now = clock_();
  absl::MutexLock lock(&mutex_);
  alive_ = now;
}

}  // namespace posthouse::routing
