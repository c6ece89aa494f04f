// The addresses behind the name of a gRPC target, for callers that want each process and not just any of them
// (ResolveHost() asks for a bare name). No gRPC. Threads: any; what resolves blocks.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace posthouse::rpc {

// A target whose name may have several addresses, each of them a process.
struct TargetName {
  std::string server;  // "10.0.0.10:53": the DNS server that the target names; "": that of the system
  std::string host;
  std::string port;
};

// nullopt: the target is one process, as an address, a name of this machine or a socket; or only gRPC can ask its DNS
// server, which has no IPv4 address.
std::optional<TargetName> NameOfTarget(absl::string_view target);

// "10.0.0.7:7403" for each address: IPv4 ones when there are any, else IPv6 ones, since a process with both would count
// twice. kUnavailable: none was found. Blocks, with a server of the target's own for 4 s at most.
absl::StatusOr<std::vector<std::string>> Resolve(const TargetName& name);

}  // namespace posthouse::rpc
