// The certificates that mail clients see (config key `tls`), for ingress and gateway.
// Threads: any; reads and writes files, so not on an event loop. The error names the key and the file.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "services/common/net/tls.h"

namespace posthouse::config::v1 {
class Config;
}

namespace posthouse::runtime {

// Null when no certificate is configured and `tls.self_signed` is not true: then STARTTLS
// is not offered and the TLS ports stay closed. With `self_signed`, writes the files
// <data_dir>/tls/self-signed.{crt,key} when they are missing, damaged or expired. The
// context finds changed files by itself; SIGHUP makes it look at once.
absl::StatusOr<std::shared_ptr<net::TlsServerContext>> LoadMailTls(const config::v1::Config& config);

}  // namespace posthouse::runtime
