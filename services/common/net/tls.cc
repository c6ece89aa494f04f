#include "services/common/net/tls.h"

#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "services/common/file_stamp/file_stamp.h"
#include "services/common/log/log.h"
#include "services/common/net/connection.h"
#include "services/common/net/tls_impl.h"
#include "services/common/status/status.h"

namespace posthouse::net {
namespace {

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* p) const {
    if (p != nullptr) Free(p);
  }
};
using CtxPtr = std::unique_ptr<SSL_CTX, Deleter<SSL_CTX_free>>;
using X509Ptr = std::unique_ptr<X509, Deleter<X509_free>>;
using PkeyPtr = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using FilePtr = std::unique_ptr<FILE, Deleter<fclose>>;

// A certificate that an authority has just issued may be valid from a moment on that our clock has not reached.
constexpr absl::Duration kClockSkew = absl::Minutes(5);

CtxPtr NewContext(const SSL_METHOD* method) {
  CtxPtr ctx(SSL_CTX_new(method));
  SSL_CTX_set_min_proto_version(ctx.get(), TLS1_2_VERSION);  // RFC 8996
  SSL_CTX_set_mode(ctx.get(),
                   SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_options(ctx.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                     SSL_OP_IGNORE_UNEXPECTED_EOF);
  return ctx;
}

// DNS subjectAltNames in lower case, or the CN when there are none.
std::vector<std::string> NamesOf(X509* certificate) {
  std::vector<std::string> names;
  auto* sans = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(sans); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(sans, i);
    if (name->type != GEN_DNS) continue;
    names.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
                       ASN1_STRING_length(name->d.dNSName));
  }
  GENERAL_NAMES_free(sans);
  if (names.empty()) {
    char cn[256] = "";
    X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, cn, sizeof cn);
    if (cn[0] != 0) names.emplace_back(cn);
  }
  for (std::string& name : names) absl::AsciiStrToLower(&name);
  return names;
}

// RFC 6125 §6.4.3: a wildcard matches the whole left-most label.
bool NameMatches(absl::string_view pattern, absl::string_view host) {
  if (pattern == host) return true;
  if (!absl::StartsWith(pattern, "*.")) return false;
  const size_t dot = host.find('.');
  return dot != absl::string_view::npos && host.substr(dot) == pattern.substr(1);
}

absl::Time ToTime(const ASN1_TIME* when) {
  struct tm parts{};
  if (ASN1_TIME_to_tm(when, &parts) != 1) return absl::InfinitePast();
  return absl::FromTM(parts, absl::UTCTimeZone());
}

struct LoadedCertificate {
  CtxPtr ctx;
  std::vector<std::string> names;
  absl::Time not_after;
};

struct LoadedSet {
  std::vector<LoadedCertificate> certificates;
};

int ChooseBySni(SSL* ssl, int* /*alert*/, void* arg) {
  const auto* set = static_cast<const LoadedSet*>(arg);
  const char* sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  if (sni == nullptr) return SSL_TLSEXT_ERR_OK;
  const std::string host = absl::AsciiStrToLower(sni);
  for (const LoadedCertificate& certificate : set->certificates) {
    const bool matches = std::any_of(certificate.names.begin(), certificate.names.end(),
                                     [&](const std::string& name) { return NameMatches(name, host); });
    if (matches) {
      SSL_set_SSL_CTX(ssl, certificate.ctx.get());
      break;
    }
  }
  return SSL_TLSEXT_ERR_OK;  // no match: the default certificate
}

absl::StatusOr<LoadedCertificate> Load(const CertificateFiles& files) {
  LoadedCertificate loaded;
  loaded.ctx = NewContext(TLS_server_method());
  ERR_clear_error();
  if (SSL_CTX_use_certificate_chain_file(loaded.ctx.get(), files.certificate_chain.c_str()) != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot load certificate ", files.certificate_chain, ": ", TakeSslErrors()));
  }
  if (SSL_CTX_use_PrivateKey_file(loaded.ctx.get(), files.private_key.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(loaded.ctx.get()) != 1) {
    return absl::InvalidArgumentError(absl::StrCat("cannot use private key ", files.private_key, " with certificate ",
                                                   files.certificate_chain, ": ", TakeSslErrors()));
  }
  X509* certificate = SSL_CTX_get0_certificate(loaded.ctx.get());
  loaded.names = NamesOf(certificate);
  loaded.not_after = ToTime(X509_get0_notAfter(certificate));
  const absl::Time not_before = ToTime(X509_get0_notBefore(certificate));
  if (loaded.not_after <= absl::Now()) {
    return absl::InvalidArgumentError(absl::StrCat("certificate ", files.certificate_chain, " expired on ",
                                                   absl::FormatTime(loaded.not_after, absl::UTCTimeZone()),
                                                   ": put a valid one there"));
  }
  if (not_before > absl::Now() + kClockSkew) {
    return absl::InvalidArgumentError(absl::StrCat("certificate ", files.certificate_chain, " is valid only from ",
                                                   absl::FormatTime(not_before, absl::UTCTimeZone()),
                                                   " on: put a valid one there, or set this machine's clock"));
  }
  return loaded;
}

class ServerContext final : public TlsServerContext {
 public:
  ServerContext(std::vector<CertificateFiles> files, absl::Duration look_every)
      : files_(std::move(files)), look_every_(look_every) {}

  absl::Status Reload() override {
    if (files_.empty()) return absl::InvalidArgumentError("no TLS certificate is configured");
    std::string stamp = StampAll();
    {
      absl::MutexLock lock(&mutex_);
      tried_stamp_ = stamp;
      next_look_ = absl::Now() + look_every_;
    }
    auto set = std::make_shared<LoadedSet>();
    for (const CertificateFiles& files : files_) {
      absl::StatusOr<LoadedCertificate> loaded = Load(files);
      if (!loaded.ok()) {
        absl::MutexLock lock(&mutex_);
        ++failures_;
        return loaded.status();
      }
      set->certificates.push_back(*std::move(loaded));
    }
    SSL_CTX* first = set->certificates.front().ctx.get();
    SSL_CTX_set_tlsext_servername_callback(first, ChooseBySni);
    SSL_CTX_set_tlsext_servername_arg(first, set.get());
    absl::MutexLock lock(&mutex_);
    set_ = std::move(set);
    stamp_ = std::move(stamp);
    return absl::OkStatus();
  }

  absl::StatusOr<bool> ReloadIfChanged() override {
    {
      absl::MutexLock lock(&mutex_);
      if (StampAll() == stamp_) return false;
    }
    PH_RETURN_IF_ERROR(Reload());
    return true;
  }

  absl::Time NotAfter() override {
    LookForChanges();
    absl::MutexLock lock(&mutex_);
    absl::Time first = absl::InfiniteFuture();
    for (const LoadedCertificate& certificate : set_->certificates) first = std::min(first, certificate.not_after);
    return first;
  }

  uint64_t ReloadFailures() const override {
    absl::MutexLock lock(&mutex_);
    return failures_;
  }

  NewSsl Make() {
    LookForChanges();
    absl::MutexLock lock(&mutex_);
    return NewSsl{SslPtr(SSL_new(set_->certificates.front().ctx.get())), set_};
  }

 private:
  // Two stat() calls for each certificate, rarely: cheap enough for an event loop.
  void LookForChanges() {
    {
      absl::MutexLock lock(&mutex_);
      if (absl::Now() < next_look_) return;
      next_look_ = absl::Now() + look_every_;
      // Files that could not be loaded are tried again after their next change.
      if (StampAll() == tried_stamp_) return;
    }
    const absl::Status status = Reload();
    if (status.ok()) {
      LOG_EVENT(kInfo, "certificates_reloaded").Str("first", files_.front().certificate_chain);
      return;
    }
    LOG_EVENT(kError, "certificate_reload_failed").Err(status);
  }

  std::string StampAll() const {
    std::string all;
    for (const CertificateFiles& f : files_)
      absl::StrAppend(&all, FileStamp(f.certificate_chain), ";", FileStamp(f.private_key), ";");
    return all;
  }

  const std::vector<CertificateFiles> files_;
  const absl::Duration look_every_;
  mutable absl::Mutex mutex_;
  std::shared_ptr<const LoadedSet> set_ ABSL_GUARDED_BY(mutex_);
  std::string stamp_ ABSL_GUARDED_BY(mutex_);        // of the loaded files
  std::string tried_stamp_ ABSL_GUARDED_BY(mutex_);  // of the files tried last
  absl::Time next_look_ ABSL_GUARDED_BY(mutex_);
  uint64_t failures_ ABSL_GUARDED_BY(mutex_) = 0;
};

class ClientContext final : public TlsClientContext {
 public:
  ClientContext(CtxPtr ctx, VerifyPeer verify) : ctx_(std::move(ctx)), verify_(verify) {}

  NewSsl Make(const std::string& server_name) {
    SslPtr ssl(SSL_new(ctx_.get()));
    if (!server_name.empty()) {
      SSL_set_tlsext_host_name(ssl.get(), server_name.c_str());
      if (verify_ == VerifyPeer::kHostname) {
        SSL_set_hostflags(ssl.get(), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        SSL_set1_host(ssl.get(), server_name.c_str());
      }
    }
    return NewSsl{std::move(ssl), nullptr};
  }
  bool verifies() const { return verify_ == VerifyPeer::kHostname; }

 private:
  const CtxPtr ctx_;
  const VerifyPeer verify_;
};

}  // namespace

std::string TakeSslErrors() {
  std::string text;
  while (const unsigned long error = ERR_get_error()) {  // NOLINT(google-runtime-int): OpenSSL's type
    char line[256];
    ERR_error_string_n(error, line, sizeof line);
    absl::StrAppend(&text, text.empty() ? "" : "; ", line);
  }
  return text.empty() ? "no detail" : text;
}

NewSsl MakeServerSsl(TlsServerContext& context) { return static_cast<ServerContext&>(context).Make(); }
NewSsl MakeClientSsl(TlsClientContext& context, const std::string& server_name) {
  return static_cast<ClientContext&>(context).Make(server_name);
}
bool VerifiesPeer(TlsClientContext& context) { return static_cast<ClientContext&>(context).verifies(); }

absl::StatusOr<std::shared_ptr<TlsServerContext>> TlsServerContext::Create(std::vector<CertificateFiles> certificates,
                                                                           absl::Duration look_every) {
  auto context = std::make_shared<ServerContext>(std::move(certificates), look_every);
  PH_RETURN_IF_ERROR(context->Reload());
  return context;
}

absl::StatusOr<std::shared_ptr<TlsClientContext>> TlsClientContext::Create(VerifyPeer verify,
                                                                           const std::string& ca_file) {
  CtxPtr ctx = NewContext(TLS_client_method());
  if (verify == VerifyPeer::kHostname) {
    ERR_clear_error();
    const bool loaded = ca_file.empty() ? SSL_CTX_set_default_verify_paths(ctx.get()) == 1
                                        : SSL_CTX_load_verify_locations(ctx.get(), ca_file.c_str(), nullptr) == 1;
    if (!loaded) {
      return absl::InvalidArgumentError(absl::StrCat("cannot load trust anchors ", ca_file, ": ", TakeSslErrors()));
    }
    SSL_CTX_set_verify(ctx.get(), SSL_VERIFY_PEER, nullptr);
  }
  return std::make_shared<ClientContext>(std::move(ctx), verify);
}

absl::Status WriteSelfSigned(const CertificateFiles& files, const std::vector<std::string>& names, int days) {
  if (names.empty()) return absl::InvalidArgumentError("a certificate needs a name");
  const PkeyPtr key(EVP_EC_gen("P-256"));
  const X509Ptr certificate(X509_new());
  if (key == nullptr || certificate == nullptr) return absl::InternalError(TakeSslErrors());
  X509* x = certificate.get();
  X509_set_version(x, 2);
  ASN1_INTEGER_set_int64(X509_get_serialNumber(x), absl::ToUnixNanos(absl::Now()));
  X509_gmtime_adj(X509_getm_notBefore(x), -3600);                           // for clocks that are slow
  X509_gmtime_adj(X509_getm_notAfter(x), static_cast<long>(days) * 86400);  // NOLINT(google-runtime-int)
  X509_set_pubkey(x, key.get());
  X509_NAME* subject = X509_get_subject_name(x);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(names[0].c_str()), -1,
                             -1, 0);
  X509_set_issuer_name(x, subject);
  std::string sans;
  for (const std::string& name : names) {
    const bool literal = Cidr::Parse(name).ok();
    absl::StrAppend(&sans, sans.empty() ? "" : ",", literal ? "IP:" : "DNS:", name);
  }
  X509V3_CTX v3;
  X509V3_set_ctx(&v3, x, x, nullptr, nullptr, 0);
  const std::pair<int, std::string> extensions[] = {{NID_subject_alt_name, sans},
                                                    {NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                                                    {NID_ext_key_usage, "serverAuth"}};
  for (const auto& [nid, value] : extensions) {
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &v3, nid, value.c_str());
    if (extension == nullptr)
      return absl::InvalidArgumentError(absl::StrCat("bad certificate name: ", TakeSslErrors()));
    X509_add_ext(x, extension, -1);
    X509_EXTENSION_free(extension);
  }
  if (X509_sign(x, key.get(), EVP_sha256()) == 0) return absl::InternalError(TakeSslErrors());

  // From its first byte only this user can read the key.
  const int key_fd = open(files.private_key.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  const FilePtr key_file(key_fd < 0 ? nullptr : fdopen(key_fd, "w"));
  const FilePtr certificate_file(fopen(files.certificate_chain.c_str(), "w"));
  if (key_file == nullptr || certificate_file == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(
        "cannot write ", key_file == nullptr ? files.private_key : files.certificate_chain, ": ", strerror(errno)));
  }
  if (PEM_write_PrivateKey(key_file.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1 ||
      PEM_write_X509(certificate_file.get(), x) != 1 || fflush(key_file.get()) != 0 ||
      fflush(certificate_file.get()) != 0) {
    return absl::ResourceExhaustedError(absl::StrCat("writing ", files.certificate_chain, ": ", strerror(errno)));
  }
  return absl::OkStatus();
}

}  // namespace posthouse::net
