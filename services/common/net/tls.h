// TLS by OpenSSL: server and client contexts, SNI, reload of changed files.
//
// TLS 1.2 and 1.3 only (RFC 8996); cipher choice is OpenSSL's default at level 2.
// Threads: any; a reload replaces the context for connections that start later.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace posthouse::net {

struct CertificateFiles {
  std::string certificate_chain;  // PEM, leaf first
  std::string private_key;        // PEM
};

// What a finished handshake agreed; for logs, Received: lines and policy.
struct TlsInfo {
  std::string version;  // "TLSv1.3"
  std::string cipher;   // "TLS_AES_256_GCM_SHA384"
  int cipher_bits = 0;
  std::string sni;
  std::string peer_subject;  // verified client certificate, else empty
  bool verified = false;     // the peer's chain and name were checked and hold
};

// Changed files are found without being told: a handshake or NotAfter() looks at them,
// at most every `look_every`. What cannot be loaded (or has expired) is logged and
// counted, and the old certificates stay in use. Threads: any.
class TlsServerContext {
 public:
  // The first certificate is the default; others are chosen by SNI against their
  // subjectAltNames. Error names the file and what is wrong with it; a certificate that
  // has expired is refused.
  static absl::StatusOr<std::shared_ptr<TlsServerContext>> Create(std::vector<CertificateFiles> certificates,
                                                                  absl::Duration look_every = absl::Seconds(5));
  virtual ~TlsServerContext() = default;
  // Loads the files again. On error the old certificates stay in use.
  virtual absl::Status Reload() = 0;
  // Reload() if any file changed since it was loaded. Returns whether it did.
  virtual absl::StatusOr<bool> ReloadIfChanged() = 0;
  // Of the certificates in use, the first to expire.
  virtual absl::Time NotAfter() = 0;
  // Changed files that could not be loaded, since the start.
  virtual uint64_t ReloadFailures() const = 0;
};

enum class VerifyPeer {
  kNone,      // opportunistic (RFC 7435): encrypts, proves nothing
  kHostname,  // chain to the trust anchors, name as in RFC 6125
};

class TlsClientContext {
 public:
  // `ca_file` empty: the system's trust anchors.
  static absl::StatusOr<std::shared_ptr<TlsClientContext>> Create(VerifyPeer verify, const std::string& ca_file);
  virtual ~TlsClientContext() = default;
};

// Writes a self-signed P-256 certificate for `names` (first is CN, all are SANs)
// valid `days` days, and its key with mode 0600. Used by `standalone` on first start.
absl::Status WriteSelfSigned(const CertificateFiles& files, const std::vector<std::string>& names, int days);

}  // namespace posthouse::net
