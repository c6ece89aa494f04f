// What all calls of a channel say of their caller. A light header, without gRPC.
// Constants and a value.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace posthouse::rpc {

using ChannelMetadata = std::vector<std::pair<std::string, std::string>>;  // key, value

// The service that calls ("queue"). A server believes it of its own process and of callers that send the secret.
inline constexpr char kCallerKey[] = "posthouse-caller";
// The store that the caller means (Shard.name, may be ""). Absent: it means no store in particular.
inline constexpr char kShardKey[] = "posthouse-shard";
// "Bearer <secret of rpc.token_file>" (RFC 6750 §2.1)
inline constexpr char kTokenKey[] = "authorization";
inline constexpr char kTokenPrefix[] = "Bearer ";

}  // namespace posthouse::rpc
