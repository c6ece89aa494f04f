// MxLookup: from a domain to the hosts to try, RFC 5321 §5.1.
//
//   address literal            -> that address
//   a transport of the config  -> its host (first match)
//   MX: none                   -> the domain itself, if it has an address (implicit MX)
//   MX: only "."               -> null MX (RFC 7505): the domain accepts no mail
//   MX: hosts                  -> in order of preference, equal ones shuffled, without
//                                 hosts that have no address; when this system is one of
//                                 them (by name or address), only hosts with a better
//                                 preference
//   NXDOMAIN, or no address    -> definite: no such domain
//   only addresses that DestinationNetworks does not allow -> definite: private. Hosts of
//                                 transports may have any address
//   SERVFAIL, time-out, malformed -> temporary
//
// A host whose address is unknown for now is left out while another host has one. IPv6 and
// IPv4 addresses of a host alternate, IPv6 first. Without a route to the IPv6 Internet, IPv6
// addresses are given only for a host that has no others: the connection then says what is
// missing, and a route may come.
// Bounded: the best kMaxHosts hosts, with kMaxAddresses addresses each.
//
// Threads: any; the resolver outlives this.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "posthouse/routing/v1/routing.pb.h"
#include "services/common/async/task.h"
#include "services/routing/destination_networks.h"
#include "services/routing/dns/resolver.h"
#include "services/routing/local_network.h"
#include "services/routing/settings.h"

namespace posthouse::routing {

inline constexpr size_t kMaxHosts = 20;
inline constexpr size_t kMaxAddresses = 16;

class MxLookup {
 public:
  struct Options {
    std::string hostname;
    uint16_t smtp_port = 25;
    std::optional<bool> ipv6;  // absent: as long as there is a route
    std::vector<Transport> transports;
    DestinationNetworks destinations;
    bool private_literals = false;  // address literals may lead anywhere
  };
  // `random(n)`: uniform in [0, n).
  using Random = absl::AnyInvocable<size_t(size_t) const>;
  // `network` outlives this.
  MxLookup(dns::Resolver& resolver, LocalNetwork& network, Options options, Random random);

  // Never fails: an unknown answer is OUTCOME_TEMPORARY, with the reason in `detail`.
  // `domain` in any form; a bad one is OUTCOME_NO_SUCH_DOMAIN.
  Task<v1::ResolveDestinationResponse> Resolve(std::string domain);

 private:
  struct Candidate;
  struct Found;
  Task<v1::ResolveDestinationResponse> ByMx(std::string domain);
  Task<v1::ResolveDestinationResponse> ByTransport(Transport transport);
  Task<v1::ResolveDestinationResponse> ToHosts(std::vector<Candidate> candidates, absl::Duration ttl);
  Task<Found> AddressesOf(std::string host);
  const Transport* FindTransport(absl::string_view domain) const;
  // Sorts and shuffles; removes this system and the hosts that are not better. False: none is left.
  bool Order(std::vector<Candidate>* candidates) const;
  // The same for hosts that have an address of this system; "" or the name of the best one.
  std::string RemoveOwn(v1::ResolveDestinationResponse* response) const;
  // Removes the addresses to which mail must not go, and the hosts without another one; "" or what was removed.
  std::string RemovePrivate(v1::ResolveDestinationResponse* response) const;
  bool UseIpv6() const { return options_.ipv6.value_or(network_.HasIpv6Route()); }

  dns::Resolver& resolver_;
  LocalNetwork& network_;
  const Options options_;
  const Random random_;
};

// The key of the destination: the same for all domains with the same best hosts.
std::string SiteOf(const v1::ResolveDestinationResponse& response);

}  // namespace posthouse::routing
