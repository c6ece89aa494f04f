// Access: the check of each call before its handler starts: who calls (callers.h), and for which store.
//
// A caller is known by the name of its certificate, by the secret of rpc.token_file, by the administration socket
// (UnixListener: an administrator), or by its in-process channel. What a refused call meant is not known to its
// handler, and a refusal is a mistake of configuration: rpc::FromGrpc gives it to services as kUnavailable, so that
// nobody takes it for an answer about a user or a message.
//
// Threads: any. For the .cc files of this directory; services get one from ServiceApp.
#pragma once

#include <grpcpp/grpcpp.h>

#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "services/common/log/log.h"
#include "services/common/metrics/metrics.h"
#include "services/common/rpc/access_options.h"
#include "services/common/rpc/callers.h"

namespace posthouse::rpc {

// The name of the caller, for logs: the first name of a certificate, "inproc", "socket", or the address.
std::string PeerName(const grpc::CallbackServerContext& context);

class Access {
 public:
  // `registry` outlives the object.
  Access(AccessOptions options, metrics::Registry& registry);

  // kPermissionDenied: the caller may not call `method` ("package.Service/Method"); kFailedPrecondition: it means
  // another store. A refusal is logged (rpc_refused, rate-limited) and counted
  // (posthouse_rpc_refused_calls_total), and has the payload kRefusalPayload.
  absl::Status Admit(const grpc::CallbackServerContext& context, absl::string_view method) const;

  Caller Identify(const grpc::CallbackServerContext& context) const;

 private:
  Caller OfCertificate(const grpc::CallbackServerContext& context) const;
  absl::Status CheckShard(const grpc::CallbackServerContext& context) const;

  const AccessOptions options_;
  metrics::Counter& wrong_caller_;
  metrics::Counter& wrong_shard_;
  mutable log::RateLimit limit_{5};
};

}  // namespace posthouse::rpc
