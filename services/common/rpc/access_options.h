// What rpc::Access compares calls with. A light header, without gRPC.
// A value.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "services/common/rpc/callers.h"

namespace posthouse::rpc {

struct AccessOptions {
  // The store of this process ("" is a name, too); nullopt: it has none, and calls for any are welcome.
  std::optional<std::string> shard;
  // Callers by name of a certificate, before CallerOfCertificate().
  std::map<std::string, Caller> identities;
  std::string token;  // the secret that makes a caller known; "": none
};

// The payload of a status that Access made, and the error details of such a call.
inline constexpr char kRefusalPayload[] = "posthouse.rpc.refused";

}  // namespace posthouse::rpc
