#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/config/config.h"
#include "services/common/net/connection.h"
#include "services/common/status/status.h"
#include "services/common/store/format.h"

namespace posthouse::config {
namespace {

absl::Status Bad(absl::string_view key, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(key, ": ", what));
}

bool IsLoopback(const std::string& address) {
  return address.empty() || address == "::1" || address == "localhost" ||
         (net::Cidr::Parse(address).ok() && net::Cidr::Parse("127.0.0.0/8")->Contains(address));
}

absl::Status CheckAddress(absl::string_view key, const std::string& address) {
  if (address.empty() || (net::Cidr::Parse(address).ok() && !absl::StrContains(address, "/"))) return absl::OkStatus();
  return Bad(key, absl::StrCat("\"", address, "\" is not an IP address; write 127.0.0.1, 0.0.0.0 or ::"));
}

absl::Status CheckNetworks(absl::string_view key, const google::protobuf::RepeatedPtrField<std::string>& networks) {
  for (const std::string& network : networks) {
    const absl::Status status = net::Cidr::Parse(network).status();
    if (!status.ok()) return Bad(key, status.message());
  }
  return absl::OkStatus();
}

absl::Status CheckOneOf(absl::string_view key, const std::string& value,
                        std::initializer_list<absl::string_view> allowed) {
  if (value.empty() || std::find(allowed.begin(), allowed.end(), value) != allowed.end()) return absl::OkStatus();
  std::string list;
  for (const absl::string_view a : allowed) absl::StrAppend(&list, list.empty() ? "" : ", ", a);
  return Bad(key, absl::StrCat("\"", value, "\": must be one of ", list));
}

// RFC 1123 §2.1 names, or an address literal in brackets.
absl::Status CheckHostname(const std::string& name) {
  const bool ok = name.size() <= 253 && std::all_of(name.begin(), name.end(), [](unsigned char c) {
                    return absl::ascii_isalnum(c) || c == '-' || c == '.' || c == '[' || c == ']' || c == ':';
                  });
  if (ok && !absl::StrContains(name, "..")) return absl::OkStatus();
  return Bad("hostname",
             absl::StrCat("\"", name, "\" is not a domain name; write it as in DNS, e.g. mail.example.org"));
}

double Seconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + duration.nanos() * 1e-9;
}

absl::Status CheckRpc(const v1::Rpc& rpc) {
  PH_RETURN_IF_ERROR(CheckAddress("rpc.address", rpc.address()));
  const int set = !rpc.certificate_file().empty() + !rpc.private_key_file().empty() + !rpc.ca_file().empty();
  if (set != 0 && set != 3) {
    return Bad("rpc", "certificate_file, private_key_file and ca_file go together: set all three (mTLS) or none");
  }
  if (set == 0 && !IsLoopback(rpc.address())) {
    return Bad("rpc.address",
               absl::StrCat("\"", rpc.address(),
                            "\" can be reached from other machines, and then mTLS is required: set certificate_file, "
                            "private_key_file and ca_file"));
  }
  if (set == 0 && !rpc.allowed_peers().empty())
    return Bad("rpc.allowed_peers", "names are certificate names: needs mTLS");
  if (set == 0 && !rpc.identities().empty()) return Bad("rpc.identities", "names are certificate names: needs mTLS");
  for (const v1::Identity& identity : rpc.identities()) {
    if (identity.certificate().empty()) return Bad("rpc.identities", "each needs certificate and caller");
    PH_RETURN_IF_ERROR(CheckOneOf("rpc.identities.caller", identity.caller().empty() ? "?" : identity.caller(),
                                  {"admin", "ingress", "routing", "directory", "queue", "mailbox", "gateway"}));
  }
  return absl::OkStatus();
}

absl::Status CheckTls(const v1::Tls& tls) {
  int i = 0;
  for (const v1::Certificate& certificate : tls.certificates()) {
    if (certificate.certificate_file().empty() || certificate.private_key_file().empty()) {
      return Bad(absl::StrCat("tls.certificates[", i, "]"), "needs certificate_file and private_key_file");
    }
    ++i;
  }
  if (tls.self_signed() && !tls.certificates().empty()) {
    return Bad("tls.self_signed", "contradicts tls.certificates: remove one of them");
  }
  return absl::OkStatus();
}

absl::Status CheckEndpoint(absl::string_view key, const v1::Endpoint& endpoint) {
  PH_RETURN_IF_ERROR(CheckAddress(absl::StrCat(key, ".address"), endpoint.address()));
  if (endpoint.has_proxy_port() && endpoint.proxy_from().empty()) {
    return Bad(absl::StrCat(key, ".proxy_port"),
               "nobody could use it: list the networks of the load balancers in proxy_from");
  }
  return CheckNetworks(absl::StrCat(key, ".proxy_from"), endpoint.proxy_from());
}

// A name that leads to two targets, or two names to one, puts mail into the wrong store.
absl::Status CheckShards(absl::string_view key, const google::protobuf::RepeatedPtrField<v1::Shard>& shards) {
  std::map<std::string, std::string> targets, names;  // by name, by target
  for (const v1::Shard& shard : shards) {
    if (shard.target().empty()) {
      return Bad(key, absl::StrCat("each shard needs a target, and \"", shard.name(), "\" has none"));
    }
    if (shard.name().empty() && shards.size() > 1) {
      return Bad(key,
                 absl::StrCat("each of several shards needs a name of its own, and ", shard.target(), " has none"));
    }
    const auto [name, is_new] = targets.emplace(shard.name(), shard.target());
    if (!is_new) {
      return Bad(key, absl::StrCat("each of several shards needs a name of its own: \"", shard.name(), "\" is ",
                                   name->second, " and ", shard.target()));
    }
    const auto [target, is_free] = names.emplace(shard.target(), shard.name());
    if (!is_free) {
      return Bad(key, absl::StrCat("two shards have the target ", shard.target(), ": \"", target->second, "\" and \"",
                                   shard.name(), "\""));
    }
  }
  return absl::OkStatus();
}

// Without its peers a process would start and then fail each request.
absl::Status CheckPeers(const v1::Config& config, absl::string_view service) {
  const v1::Peers& peers = config.peers();
  const auto need = [&](bool present, absl::string_view key) {
    return present ? absl::OkStatus()
                   : Bad(key, absl::StrCat("posthouse-", service,
                                           " needs it: where that service listens, e.g. 127.0.0.1:7405"));
  };
  const bool in = service == "ingress", gw = service == "gateway", rt = service == "routing", q = service == "queue";
  const bool mb = service == "mailbox";
  if (in || gw || rt || mb) PH_RETURN_IF_ERROR(need(!peers.directory().empty(), "peers.directory"));
  if (in || q) PH_RETURN_IF_ERROR(need(!peers.routing().empty(), "peers.routing"));
  if (in) PH_RETURN_IF_ERROR(need(!peers.queue().empty() || !peers.queue_shards().empty(), "peers.queue_shards"));
  if (gw || q) PH_RETURN_IF_ERROR(need(!peers.mailbox().empty(), "peers.mailbox"));
  PH_RETURN_IF_ERROR(CheckShards("peers.mailbox", peers.mailbox()));
  PH_RETURN_IF_ERROR(CheckShards("peers.queue_shards", peers.queue_shards()));
  if (!peers.queue().empty() && !peers.queue_shards().empty()) {
    return Bad("peers.queue_shards", "says the same as peers.queue: remove one of them");
  }
  if (peers.directory().empty() && !peers.directory_shard().empty()) {
    return Bad("peers.directory_shard", "is the name of the store at peers.directory, which is missing");
  }
  std::set<std::string> targets;
  for (const std::string& target : peers.queue()) {
    if (!targets.insert(target).second) return Bad("peers.queue", absl::StrCat(target, " is there twice"));
  }
  return absl::OkStatus();
}

absl::Status CheckRouting(const v1::Routing& routing) {
  int i = 0;
  for (const v1::Transport& transport : routing.transports()) {
    const std::string key = absl::StrCat("routing.transports[", i++, "]");
    if (transport.domain().empty() || transport.host().empty()) return Bad(key, "needs domain and host");
    PH_RETURN_IF_ERROR(CheckOneOf(key + ".tls", transport.tls(), {"opportunistic", "required", "verify", "none"}));
  }
  const double min = routing.has_dns_min_ttl() ? Seconds(routing.dns_min_ttl()) : 5;
  const double max = routing.has_dns_max_ttl() ? Seconds(routing.dns_max_ttl()) : 3600;
  if (min > max) return Bad("routing.dns_min_ttl", "is longer than routing.dns_max_ttl");
  return absl::OkStatus();
}

absl::Status CheckQueue(const v1::Queue& queue) {
  if (queue.retry_factor() != 0 && queue.retry_factor() < 1) return Bad("queue.retry_factor", "must be at least 1");
  // With the documented defaults where one is absent.
  const double min = queue.has_retry_min() ? Seconds(queue.retry_min()) : 60;
  const double max = queue.has_retry_max() ? Seconds(queue.retry_max()) : 3600;
  if (min > max) {
    return Bad("queue.retry_min", absl::StrCat("is longer than queue.retry_max", queue.has_retry_max() ? "" : " (1h)"));
  }
  return absl::OkStatus();
}

// A message that ingress accepts must not be too large for the mailbox.
absl::Status CheckSizes(const v1::Config& config) {
  const uint64_t taken = config.ingress().max_message_bytes() != 0 ? config.ingress().max_message_bytes() : 50 << 20;
  const uint64_t kept = config.mailbox().max_message_bytes() != 0 ? config.mailbox().max_message_bytes() : 100 << 20;
  if (taken <= kept) return absl::OkStatus();
  return Bad("ingress.max_message_bytes",
             absl::StrCat(taken, " is more than mailbox.max_message_bytes (", kept,
                          "): such mail would be accepted and then returned; make the latter larger"));
}

// Two listeners of one process on one port: the start would fail and blame another process.
class Ports {
 public:
  absl::Status Add(absl::string_view key, const std::string& address, uint32_t port, absl::string_view field = "port") {
    if (port == 0) return absl::OkStatus();
    const std::string own = address.empty() ? "127.0.0.1" : address;
    for (const Taken& taken : taken_) {
      if (taken.port != port || (taken.address != own && !IsAny(taken.address) && !IsAny(own))) continue;
      return Bad(absl::StrCat(key, ".", field), absl::StrCat(port, " is the port of ", taken.key, " already"));
    }
    taken_.push_back({std::string(key), own, port});
    return absl::OkStatus();
  }
  absl::Status Add(absl::string_view key, const v1::Endpoint& endpoint, uint32_t fallback) {
    if (endpoint.disabled()) return absl::OkStatus();
    PH_RETURN_IF_ERROR(Add(key, endpoint.address(), endpoint.has_port() ? endpoint.port() : fallback));
    return Add(key, endpoint.address(), endpoint.proxy_port(), "proxy_port");
  }

 private:
  struct Taken {
    std::string key, address;
    uint32_t port;
  };
  static bool IsAny(const std::string& address) { return address == "0.0.0.0" || address == "::"; }
  std::vector<Taken> taken_;
};

absl::Status CheckPorts(const v1::Config& config, absl::string_view service) {
  const bool all = service == "standalone";
  Ports ports;
  if (all || service == "ingress") {
    PH_RETURN_IF_ERROR(ports.Add("ingress.smtp", config.ingress().smtp(), 2525));
    PH_RETURN_IF_ERROR(ports.Add("ingress.submission", config.ingress().submission(), 2587));
    PH_RETURN_IF_ERROR(ports.Add("ingress.submissions", config.ingress().submissions(), 2465));
  }
  if (all || service == "gateway") {
    PH_RETURN_IF_ERROR(ports.Add("gateway.imap", config.gateway().imap(), 2143));
    PH_RETURN_IF_ERROR(ports.Add("gateway.imaps", config.gateway().imaps(), 2993));
    PH_RETURN_IF_ERROR(ports.Add("gateway.pop3", config.gateway().pop3(), 2110));
    PH_RETURN_IF_ERROR(ports.Add("gateway.pop3s", config.gateway().pop3s(), 2995));
  }
  // An absent port is the documented default, which differs for each service.
  if (config.rpc().has_port() && !config.rpc().in_process_only()) {
    PH_RETURN_IF_ERROR(ports.Add("rpc", config.rpc().address(), config.rpc().port()));
  }
  if (config.http().has_port()) PH_RETURN_IF_ERROR(ports.Add("http", config.http().address(), config.http().port()));
  return absl::OkStatus();
}

}  // namespace

absl::Status Validate(const v1::Config& config, absl::string_view service) {
  PH_RETURN_IF_ERROR(CheckHostname(config.hostname()));
  PH_RETURN_IF_ERROR(CheckOneOf("log_level", config.log_level(), {"debug", "info", "warning", "error"}));
  if (config.io_threads() > 256) return Bad("io_threads", "must be at most 256");
  if (config.blocking_threads() > 1024) return Bad("blocking_threads", "must be at most 1024");
  if (Seconds(config.drain_delay()) < 0 || Seconds(config.drain_delay()) > 600)
    return Bad("drain_delay", "must be 0s to 10m");
  const bool keeps_state =
      service == "standalone" || service == "directory" || service == "queue" || service == "mailbox";
  if (keeps_state && config.data_dir().empty())
    return Bad("data_dir", absl::StrCat("posthouse-", service, " keeps state: name a directory"));
  if (config.store().format() > static_cast<uint32_t>(store::kNewestFormat)) {
    return Bad("store.format",
               absl::StrCat(config.store().format(), " is newer than this version knows (", store::kNewestFormat, ")"));
  }
  PH_RETURN_IF_ERROR(CheckAddress("http.address", config.http().address()));
  PH_RETURN_IF_ERROR(CheckRpc(config.rpc()));
  PH_RETURN_IF_ERROR(CheckTls(config.tls()));
  if (service != "standalone") PH_RETURN_IF_ERROR(CheckPeers(config, service));
  PH_RETURN_IF_ERROR(CheckEndpoint("ingress.smtp", config.ingress().smtp()));
  PH_RETURN_IF_ERROR(CheckEndpoint("ingress.submission", config.ingress().submission()));
  PH_RETURN_IF_ERROR(CheckEndpoint("ingress.submissions", config.ingress().submissions()));
  PH_RETURN_IF_ERROR(CheckNetworks("ingress.relay_networks", config.ingress().relay_networks()));
  PH_RETURN_IF_ERROR(CheckOneOf("ingress.bare_lf", config.ingress().bare_lf(), {"reject", "normalize"}));
  PH_RETURN_IF_ERROR(CheckEndpoint("gateway.imap", config.gateway().imap()));
  PH_RETURN_IF_ERROR(CheckEndpoint("gateway.imaps", config.gateway().imaps()));
  PH_RETURN_IF_ERROR(CheckEndpoint("gateway.pop3", config.gateway().pop3()));
  PH_RETURN_IF_ERROR(CheckEndpoint("gateway.pop3s", config.gateway().pop3s()));
  PH_RETURN_IF_ERROR(CheckPorts(config, service));
  if (service == "standalone") PH_RETURN_IF_ERROR(CheckSizes(config));
  PH_RETURN_IF_ERROR(CheckRouting(config.routing()));
  return CheckQueue(config.queue());
}

}  // namespace posthouse::config
