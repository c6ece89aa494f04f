// TLS between services: certificates, allowed peers, and where plaintext is allowed. For
// the .cc files of this directory.
// Threads: any. Reads files, so not on an event loop.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/common/rpc/server.h"

namespace posthouse::rpc {

// Whether traffic to `host` stays on the machine: "127.0.0.1", "::1", "[::1]", "localhost".
bool IsLoopback(absl::string_view host);

// The host of a gRPC target: "dns:///queue:7402" is "queue", "[::1]:1" is "::1";
// "unix:..." counts as "localhost".
std::string HostOfTarget(absl::string_view target);

// All three files or none. Files that are given are read; they must fit together, and the certificate be valid now.
absl::Status CheckTlsFiles(const TlsFiles& files);

// Empty files: plaintext credentials. `host` decides whether that is allowed.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ServerCredentialsFor(
    const TlsFiles& files, absl::string_view host, const std::vector<std::string>& allowed_peers);
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ChannelCredentialsFor(const TlsFiles& files,
                                                                                absl::string_view host);

// When the certificate in `path` expires; InfinitePast when it cannot be read.
absl::Time CertificateNotAfter(const std::string& path);

// Writes gRPC's own messages (failed handshakes, files that do not load) to the log, rate
// limited, instead of stderr. Idempotent.
void RouteGrpcLog();

// The names in a verified peer certificate: its common name, then its DNS names.
std::vector<std::string> PeerNames(const grpc::AuthContext& auth);

}  // namespace posthouse::rpc
