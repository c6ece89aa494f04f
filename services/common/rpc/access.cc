#include "services/common/rpc/access.h"

#include <openssl/crypto.h>

#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/rpc/admission.h"
#include "services/common/rpc/credentials.h"
#include "services/common/rpc/metadata.h"

namespace posthouse::rpc {
namespace {

// gRPC's names of transports without an address: the in-process one, and descriptors that UnixListener accepted.
// Every HTTP/2 transport of gRPC 1.51 has the address of its socket, and a connection without one is dropped.
constexpr absl::string_view kInProcessPeer = "unknown";
constexpr absl::string_view kSocketPeerPrefix = "fd:";

absl::string_view View(const grpc::string_ref& text) { return {text.data(), text.size()}; }

std::optional<absl::string_view> Metadata(const grpc::CallbackServerContext& context, const char* key) {
  const auto it = context.client_metadata().find(key);
  if (it == context.client_metadata().end()) return std::nullopt;
  return View(it->second);
}

bool SameSecret(absl::string_view a, absl::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

absl::Status Refusal(absl::StatusCode code, std::string text) {
  absl::Status status(code, text);
  status.SetPayload(kRefusalPayload, absl::Cord("1"));
  return status;
}

metrics::Counter& AddRefusedCalls(metrics::Registry& registry, const char* reason) {
  return registry.AddCounter("posthouse_rpc_refused_calls_total",
                             "Calls refused before they started, by reason: caller, whom the method does not allow; "
                             "shard, for which this store is the wrong one.",
                             {{"reason", reason}});
}

}  // namespace

std::string PeerName(const grpc::CallbackServerContext& context) {
  const auto auth = context.auth_context();
  if (auth != nullptr && auth->IsPeerAuthenticated()) {
    std::vector<std::string> names = PeerNames(*auth);
    if (!names.empty()) return std::move(names.front());
  }
  std::string peer = context.peer();
  if (peer == kInProcessPeer) return "inproc";
  if (absl::StartsWith(peer, kSocketPeerPrefix)) return "socket";
  return peer;
}

Access::Access(AccessOptions options, metrics::Registry& registry)
    : options_(std::move(options)),
      wrong_caller_(AddRefusedCalls(registry, "caller")),
      wrong_shard_(AddRefusedCalls(registry, "shard")) {}

Caller Access::OfCertificate(const grpc::CallbackServerContext& context) const {
  const auto auth = context.auth_context();
  if (auth == nullptr || !auth->IsPeerAuthenticated()) return Caller::kNobody;
  const std::vector<std::string> names = PeerNames(*auth);
  for (const std::string& name : names) {
    const auto it = options_.identities.find(name);
    if (it != options_.identities.end()) return it->second;
  }
  for (const std::string& name : names) {
    const Caller caller = CallerOfCertificate(name);
    if (caller != Caller::kNobody) return caller;
  }
  return Caller::kNobody;
}

Caller Access::Identify(const grpc::CallbackServerContext& context) const {
  const std::optional<absl::string_view> claimed = Metadata(context, kCallerKey);
  const std::string peer = context.peer();
  // Only code of this process has a channel without a socket.
  if (peer == kInProcessPeer) return claimed.has_value() ? CallerNamed(*claimed) : Caller::kProcess;
  // UnixListener has checked the user.
  if (absl::StartsWith(peer, kSocketPeerPrefix)) return Caller::kAdmin;
  const Caller by_certificate = OfCertificate(context);
  if (by_certificate != Caller::kNobody || options_.token.empty()) return by_certificate;
  const std::optional<absl::string_view> token = Metadata(context, kTokenKey);
  if (!token.has_value() || !SameSecret(*token, absl::StrCat(kTokenPrefix, options_.token))) return Caller::kNobody;
  return claimed.has_value() ? CallerNamed(*claimed) : Caller::kAdmin;
}

absl::Status Access::CheckShard(const grpc::CallbackServerContext& context) const {
  if (!options_.shard.has_value()) return absl::OkStatus();
  const std::optional<absl::string_view> meant = Metadata(context, kShardKey);
  if (!meant.has_value() || *meant == *options_.shard) return absl::OkStatus();
  return Refusal(
      absl::StatusCode::kFailedPrecondition,
      absl::StrCat("the call is for the store \"", *meant, "\", and this is the store \"", *options_.shard,
                   "\": compare the names and targets in the caller's peers with the shard of this service"));
}

absl::Status Access::Admit(const grpc::CallbackServerContext& context, absl::string_view method) const {
  const Caller caller = Identify(context);
  absl::Status status;
  if (!MayCall(caller, method)) {
    wrong_caller_.Add();
    status = Refusal(
        absl::StatusCode::kPermissionDenied,
        absl::StrCat(
            CallerName(caller), " (", PeerName(context), ") may not call ", method,
            caller == Caller::kNobody ? ": the caller has no certificate or secret that this service knows" : ""));
  } else {
    status = CheckShard(context);
    if (!status.ok()) wrong_shard_.Add();
  }
  if (status.ok() && Metadata(context, kAdmissionKey).has_value()) {
    return Refusal(absl::StatusCode::kAborted, kAdmitted);
  }
  if (status.ok()) return status;
  int64_t dropped = 0;
  if (limit_.Allow(&dropped)) {
    LOG_EVENT(kWarning, "rpc_refused")
        .Str("caller", CallerName(caller))
        .Str("peer", PeerName(context))
        .Str("method", method)
        .Err(status)
        .Int("not_logged", dropped);
  }
  return status;
}

}  // namespace posthouse::rpc
