#include "services/gateway/settings.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/runtime/runtime.h"
#include "services/common/status/status.h"
#include "services/common/time/proto_time.h"

namespace posthouse::gateway {
namespace {

absl::Status Refuse(absl::string_view key, absl::string_view value, absl::string_view allowed) {
  return absl::InvalidArgumentError(absl::StrCat("gateway.", key, " is ", value, ": ", allowed));
}

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "localhost";
}

absl::StatusOr<Port> ReadPort(const config::v1::Endpoint& endpoint, absl::string_view key, uint16_t fallback,
                              absl::string_view overload_line) {
  Port port;
  port.enabled = !endpoint.disabled();
  if (!endpoint.address().empty()) port.listener.address = endpoint.address();
  const uint32_t number = endpoint.has_port() ? endpoint.port() : fallback;
  if (number > 65535) return Refuse(absl::StrCat(key, ".port"), absl::StrCat(number), "0 to 65535");
  port.listener.port = static_cast<uint16_t>(number);
  if (endpoint.has_proxy_port()) {
    if (endpoint.proxy_port() > 65535) {
      return Refuse(absl::StrCat(key, ".proxy_port"), absl::StrCat(endpoint.proxy_port()), "0 to 65535");
    }
    port.listener.proxy_port = static_cast<uint16_t>(endpoint.proxy_port());
  }
  if (endpoint.max_connections() != 0) port.listener.max_connections = endpoint.max_connections();
  port.listener.max_connections_per_address = endpoint.max_connections_per_address();
  port.listener.overload_line = std::string(overload_line);
  for (const std::string& network : endpoint.proxy_from()) {
    absl::StatusOr<net::Cidr> cidr = net::Cidr::Parse(network);
    if (!cidr.ok()) return Refuse(absl::StrCat(key, ".proxy_from"), network, "networks as in 10.0.0.0/8");
    port.listener.proxy_from.push_back(*std::move(cidr));
  }
  return port;
}

template <typename Message>
absl::Status ReadDuration(bool present, const Message& value, absl::string_view key, absl::Duration least,
                          absl::Duration* out) {
  *out = DurationOr(present, value, *out);
  if (*out >= least) return absl::OkStatus();
  return Refuse(key, absl::FormatDuration(*out), absl::StrCat("at least ", absl::FormatDuration(least)));
}

}  // namespace

absl::StatusOr<Settings> ReadSettings(const config::v1::Config& config) {
  Settings settings;
  const config::v1::Gateway& own = config.gateway();
  settings.hostname = config.hostname().empty() ? HostName() : config.hostname();
  constexpr absl::string_view kImapBusy = "* BYE Too many connections\r\n";
  constexpr absl::string_view kPop3Busy = "-ERR [SYS/TEMP] Too many connections\r\n";
  PH_ASSIGN_OR_RETURN(settings.imap, ReadPort(own.imap(), "imap", 2143, kImapBusy));
  PH_ASSIGN_OR_RETURN(settings.imaps, ReadPort(own.imaps(), "imaps", 2993, kImapBusy));
  PH_ASSIGN_OR_RETURN(settings.pop3, ReadPort(own.pop3(), "pop3", 2110, kPop3Busy));
  PH_ASSIGN_OR_RETURN(settings.pop3s, ReadPort(own.pop3s(), "pop3s", 2995, kPop3Busy));
  PH_RETURN_IF_ERROR(ReadDuration(own.has_idle_timeout(), own.idle_timeout(), "idle_timeout", absl::Seconds(1),
                                  &settings.idle_timeout));
  PH_RETURN_IF_ERROR(ReadDuration(own.has_login_timeout(), own.login_timeout(), "login_timeout", absl::Seconds(1),
                                  &settings.login_timeout));
  PH_RETURN_IF_ERROR(ReadDuration(own.has_pop3_timeout(), own.pop3_timeout(), "pop3_timeout", absl::Seconds(1),
                                  &settings.pop3_timeout));
  PH_RETURN_IF_ERROR(ReadDuration(own.has_poll_interval(), own.poll_interval(), "poll_interval", absl::Milliseconds(10),
                                  &settings.poll_interval));
  if (own.has_drain_spread()) {
    settings.drain_spread = FromProto(own.drain_spread());
    if (*settings.drain_spread < absl::ZeroDuration() || *settings.drain_spread > absl::Minutes(10)) {
      return Refuse("drain_spread", absl::FormatDuration(*settings.drain_spread), "0s to 10m");
    }
  }
  if (own.max_append_bytes() != 0) settings.max_append_bytes = own.max_append_bytes();
  if (settings.max_append_bytes > 1ull << 32) {
    return Refuse("max_append_bytes", absl::StrCat(settings.max_append_bytes), "at most 4GiB");
  }
  if (own.max_line_bytes() != 0) settings.max_line_bytes = own.max_line_bytes();
  // RFC 2683 §3.2.1.5: 8000 octets at least.
  if (settings.max_line_bytes < 8000 || settings.max_line_bytes > 16u << 20) {
    return Refuse("max_line_bytes", absl::StrCat(settings.max_line_bytes), "8000 to 16MiB");
  }
  settings.allow_plaintext_auth = own.allow_plaintext_auth();
  if (own.max_sessions_per_account() != 0) settings.max_sessions_per_account = own.max_sessions_per_account();
  return settings;
}

}  // namespace posthouse::gateway
