#include "services/routing/settings.h"

#include <arpa/inet.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "posthouse/config/v1/config.pb.h"
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

bool IsAddress(const std::string& text) {
  unsigned char bytes[16];
  return inet_pton(AF_INET, text.c_str(), bytes) == 1 || inet_pton(AF_INET6, text.c_str(), bytes) == 1;
}

absl::StatusOr<Transport> ReadTransport(const config::v1::Transport& in, uint16_t default_port) {
  Transport out;
  out.domain = absl::AsciiStrToLower(in.domain());
  if (out.domain != "*") {
    const bool below = absl::StartsWith(out.domain, ".");
    absl::StatusOr<std::string> name = NormalizeDomain(absl::StripPrefix(out.domain, "."));
    if (!name.ok()) return Refuse("transports.domain", in.domain(), "a domain, .domain for all below it, or *");
    out.domain = absl::StrCat(below ? "." : "", *name);
  }
  out.host = in.host();
  if (absl::StartsWith(out.host, "[") && absl::EndsWith(out.host, "]"))
    out.host = out.host.substr(1, out.host.size() - 2);
  if (!IsAddress(out.host)) {
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
  settings.ipv6 = own.ipv6();
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
