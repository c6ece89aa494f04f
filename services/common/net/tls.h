// TLS by OpenSSL: server and client contexts, SNI, reload of changed files.
//
// TLS 1.2 and 1.3 only (RFC 8996); cipher choice is OpenSSL's default at level 2.
// Threads: any; a reload replaces the context for connections that start later.
#pragma once

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

class TlsServerContext {
 public:
  // The first certificate is the default; others are chosen by SNI against their
  // subjectAltNames. Error names the file and what is wrong with it.
  static absl::StatusOr<std::shared_ptr<TlsServerContext>> Create(std::vector<CertificateFiles> certificates);
  virtual ~TlsServerContext() = default;
  // Loads the files again. On error the old certificates stay in use.
  virtual absl::Status Reload() = 0;
  // Reload() if any file changed since it was loaded. Returns whether it did.
  virtual absl::StatusOr<bool> ReloadIfChanged() = 0;
  // Of the certificates in use, the first to expire.
  virtual absl::Time NotAfter() const = 0;
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
