// The PROXY protocol, versions 1 and 2: what a load balancer says about the real
// client before the connection's own bytes.
// https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt §2
#pragma once

#include <cstddef>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/common/net/connection.h"

namespace posthouse::net {

// Longest header taken: 107 bytes for v1; v2 up to 16 + 520 (TLVs are skipped).
inline constexpr size_t kMaxProxyHeader = 536;

struct ProxyHeader {
  size_t header_bytes = 0;         // to consume
  std::optional<Endpoint> source;  // nullopt: LOCAL or UNKNOWN, keep the real peer
  std::optional<Endpoint> destination;
};

// Parses the start of `input`. kUnavailable: more bytes are needed (there are
// fewer than kMaxProxyHeader); kInvalidArgument: not a PROXY header.
absl::StatusOr<ProxyHeader> ParseProxyHeader(absl::string_view input);

}  // namespace posthouse::net
