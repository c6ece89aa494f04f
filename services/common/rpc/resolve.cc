#include "services/common/rpc/resolve.h"

#include <ares.h>
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "services/common/rpc/credentials.h"
#include "services/common/rpc/members.h"
#include "services/common/status/status.h"

namespace posthouse::rpc {
namespace {

using Addresses = absl::StatusOr<std::vector<std::string>>;

// "10.0.0.10" or "10.0.0.10:53".
std::optional<sockaddr_in> ServerAddress(absl::string_view text) {
  const size_t colon = text.find(':');
  uint32_t port = 53;
  if (colon != absl::string_view::npos &&
      (!absl::SimpleAtoi(text.substr(colon + 1), &port) || port == 0 || port > 65535)) {
    return std::nullopt;
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (inet_pton(AF_INET, std::string(text.substr(0, colon)).c_str(), &address.sin_addr) != 1) return std::nullopt;
  return address;
}

absl::Status CannotResolve(const std::string& host, absl::string_view why) {
  return absl::UnavailableError(absl::StrCat("cannot resolve ", host, ": ", why));
}

// The addresses of one type; none is no error.
Addresses Query(res_state state, const TargetName& name, ns_type type) {
  std::vector<unsigned char> answer(NS_MAXMSG);
  const int room = static_cast<int>(answer.size());
  const int size = res_nquery(state, name.host.c_str(), ns_c_in, type, answer.data(), room);
  if (size < 0) {
    if (state->res_h_errno == NO_DATA) return std::vector<std::string>();
    return CannotResolve(name.host, hstrerror(state->res_h_errno));
  }
  constexpr int kMost = 256;
  std::vector<ares_addrttl> v4(type == ns_t_a ? kMost : 0);
  std::vector<ares_addr6ttl> v6(type == ns_t_a ? 0 : kMost);
  int count = kMost;
  const int parsed = type == ns_t_a
                         ? ares_parse_a_reply(answer.data(), std::min(size, room), nullptr, v4.data(), &count)
                         : ares_parse_aaaa_reply(answer.data(), std::min(size, room), nullptr, v6.data(), &count);
  if (parsed == ARES_ENODATA) return std::vector<std::string>();
  if (parsed != ARES_SUCCESS) return CannotResolve(name.host, ares_strerror(parsed));
  std::vector<std::string> found;
  char text[INET6_ADDRSTRLEN];
  for (size_t i = 0; i < std::min(v4.size(), static_cast<size_t>(count)); ++i) {
    found.push_back(absl::StrCat(inet_ntop(AF_INET, &v4[i].ipaddr, text, sizeof text), ":", name.port));
  }
  for (size_t i = 0; i < std::min(v6.size(), static_cast<size_t>(count)); ++i) {
    found.push_back(absl::StrCat("[", inet_ntop(AF_INET6, &v6[i].ip6addr, text, sizeof text), "]:", name.port));
  }
  return found;
}

Addresses AskServer(const sockaddr_in& server, const TargetName& name) {
  struct __res_state state{};
  if (res_ninit(&state) != 0) return CannotResolve(name.host, "no resolver");
  const absl::Cleanup close = [&state] { res_nclose(&state); };
  state.nscount = 1;
  state.nsaddr_list[0] = server;
  state.retrans = 1;
  state.retry = 2;
  PH_ASSIGN_OR_RETURN(std::vector<std::string> found, Query(&state, name, ns_t_a));
  if (found.empty()) return Query(&state, name, ns_t_aaaa);
  return found;
}

}  // namespace

std::optional<TargetName> NameOfTarget(absl::string_view target) {
  TargetName name;
  name.host = HostOfTarget(target);
  const bool address =
      absl::StrContains(name.host, ':') || name.host.find_first_not_of("0123456789.") == std::string::npos;
  if (address || IsLoopback(name.host)) return std::nullopt;
  // "dns://server/host:port", and "dns:///host:port" for the server of the system.
  if (absl::ConsumePrefix(&target, "dns://")) {
    const size_t slash = target.find('/');
    if (slash == absl::string_view::npos) return std::nullopt;
    name.server = std::string(target.substr(0, slash));
    if (!name.server.empty() && !ServerAddress(name.server)) return std::nullopt;
  }
  const size_t colon = target.rfind(':');
  if (colon == absl::string_view::npos) return std::nullopt;
  name.port = std::string(target.substr(colon + 1));
  return name;
}

absl::StatusOr<std::vector<std::string>> Resolve(const TargetName& name) {
  const std::optional<sockaddr_in> server = ServerAddress(name.server);
  PH_ASSIGN_OR_RETURN(std::vector<std::string> found,
                      server ? AskServer(*server, name) : ResolveHost(name.host, name.port));
  if (found.empty()) return CannotResolve(name.host, "it has no address");
  return found;
}

}  // namespace posthouse::rpc
