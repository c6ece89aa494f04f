#include "services/routing/settings.h"

#include <unistd.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/ip_address/ip_address.h"
#include "services/common/status/status.h"
#include "services/common/time/proto_time.h"
#include "services/mail_formats/address/address.h"

namespace posthouse::routing {
namespace {

absl::Status Refuse(absl::string_view key, absl::string_view value, absl::string_view allowed) {
  return absl::InvalidArgumentError(absl::StrCat("routing.", key, " is \"", value, "\": ", allowed));
}

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "localhost";
}

// "192.0.2.1", "192.0.2.1:53", "2001:db8::1", "[2001:db8::1]:53", "[fe80::1%eth0]:53"
bool IsDnsServer(absl::string_view text) {
  absl::string_view address = text, port;
  if (absl::ConsumePrefix(&address, "[")) {
    const size_t end = address.find(']');
    if (end == absl::string_view::npos) return false;
    port = address.substr(end + 1);
    address = address.substr(0, end);
  } else if (const size_t colon = text.find(':'); colon != absl::string_view::npos && colon == text.rfind(':')) {
    port = address.substr(colon);
    address = address.substr(0, colon);
  }
  if (absl::StrContains(address, ':')) address = address.substr(0, address.find('%'));
  if (port.empty()) return IsIpAddress(address);
  uint32_t number = 0;
  return IsIpAddress(address) && absl::ConsumePrefix(&port, ":") && absl::SimpleAtoi(port, &number) && number >= 1 &&
         number <= 65535;
}

// The SMTP listeners of `config` with the defaults of ingress, for a process that runs both.
std::vector<net::Endpoint> ListenersOf(const config::v1::Ingress& ingress) {
  std::vector<net::Endpoint> listeners;
  const auto add = [&](const config::v1::Endpoint& from, uint16_t port) {
    if (from.disabled()) return;
    listeners.push_back({from.address().empty() ? "127.0.0.1" : from.address(),
                         static_cast<uint16_t>(from.has_port() ? from.port() : port)});
  };
  add(ingress.smtp(), 2525);
  add(ingress.submission(), 2587);
  add(ingress.submissions(), 2465);
  return listeners;
}

absl::StatusOr<Transport> ReadTransport(const config::v1::Transport& in, uint16_t default_port) {
  Transport out;
  out.domain = absl::AsciiStrToLower(in.domain());
  if (out.domain != "*") {
    const bool below = absl::StartsWith(out.domain, ".");
    absl::StatusOr<std::string> name = NormalizeDomain(absl::StripPrefix(out.domain, "."));
    if (!name.ok()) {
      return Refuse("transports.domain", in.domain(),
                    "a domain (it alone), .domain (all domains below it, without itself), or * (all)");
    }
    out.domain = absl::StrCat(below ? "." : "", *name);
  }
  out.host = in.host();
  if (absl::StartsWith(out.host, "[") && absl::EndsWith(out.host, "]"))
    out.host = out.host.substr(1, out.host.size() - 2);
  if (!IsIpAddress(out.host)) {
    absl::StatusOr<std::string> name = NormalizeDomain(out.host);
    if (!name.ok()) return Refuse("transports.host", in.host(), "a host name or an address");
    out.host = *std::move(name);
  }
  if (in.port() > 65535) return Refuse("transports.port", absl::StrCat(in.port()), "1 to 65535");
  out.port = in.port() == 0 ? default_port : static_cast<uint16_t>(in.port());
  if (in.tls().empty() || in.tls() == "opportunistic") {
    out.tls = v1::TLS_POLICY_OPPORTUNISTIC;
  } else if (in.tls() == "required") {
    out.tls = v1::TLS_POLICY_REQUIRED;
  } else if (in.tls() == "verify") {
    out.tls = v1::TLS_POLICY_VERIFY;
  } else if (in.tls() == "none") {
    out.tls = v1::TLS_POLICY_NONE;
  } else {
    return Refuse("transports.tls", in.tls(), "opportunistic, required, verify or none");
  }
  return out;
}

}  // namespace

absl::StatusOr<Settings> ReadSettings(const config::v1::Config& config) {
  Settings settings;
  const auto& own = config.routing();
  settings.hostname = absl::AsciiStrToLower(config.hostname().empty() ? HostName() : config.hostname());
  settings.dns.servers.assign(own.dns_servers().begin(), own.dns_servers().end());
  settings.dns.timeout = DurationOr(own.has_dns_timeout(), own.dns_timeout(), settings.dns.timeout);
  if (own.dns_tries() != 0) settings.dns.tries = static_cast<int>(own.dns_tries());
  settings.dns_cache.max_ttl = DurationOr(own.has_dns_max_ttl(), own.dns_max_ttl(), settings.dns_cache.max_ttl);
  settings.dns_cache.min_ttl = DurationOr(own.has_dns_min_ttl(), own.dns_min_ttl(), settings.dns_cache.min_ttl);
  if (own.dns_cache_entries() != 0) settings.dns_cache.entries = own.dns_cache_entries();
  if (own.smtp_port() > 65535) return Refuse("smtp_port", absl::StrCat(own.smtp_port()), "1 to 65535");
  if (own.smtp_port() != 0) settings.smtp_port = static_cast<uint16_t>(own.smtp_port());
  if (own.has_ipv6()) settings.ipv6 = own.ipv6();
  for (const std::string& server : settings.dns.servers) {
    if (!IsDnsServer(server)) return Refuse("dns_servers", server, "an IP address, or address:port");
  }
  for (const std::string& address : own.own_addresses()) {
    if (!IsIpAddress(address)) return Refuse("own_addresses", address, "an IP address");
    settings.own_addresses.push_back(address);
  }
  settings.listeners = ListenersOf(config.ingress());
  settings.allow_private_literals = own.allow_private_literals();
  std::vector<net::Cidr> private_destinations;
  for (const std::string& text : own.private_destinations()) {
    absl::StatusOr<net::Cidr> network = net::Cidr::Parse(text);
    if (!network.ok()) return Refuse("private_destinations", text, "a network, such as 10.0.0.0/8");
    private_destinations.push_back(*std::move(network));
  }
  // No host of the Internet takes mail at another port than 25: such a system is a test.
  const bool test = settings.smtp_port != 25 && private_destinations.empty();
  settings.destinations = test ? DestinationNetworks::All() : DestinationNetworks(std::move(private_destinations));
  if (!own.postmaster().empty()) {
    const absl::StatusOr<Address> postmaster = ParseAddress(own.postmaster());
    if (!postmaster.ok()) return Refuse("postmaster", own.postmaster(), "an address of a user");
    settings.postmaster = postmaster->ToString();
  }
  if (own.recipient_cache_entries() != 0) settings.recipient_cache_entries = own.recipient_cache_entries();
  for (const auto& transport : own.transports()) {
    PH_ASSIGN_OR_RETURN(Transport read, ReadTransport(transport, settings.smtp_port));
    settings.transports.push_back(std::move(read));
  }
  if (settings.dns.timeout < absl::Milliseconds(10) || settings.dns.timeout > absl::Minutes(1)) {
    return Refuse("dns_timeout", absl::FormatDuration(settings.dns.timeout), "10ms to 1m");
  }
  if (settings.dns.tries > 10) return Refuse("dns_tries", absl::StrCat(settings.dns.tries), "1 to 10");
  if (settings.dns_cache.min_ttl < absl::ZeroDuration() || settings.dns_cache.max_ttl < settings.dns_cache.min_ttl) {
    return Refuse("dns_max_ttl", absl::FormatDuration(settings.dns_cache.max_ttl), "not less than dns_min_ttl");
  }
  return settings;
}

}  // namespace posthouse::routing
