// The OpenSSL objects of tls.h, for common/net only.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <utility>

#include "services/common/net/tls.h"

namespace posthouse::net {

struct SslDeleter {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};
using SslPtr = std::unique_ptr<SSL, SslDeleter>;

// A new SSL object for one connection, and the context that must outlive it.
struct NewSsl {
  SslPtr ssl;
  std::shared_ptr<const void> keep;
};

NewSsl MakeServerSsl(TlsServerContext& context);
// Sets SNI and, when the context verifies, the name that the certificate must have.
NewSsl MakeClientSsl(TlsClientContext& context, const std::string& server_name);
bool VerifiesPeer(TlsClientContext& context);

// Returns OpenSSL's error queue as one line, and empties it.
std::string TakeSslErrors();

}  // namespace posthouse::net
