#include "services/ingress/settings.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/status/status.h"
#include "services/common/time/proto_time.h"
#include "services/mail_formats/smtp/params.h"
#include "services/mail_formats/smtp/path.h"

namespace posthouse::ingress {
namespace {

absl::Status Bad(absl::string_view key, absl::string_view value, absl::string_view allowed) {
  return absl::InvalidArgumentError(absl::StrCat("ingress.", key, ": \"", value, "\" is not allowed: ", allowed));
}

absl::Status ReadNetworks(absl::string_view key, const google::protobuf::RepeatedPtrField<std::string>& texts,
                          std::vector<net::Cidr>* networks) {
  for (const std::string& text : texts) {
    const absl::StatusOr<net::Cidr> network = net::Cidr::Parse(text);
    if (!network.ok()) return Bad(key, text, "a network like 192.0.2.0/24, or an address");
    networks->push_back(*network);
  }
  return absl::OkStatus();
}

absl::Status ReadListener(absl::string_view key, const config::v1::Endpoint& from, uint16_t port,
                          Settings::Listener* to) {
  to->enabled = !from.disabled();
  to->port = port;
  if (!from.address().empty()) to->address = from.address();
  if (from.has_port()) {
    if (from.port() > 65535) return Bad(absl::StrCat(key, ".port"), absl::StrCat(from.port()), "0 to 65535");
    to->port = static_cast<uint16_t>(from.port());
  }
  if (from.has_proxy_port()) {
    if (from.proxy_port() > 65535) {
      return Bad(absl::StrCat(key, ".proxy_port"), absl::StrCat(from.proxy_port()), "0 to 65535");
    }
    to->proxy_port = static_cast<uint16_t>(from.proxy_port());
  }
  if (from.max_connections() != 0) to->max_connections = from.max_connections();
  if (from.has_max_connections_per_address()) to->max_connections_per_address = from.max_connections_per_address();
  return ReadNetworks(absl::StrCat(key, ".proxy_from"), from.proxy_from(), &to->proxy_from);
}

absl::Status ReadDuration(absl::string_view key, bool present, const google::protobuf::Duration& from,
                          absl::Duration* to) {
  if (!present) return absl::OkStatus();
  *to = FromProto(from);
  if (*to <= absl::ZeroDuration()) return Bad(key, absl::FormatDuration(*to), "a time above zero");
  return absl::OkStatus();
}

template <typename T>
void Override(T from, T* to) {
  if (from != 0) *to = from;
}

std::string SystemName() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 && name[0] != '\0' ? name : "localhost";
}

}  // namespace

absl::StatusOr<Settings> Settings::FromConfig(const config::v1::Config& config) {
  const config::v1::Ingress& from = config.ingress();
  Settings s;
  s.hostname = config.hostname().empty() ? SystemName() : config.hostname();
  if (!smtp::CheckDomain(s.hostname, false).ok()) {
    return absl::InvalidArgumentError(absl::StrCat("hostname: \"", s.hostname, "\" is not a domain name"));
  }
  PH_RETURN_IF_ERROR(ReadListener("smtp", from.smtp(), 2525, &s.smtp));
  PH_RETURN_IF_ERROR(ReadListener("submission", from.submission(), 2587, &s.submission));
  PH_RETURN_IF_ERROR(ReadListener("submissions", from.submissions(), 2465, &s.submissions));
  Override(from.max_message_bytes(), &s.max_message_bytes);
  Override(from.max_recipients(), &s.max_recipients);
  Override(from.max_errors(), &s.max_errors);
  Override(from.max_received(), &s.max_received);
  // RFC 5321 §4.5.3.1.7, §4.5.3.1.8: less may not be offered.
  if (s.max_message_bytes < 65536) {
    return Bad("max_message_bytes", absl::StrCat(s.max_message_bytes), "64KiB or more (RFC 5321 4.5.3.1.7)");
  }
  if (s.max_recipients < 100) {
    return Bad("max_recipients", absl::StrCat(s.max_recipients), "100 or more (RFC 5321 4.5.3.1.8)");
  }
  Override(from.max_envelope_recipients(), &s.max_envelope_recipients);
  if (s.max_envelope_recipients < 100 || s.max_envelope_recipients > smtp::kMaxEnvelopeRecipients) {
    return Bad("max_envelope_recipients", absl::StrCat(s.max_envelope_recipients),
               absl::StrCat("100 to ", smtp::kMaxEnvelopeRecipients, ", the most that the queue takes"));
  }
  Override(from.message_memory_bytes(), &s.message_memory_bytes);
  if (s.message_memory_bytes < (1 << 20)) {
    return Bad("message_memory_bytes", absl::StrCat(s.message_memory_bytes), "1MiB or more");
  }
  PH_RETURN_IF_ERROR(
      ReadDuration("command_timeout", from.has_command_timeout(), from.command_timeout(), &s.command_timeout));
  PH_RETURN_IF_ERROR(ReadDuration("data_timeout", from.has_data_timeout(), from.data_timeout(), &s.data_timeout));
  PH_RETURN_IF_ERROR(ReadNetworks("relay_networks", from.relay_networks(), &s.relay_networks));
  if (from.bare_lf() == "normalize") {
    s.bare_lf = smtp::BareLinePolicy::kNormalize;
  } else if (!from.bare_lf().empty() && from.bare_lf() != "reject") {
    return Bad("bare_lf", from.bare_lf(), "reject or normalize");
  }
  s.allow_plaintext_auth = from.allow_plaintext_auth();
  s.allow_any_sender = from.allow_any_sender();
  return s;
}

}  // namespace posthouse::ingress
