#include "services/common/testing/test_ca.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <cstring>

#include "services/common/status/status.h"

namespace posthouse::testing {
namespace {

struct KeyFree {
  void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
};
struct X509Free {
  void operator()(X509* p) const { X509_free(p); }
};
using Key = std::unique_ptr<EVP_PKEY, KeyFree>;
using Certificate = std::unique_ptr<X509, X509Free>;

void AddExtension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  PH_CHECK(extension != nullptr);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

// An unsigned certificate for `key`, valid for a day.
Certificate NewCertificate(EVP_PKEY* key, const std::string& common_name) {
  Certificate certificate(X509_new());
  X509_set_version(certificate.get(), 2);
  unsigned char serial[8];
  RAND_bytes(serial, sizeof serial);
  serial[0] &= 0x7F;
  uint64_t number = 0;
  std::memcpy(&number, serial, sizeof number);
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate.get()), number);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 24 * 3600);
  X509_set_pubkey(certificate.get(), key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(common_name.c_str()), -1, -1, 0);
  return certificate;
}

template <typename Write>
void WritePem(const std::string& path, Write write) {
  const std::string temporary = path + ".new";
  std::FILE* file = std::fopen(temporary.c_str(), "w");
  PH_CHECK(file != nullptr);
  PH_CHECK(write(file) == 1);
  std::fclose(file);
  PH_CHECK(std::rename(temporary.c_str(), path.c_str()) == 0);
}

}  // namespace

struct TestCa::Impl {
  std::string directory;
  std::string name;
  std::string ca_file;
  Key key;
  Certificate certificate;
};

TestCa::TestCa(const std::string& directory, const std::string& name) : impl_(std::make_unique<Impl>()) {
  impl_->directory = directory;
  impl_->name = name;
  impl_->ca_file = directory + "/" + name + "-ca.pem";
  impl_->key.reset(EVP_EC_gen("P-256"));
  impl_->certificate = NewCertificate(impl_->key.get(), name);
  X509* certificate = impl_->certificate.get();
  X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
  AddExtension(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE");
  AddExtension(certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign");
  AddExtension(certificate, certificate, NID_subject_key_identifier, "hash");
  PH_CHECK(X509_sign(certificate, impl_->key.get(), EVP_sha256()) > 0);
  WritePem(impl_->ca_file, [&](std::FILE* f) { return PEM_write_X509(f, certificate); });
}

TestCa::~TestCa() = default;

const std::string& TestCa::ca_file() const { return impl_->ca_file; }

TestCa::Files TestCa::Issue(const std::string& file_name, const std::string& common_name,
                            const std::vector<std::string>& sans, int from, int to) {
  const Key key(EVP_EC_gen("P-256"));
  const Certificate certificate = NewCertificate(key.get(), common_name);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), from);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), to);
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(impl_->certificate.get()));
  std::string names;
  for (const std::string& san : sans) {
    const bool ip = san.find_first_not_of("0123456789.") == std::string::npos || san.find(':') != std::string::npos;
    names += (names.empty() ? "" : ",") + std::string(ip ? "IP:" : "DNS:") + san;
  }
  X509* issuer = impl_->certificate.get();
  if (!names.empty()) AddExtension(certificate.get(), issuer, NID_subject_alt_name, names);
  AddExtension(certificate.get(), issuer, NID_ext_key_usage, "serverAuth,clientAuth");
  AddExtension(certificate.get(), issuer, NID_authority_key_identifier, "keyid");
  PH_CHECK(X509_sign(certificate.get(), impl_->key.get(), EVP_sha256()) > 0);
  const std::string base = impl_->directory + "/" + impl_->name + "-" + file_name;
  Files files{base + ".pem", base + ".key"};
  WritePem(files.private_key,
           [&](std::FILE* f) { return PEM_write_PrivateKey(f, key.get(), nullptr, nullptr, 0, nullptr, nullptr); });
  WritePem(files.certificate, [&](std::FILE* f) { return PEM_write_X509(f, certificate.get()); });
  return files;
}

}  // namespace posthouse::testing
