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

// Paths of a certificate and its key.
struct CertificateFiles {
  std::string certificate_chain;  // PEM, leaf first
  std::string private_key;        // PEM
};

// The result of a handshake, for logs, Received: fields and policy.
struct TlsInfo {
  std::string version;  // "TLSv1.3"
  std::string cipher;   // "TLS_AES_256_GCM_SHA384"
  int cipher_bits = 0;
  std::string sni;
  std::string peer_subject;  // verified client certificate, else empty
  bool verified = false;     // the peer's certificate chain and name are right
};

// Finds changed files by itself: a handshake or NotAfter() looks at them, at most every
// `look_every`. When a file cannot be loaded or its certificate has expired, that is logged
// and counted, and the old certificates stay in use. Threads: any.
class TlsServerContext {
 public:
  // The first certificate is the default; the others are chosen when SNI is one of their
  // subjectAltNames. An error names the file and its fault; an expired certificate is an error.
  static absl::StatusOr<std::shared_ptr<TlsServerContext>> Create(std::vector<CertificateFiles> certificates,
                                                                  absl::Duration look_every = absl::Seconds(5));
  virtual ~TlsServerContext() = default;
  // Loads the files again. On error the old certificates stay in use.
  virtual absl::Status Reload() = 0;
  // Reload() if any file changed since it was loaded. Returns whether it did.
  virtual absl::StatusOr<bool> ReloadIfChanged() = 0;
  // When the first of the certificates in use expires.
  virtual absl::Time NotAfter() = 0;
  // How often changed files could not be loaded, since the start.
  virtual uint64_t ReloadFailures() const = 0;
};

// What a client asks of the certificate of a server.
enum class VerifyPeer {
  kNone,      // opportunistic (RFC 7435): encrypted, any certificate
  kHostname,  // the chain ends at a trust anchor and the name matches (RFC 6125)
};

// The settings of outgoing TLS connections. Threads: any.
class TlsClientContext {
 public:
  // `ca_file` empty: the system's trust anchors.
  static absl::StatusOr<std::shared_ptr<TlsClientContext>> Create(VerifyPeer verify, const std::string& ca_file);
  virtual ~TlsClientContext() = default;
};

// Writes a self-signed P-256 certificate for `names` (the first is the CN, all are SANs),
// valid for `days` days, and its key with mode 0600. `standalone` uses it on its first start.
absl::Status WriteSelfSigned(const CertificateFiles& files, const std::vector<std::string>& names, int days);

}  // namespace posthouse::net
