// The PROXY protocol, versions 1 and 2: a load balancer's header, before the bytes of the
// connection, names the client.
// https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt §2
// Threads: stateless.
#pragma once

#include <cstddef>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/common/net/connection.h"

namespace posthouse::net {

// The longest header that is accepted: 107 bytes in v1, 16 + 520 in v2 (TLVs are skipped).
inline constexpr size_t kMaxProxyHeader = 536;

// A parsed header: who the client is, as the load balancer saw it.
struct ProxyHeader {
  size_t header_bytes = 0;         // the length of the header in `input`
  std::optional<Endpoint> source;  // nullopt: LOCAL or UNKNOWN, the socket's peer is the client
  std::optional<Endpoint> destination;
};

// Parses the start of `input`. kUnavailable: the header is not complete, and `input` has
// fewer than kMaxProxyHeader bytes; kInvalidArgument: not a PROXY header.
absl::StatusOr<ProxyHeader> ParseProxyHeader(absl::string_view input);

}  // namespace posthouse::net
