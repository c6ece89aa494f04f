#include "services/common/rpc/credentials.h"

#include <grpc/grpc_security_constants.h>
#include <grpc/support/log.h>
#include <grpcpp/security/auth_metadata_processor.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <functional>
#include <mutex>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"

namespace posthouse::rpc {
namespace {

namespace tls = grpc::experimental;

// How often gRPC looks for changed files.
constexpr unsigned kRefreshSeconds = 1;

template <typename T, void (*Free)(T*)>
struct Freer {
  void operator()(T* p) const { Free(p); }
};
using X509Ptr = std::unique_ptr<X509, Freer<X509, X509_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY, EVP_PKEY_free>>;
struct FileCloser {
  void operator()(std::FILE* f) const { std::fclose(f); }
};
using FilePtr = std::unique_ptr<std::FILE, FileCloser>;

absl::StatusOr<FilePtr> OpenFile(const std::string& path) {
  FilePtr file(std::fopen(path.c_str(), "re"));
  if (file == nullptr) return absl::FailedPreconditionError(absl::StrCat("cannot read ", path));
  return file;
}

absl::StatusOr<X509Ptr> ReadCertificate(const std::string& path) {
  PH_ASSIGN_OR_RETURN(const FilePtr file, OpenFile(path));
  X509Ptr certificate(PEM_read_X509(file.get(), nullptr, nullptr, nullptr));
  if (certificate == nullptr) return absl::FailedPreconditionError(absl::StrCat(path, " has no PEM certificate"));
  return certificate;
}

// A certificate that an authority has just issued may be valid from a moment on that our clock has not reached.
constexpr absl::Duration kClockSkew = absl::Minutes(5);

absl::Time ToTime(const ASN1_TIME* when) {
  struct tm parts{};
  if (ASN1_TIME_to_tm(when, &parts) != 1) return absl::InfinitePast();
  return absl::FromTM(parts, absl::UTCTimeZone());
}

// Peers refuse a certificate that is not valid now, and say so in their logs only.
absl::Status CheckValidity(const std::string& path, const X509* certificate) {
  const absl::Time now = absl::Now();
  const absl::Time from = ToTime(X509_get0_notBefore(certificate)), to = ToTime(X509_get0_notAfter(certificate));
  if (to <= now) {
    return absl::FailedPreconditionError(absl::StrCat(
        "certificate ", path, " expired on ", absl::FormatTime(to, absl::UTCTimeZone()), ": put a valid one there"));
  }
  if (from > now + kClockSkew) {
    return absl::FailedPreconditionError(absl::StrCat("certificate ", path, " is valid only from ",
                                                      absl::FormatTime(from, absl::UTCTimeZone()),
                                                      " on: put a valid one there, or set this machine's clock"));
  }
  return absl::OkStatus();
}

// The names that the certificate is for: its DNS names and addresses, or its common name when it has none.
std::string NamesIn(const tls::TlsCustomVerificationCheckRequest& request) {
  std::vector<std::string> names;
  for (const grpc::string_ref& name : request.dns_names()) names.emplace_back(name.data(), name.size());
  for (const grpc::string_ref& name : request.ip_names()) names.emplace_back(name.data(), name.size());
  if (names.empty()) names.emplace_back(request.common_name().data(), request.common_name().size());
  return absl::StrJoin(names, ", ");
}

// gRPC's check of the host name, with an error that says which names there are.
class HostNames final : public tls::ExternalCertificateVerifier {
 public:
  bool Verify(tls::TlsCustomVerificationCheckRequest* request, std::function<void(grpc::Status)> callback,
              grpc::Status* sync_status) override {
    const bool done = grpc_.Verify(request, std::move(callback), sync_status);
    if (done && !sync_status->ok()) {
      const std::string target(request->target_name().data(), request->target_name().size());
      *sync_status = grpc::Status(
          sync_status->error_code(),
          absl::StrCat("the certificate of ", target, " is for ", NamesIn(*request), ", not for ", HostOfTarget(target),
                       ": give it this subjectAltName, or call the service by a name that it has"));
    }
    return done;
  }
  void Cancel(tls::TlsCustomVerificationCheckRequest* request) override { grpc_.Cancel(request); }

 private:
  tls::HostNameCertificateVerifier grpc_;
};

// Accepts the calls of named peers only. Runs on the call's thread: it only looks up a name.
class AllowedPeers final : public grpc::AuthMetadataProcessor {
 public:
  explicit AllowedPeers(const std::vector<std::string>& names) : names_(names.begin(), names.end()) {}
  bool IsBlocking() const override { return false; }
  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext* context, OutputMetadata* consumed,
                       OutputMetadata* response) override {
    const std::vector<std::string> peer = PeerNames(*context);
    for (const std::string& name : peer) {
      if (names_.count(name) > 0) return grpc::Status::OK;
    }
    const std::string who = peer.empty() ? "a peer without a name" : peer.front();
    int64_t dropped = 0;
    if (limit_.Allow(&dropped)) {
      LOG_EVENT(kWarning, "rpc_peer_refused").Str("peer", who).Int("not_logged", dropped);
    }
    // Not PERMISSION_DENIED: a caller that asks for a user would take that as an answer about
    // the user. This is a misconfiguration, so temporary.
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, absl::StrCat(who, " is not an allowed peer"));
  }

 private:
  const std::set<std::string> names_;
  log::RateLimit limit_{5};
};

std::shared_ptr<tls::CertificateProviderInterface> Watch(const TlsFiles& files) {
  return std::make_shared<tls::FileWatcherCertificateProvider>(files.private_key, files.certificate_chain, files.ca,
                                                               kRefreshSeconds);
}

absl::Status RefusePlaintext(absl::string_view host) {
  if (IsLoopback(host)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("plaintext gRPC is for loopback addresses only, and \"", host,
                   "\" is not one: set rpc.certificate_file, rpc.private_key_file and rpc.ca_file"));
}

}  // namespace

bool IsLoopback(absl::string_view host) {
  absl::ConsumePrefix(&host, "[");
  absl::ConsumeSuffix(&host, "]");
  if (host == "localhost" || host == "::1") return true;
  return absl::StartsWith(host, "127.") && host.find_first_not_of("0123456789.") == absl::string_view::npos;
}

std::string HostOfTarget(absl::string_view target) {
  if (absl::StartsWith(target, "unix:") || absl::StartsWith(target, "unix-abstract:")) return "localhost";
  for (const absl::string_view scheme : {"dns:", "ipv4:", "ipv6:"}) absl::ConsumePrefix(&target, scheme);
  if (absl::ConsumePrefix(&target, "//")) {  // "//authority/host:port"
    const size_t slash = target.find('/');
    target.remove_prefix(slash == absl::string_view::npos ? target.size() : slash + 1);
  }
  if (absl::ConsumePrefix(&target, "[")) return std::string(target.substr(0, target.find(']')));
  const size_t colon = target.find(':');
  // A second colon: an IPv6 address without a port.
  if (colon != absl::string_view::npos && target.find(':', colon + 1) != absl::string_view::npos) {
    return std::string(target);
  }
  return std::string(target.substr(0, colon));
}

absl::Status CheckTlsFiles(const TlsFiles& files) {
  const bool none = files.certificate_chain.empty() && files.private_key.empty() && files.ca.empty();
  if (none) return absl::OkStatus();
  if (files.certificate_chain.empty() || files.private_key.empty() || files.ca.empty()) {
    return absl::InvalidArgumentError("mTLS needs certificate_file, private_key_file and ca_file: all three or none");
  }
  PH_ASSIGN_OR_RETURN(const X509Ptr certificate, ReadCertificate(files.certificate_chain));
  PH_RETURN_IF_ERROR(ReadCertificate(files.ca).status());
  PH_ASSIGN_OR_RETURN(const FilePtr key_file, OpenFile(files.private_key));
  const KeyPtr key(PEM_read_PrivateKey(key_file.get(), nullptr, nullptr, nullptr));
  if (key == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(files.private_key, " has no PEM private key"));
  }
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    return absl::FailedPreconditionError(
        absl::StrCat(files.private_key, " is not the key of the certificate in ", files.certificate_chain));
  }
  return CheckValidity(files.certificate_chain, certificate.get());
}

absl::Time CertificateNotAfter(const std::string& path) {
  const absl::StatusOr<X509Ptr> certificate = ReadCertificate(path);
  return certificate.ok() ? ToTime(X509_get0_notAfter(certificate->get())) : absl::InfinitePast();
}

void RouteGrpcLog() {
  static std::once_flag once;
  std::call_once(once, [] {
    gpr_set_log_function([](gpr_log_func_args* args) {
      static log::RateLimit limit(5);
      int64_t dropped = 0;
      // At its default verbosity gRPC logs errors only; most are mistakes of peers.
      if (!limit.Allow(&dropped)) return;
      LOG_EVENT(kWarning, "grpc")
          .Str("error", args->message)
          .Str("at", absl::StrCat(args->file, ":", args->line))
          .Int("not_logged", dropped);
    });
  });
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ServerCredentialsFor(
    const TlsFiles& files, absl::string_view host, const std::vector<std::string>& allowed_peers) {
  PH_RETURN_IF_ERROR(CheckTlsFiles(files));
  if (files.ca.empty()) {
    PH_RETURN_IF_ERROR(RefusePlaintext(host));
    if (!allowed_peers.empty()) {
      return absl::InvalidArgumentError(
          "rpc.allowed_peers names certificates: it needs rpc.certificate_file, rpc.private_key_file and rpc.ca_file");
    }
    return grpc::InsecureServerCredentials();
  }
  tls::TlsServerCredentialsOptions options(Watch(files));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  std::shared_ptr<grpc::ServerCredentials> credentials = tls::TlsServerCredentials(options);
  if (!allowed_peers.empty()) {
    credentials->SetAuthMetadataProcessor(std::make_shared<AllowedPeers>(allowed_peers));
  }
  return credentials;
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ChannelCredentialsFor(const TlsFiles& files,
                                                                                absl::string_view host) {
  PH_RETURN_IF_ERROR(CheckTlsFiles(files));
  if (files.ca.empty()) {
    PH_RETURN_IF_ERROR(RefusePlaintext(host));
    return grpc::InsecureChannelCredentials();
  }
  tls::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(Watch(files));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_verify_server_certs(true);
  options.set_certificate_verifier(tls::ExternalCertificateVerifier::Create<HostNames>());
  return tls::TlsCredentials(options);
}

std::vector<std::string> PeerNames(const grpc::AuthContext& auth) {
  std::vector<std::string> names;
  for (const char* property : {GRPC_X509_CN_PROPERTY_NAME, GRPC_PEER_DNS_PROPERTY_NAME}) {
    for (const grpc::string_ref& value : auth.FindPropertyValues(property)) {
      std::string name(value.data(), value.size());
      if (!name.empty() && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(std::move(name));
    }
  }
  return names;
}

}  // namespace posthouse::rpc
