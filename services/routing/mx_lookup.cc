#include "services/routing/mx_lookup.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/common/async/when_all.h"
#include "services/common/ip_address/ip_address.h"
#include "services/common/status/status.h"
#include "services/mail_formats/address/address.h"

namespace posthouse::routing {
namespace {

using Response = v1::ResolveDestinationResponse;

// A configured answer does not expire; callers ask again after this time.
constexpr absl::Duration kFixedTtl = absl::Hours(1);
constexpr size_t kMaxSiteBytes = 255;

Response Outcome(Response::Outcome outcome, std::string detail, absl::Duration ttl = absl::ZeroDuration()) {
  Response response;
  response.set_outcome(outcome);
  response.set_detail(std::move(detail));
  response.mutable_ttl()->set_seconds(absl::ToInt64Seconds(ttl));
  return response;
}

void AddHost(Response* response, const std::string& name, uint32_t preference, uint16_t port, v1::TlsPolicy tls,
             const std::vector<std::string>& addresses) {
  v1::Host* host = response->add_hosts();
  host->set_name(name);
  host->set_preference(preference);
  host->set_port(port);
  host->set_tls(tls);
  for (const std::string& address : addresses) host->add_addresses(address);
}

// The address in "[192.0.2.1]" or "[IPv6:2001:db8::1]".
std::string LiteralAddress(absl::string_view domain) {
  domain = domain.substr(1, domain.size() - 2);
  if (absl::StartsWithIgnoreCase(domain, "IPv6:")) domain.remove_prefix(5);
  return std::string(domain);
}

Response ByLiteral(const std::string& domain, uint16_t port) {
  const std::string address = LiteralAddress(domain);
  if (!IsIpAddress(address)) return Outcome(Response::OUTCOME_NO_SUCH_DOMAIN, "not an address literal");
  Response response = Outcome(Response::OUTCOME_HOSTS, "address literal", kFixedTtl);
  AddHost(&response, domain, 0, port, v1::TLS_POLICY_OPPORTUNISTIC, {address});
  return response;
}

}  // namespace

struct MxLookup::Candidate {
  std::string host;
  uint32_t preference = 0;
  uint16_t port = 25;
  v1::TlsPolicy tls = v1::TLS_POLICY_OPPORTUNISTIC;
  size_t order = 0;
};

// The addresses of one host, or the error of the lookup.
struct MxLookup::Found {
  std::vector<std::string> addresses;
  absl::Duration ttl = kFixedTtl;
  absl::Status error;
  bool only_ipv6 = false;  // it has addresses, but routing.ipv6 forbids them
};

MxLookup::MxLookup(dns::Resolver& resolver, LocalNetwork& network, Options options, Random random)
    : resolver_(resolver), network_(network), options_(std::move(options)), random_(std::move(random)) {}

Task<Response> MxLookup::Resolve(std::string domain) {
  Response response;
  if (absl::StartsWith(domain, "[")) {
    response = ByLiteral(domain, options_.smtp_port);
    if (!RemoveOwn(&response).empty()) {
      response = Outcome(Response::OUTCOME_LOOP, absl::StrCat(domain, " is an address of this system"), kFixedTtl);
    } else if (!options_.private_literals && !RemovePrivate(&response).empty()) {
      response =
          Outcome(Response::OUTCOME_PRIVATE, absl::StrCat(domain, " is an address of a private network"), kFixedTtl);
    }
  } else {
    const absl::StatusOr<std::string> name = NormalizeDomain(domain);
    if (!name.ok()) co_return Outcome(Response::OUTCOME_NO_SUCH_DOMAIN, std::string(name.status().message()));
    if (const Transport* transport = FindTransport(*name)) {
      response = co_await ByTransport(*transport);
    } else {
      response = co_await ByMx(*name);
    }
  }
  response.set_site(SiteOf(response));
  co_return response;
}

const Transport* MxLookup::FindTransport(absl::string_view domain) const {
  for (const Transport& transport : options_.transports) {
    const bool match = transport.domain == "*" || transport.domain == domain ||
                       (absl::StartsWith(transport.domain, ".") && absl::EndsWith(domain, transport.domain));
    if (match) return &transport;
  }
  return nullptr;
}

Task<Response> MxLookup::ByTransport(Transport transport) {
  Response response;
  if (IsIpAddress(transport.host)) {
    response = Outcome(Response::OUTCOME_HOSTS, "", kFixedTtl);
    AddHost(&response, transport.host, 0, transport.port, transport.tls, {transport.host});
  } else {
    std::vector<Candidate> candidates = {Candidate{transport.host, 0, transport.port, transport.tls}};
    response = co_await ToHosts(std::move(candidates), kFixedTtl);
  }
  const bool here = std::any_of(response.hosts().begin(), response.hosts().end(), [this](const v1::Host& host) {
    return std::any_of(host.addresses().begin(), host.addresses().end(), [&](const std::string& address) {
      return network_.IsListener({address, static_cast<uint16_t>(host.port())});
    });
  });
  if (here) {
    response = Outcome(Response::OUTCOME_TEMPORARY,
                       absl::StrCat("host ", transport.host, " port ", transport.port, " is this system"));
  }
  // Misconfiguration or a transient error: temporary, so no mail bounces.
  if (response.outcome() == Response::OUTCOME_NO_SUCH_DOMAIN) response.set_outcome(Response::OUTCOME_TEMPORARY);
  response.set_detail(
      absl::StrCat("transport ", transport.domain, response.detail().empty() ? "" : ": ", response.detail()));
  co_return response;
}

Task<Response> MxLookup::ByMx(std::string domain) {
  const absl::StatusOr<dns::Answer> mx = co_await resolver_.Query(domain, dns::RecordType::kMx);
  // RFC 5321 §5.1: after a temporary failure of the MX lookup, the address must not be used instead.
  if (!mx.ok())
    co_return Outcome(Response::OUTCOME_TEMPORARY, absl::StrCat("MX of ", domain, ": ", mx.status().message()));
  if (mx->outcome == dns::Answer::Outcome::kNoSuchName) {
    co_return Outcome(Response::OUTCOME_NO_SUCH_DOMAIN, absl::StrCat(domain, " does not exist"), mx->ttl);
  }
  std::vector<Candidate> candidates;
  bool null_mx = false;
  for (const dns::MxRecord& record : mx->mx) {
    if (record.host.empty()) {
      null_mx = true;
    } else {
      candidates.push_back(Candidate{record.host, record.preference, options_.smtp_port, v1::TLS_POLICY_OPPORTUNISTIC});
    }
  }
  // RFC 7505 §3: "." is a null MX only when it is the only record; else it is ignored.
  if (null_mx && candidates.empty()) {
    co_return Outcome(Response::OUTCOME_NULL_MX, absl::StrCat(domain, " accepts no mail (null MX)"), mx->ttl);
  }
  const bool implicit = candidates.empty();
  if (implicit) candidates.push_back(Candidate{domain, 0, options_.smtp_port, v1::TLS_POLICY_OPPORTUNISTIC});
  if (!Order(&candidates)) {
    // RFC 5321 §5.1: mail must not be sent to this system, and no better host is left.
    co_return Outcome(Response::OUTCOME_LOOP, absl::StrCat("the best mail host of ", domain, " is this system"),
                      mx->ttl);
  }
  Response response = co_await ToHosts(std::move(candidates), mx->ttl);
  if (response.outcome() == Response::OUTCOME_NO_SUCH_DOMAIN) {
    response.set_detail(
        absl::StrCat(domain, implicit ? " has neither MX nor address" : " has no mail host with an address"));
  }
  const std::string own = RemoveOwn(&response);
  if (!own.empty() && response.hosts().empty()) {
    co_return Outcome(Response::OUTCOME_LOOP,
                      absl::StrCat("the best mail host of ", domain, ", ", own, ", has an address of this system"),
                      mx->ttl);
  }
  const std::string removed = RemovePrivate(&response);
  if (!removed.empty() && response.hosts().empty()) {
    // A host whose address is not known for now may have another one.
    if (!response.detail().empty()) co_return Outcome(Response::OUTCOME_TEMPORARY, response.detail());
    co_return Outcome(Response::OUTCOME_PRIVATE,
                      absl::StrCat("the mail hosts of ", domain, " have only addresses of private networks: ", removed),
                      mx->ttl);
  }
  co_return response;
}

std::string MxLookup::RemovePrivate(Response* response) const {
  std::vector<std::string> removed;
  auto* hosts = response->mutable_hosts();
  for (v1::Host& host : *hosts) {
    auto* addresses = host.mutable_addresses();
    for (auto it = addresses->begin(); it != addresses->end();) {
      if (options_.destinations.Allows(*it)) {
        ++it;
        continue;
      }
      removed.push_back(absl::StrCat(host.name(), " ", *it));
      it = addresses->erase(it);
    }
  }
  hosts->erase(
      std::remove_if(hosts->begin(), hosts->end(), [](const v1::Host& host) { return host.addresses().empty(); }),
      hosts->end());
  constexpr size_t kNamed = 5;
  if (removed.size() > kNamed) removed.resize(kNamed);
  return absl::StrJoin(removed, ", ");
}

std::string MxLookup::RemoveOwn(Response* response) const {
  const auto self = std::find_if(response->hosts().begin(), response->hosts().end(), [this](const v1::Host& host) {
    return std::any_of(host.addresses().begin(), host.addresses().end(), [&](const std::string& address) {
      return network_.IsOwnAddress(address) || network_.IsListener({address, static_cast<uint16_t>(host.port())});
    });
  });
  if (self == response->hosts().end()) return "";
  const std::string name = self->name();
  const uint32_t ours = self->preference();
  auto* hosts = response->mutable_hosts();
  hosts->erase(
      std::remove_if(hosts->begin(), hosts->end(), [ours](const v1::Host& host) { return host.preference() >= ours; }),
      hosts->end());
  return name;
}

bool MxLookup::Order(std::vector<Candidate>* candidates) const {
  // Hosts of equal preference come in random order (RFC 5321 §5.1).
  for (size_t i = candidates->size(); i > 1; --i) std::swap((*candidates)[i - 1], (*candidates)[random_(i)]);
  for (size_t i = 0; i < candidates->size(); ++i) (*candidates)[i].order = i;
  std::sort(candidates->begin(), candidates->end(), [](const Candidate& a, const Candidate& b) {
    return std::make_pair(a.preference, a.order) < std::make_pair(b.preference, b.order);
  });
  // RFC 5321 §5.1: with this system in the list, only better hosts may be used.
  const auto self = std::find_if(candidates->begin(), candidates->end(),
                                 [this](const Candidate& c) { return c.host == options_.hostname; });
  if (self != candidates->end()) {
    const uint32_t ours = self->preference;
    std::erase_if(*candidates, [ours](const Candidate& c) { return c.preference >= ours; });
  }
  if (candidates->size() > kMaxHosts) candidates->resize(kMaxHosts);
  return !candidates->empty();
}

Task<Response> MxLookup::ToHosts(std::vector<Candidate> candidates, absl::Duration ttl) {
  std::vector<Task<Found>> lookups;
  lookups.reserve(candidates.size());
  for (const Candidate& candidate : candidates) lookups.push_back(AddressesOf(candidate.host));
  const std::vector<Found> found = co_await WhenAll(std::move(lookups));
  Response response;
  std::string trouble;
  for (size_t i = 0; i < found.size(); ++i) {
    if (found[i].only_ipv6) {
      trouble = absl::StrCat(candidates[i].host, " has IPv6 addresses only, and routing.ipv6 is false");
      continue;
    }
    if (!found[i].error.ok()) {
      trouble = absl::StrCat("address of ", candidates[i].host, ": ", found[i].error.message());
      // This host may be known again before the other records expire.
      ttl = std::min(ttl, absl::Minutes(1));
      continue;
    }
    ttl = std::min(ttl, found[i].ttl);
    if (found[i].addresses.empty()) continue;
    AddHost(&response, candidates[i].host, candidates[i].preference, candidates[i].port, candidates[i].tls,
            found[i].addresses);
  }
  if (response.hosts().empty()) {
    if (!trouble.empty()) co_return Outcome(Response::OUTCOME_TEMPORARY, trouble);
    co_return Outcome(Response::OUTCOME_NO_SUCH_DOMAIN, "no host has an address", ttl);
  }
  response.set_outcome(Response::OUTCOME_HOSTS);
  response.mutable_ttl()->set_seconds(static_cast<int64_t>(std::ceil(absl::ToDoubleSeconds(ttl))));
  response.set_detail(trouble);
  co_return response;
}

Task<MxLookup::Found> MxLookup::AddressesOf(std::string host) {
  Found found;
  std::vector<std::string> by_type[2];  // IPv6, IPv4
  const bool ipv6 = UseIpv6();
  for (const dns::RecordType type : {dns::RecordType::kA, dns::RecordType::kAaaa}) {
    std::vector<std::string>& addresses = by_type[type == dns::RecordType::kA ? 1 : 0];
    // Without a route only a host that has no other address is worth the question.
    if (type == dns::RecordType::kAaaa && !ipv6 && (!by_type[1].empty() || !found.error.ok())) break;
    absl::StatusOr<dns::Answer> answer = co_await resolver_.Query(host, type);
    if (!answer.ok()) {
      found.error = answer.status();
      continue;
    }
    found.ttl = std::min(found.ttl, answer->ttl);
    addresses = std::move(answer->addresses);
  }
  if (by_type[1].empty() && !by_type[0].empty() && !options_.ipv6.value_or(true)) {
    found.only_ipv6 = true;
    co_return found;
  }
  // RFC 6724: IPv6 first. In turns, so that the first addresses of a host are of both families.
  for (size_t i = 0; i < std::max(by_type[0].size(), by_type[1].size()); ++i) {
    for (const std::vector<std::string>& addresses : by_type) {
      if (i < addresses.size() && found.addresses.size() < kMaxAddresses) found.addresses.push_back(addresses[i]);
    }
  }
  // The addresses of one family are enough.
  if (!found.addresses.empty()) found.error = absl::OkStatus();
  co_return found;
}

std::string SiteOf(const Response& response) {
  if (response.outcome() != Response::OUTCOME_HOSTS || response.hosts().empty()) return "";
  std::vector<std::string> names;
  for (const v1::Host& host : response.hosts()) {
    if (host.preference() != response.hosts(0).preference()) break;
    names.push_back(host.port() == 25 ? host.name() : absl::StrCat(host.name(), ":", host.port()));
  }
  std::sort(names.begin(), names.end());
  std::string site = absl::StrJoin(names, ",");
  // Cut after a whole name, so the key is still the same for the same hosts.
  if (site.size() > kMaxSiteBytes) {
    const size_t comma = site.rfind(',', kMaxSiteBytes);
    site.resize(comma == std::string::npos ? kMaxSiteBytes : comma);
  }
  return site;
}

}  // namespace posthouse::routing
