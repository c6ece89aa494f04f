// SASL mechanisms (RFC 4422), server side, as steps without I/O: the client's
// message goes in, the next challenge, the credentials or an error comes out.
//
//   Start(initial response) ─▶ Challenge ─▶ Next(response) ─▶ ... ─▶ Credentials
//
// Messages are the octets of the mechanism; exchange.h adds the base64 of the
// protocols. A mechanism verifies nothing: the caller sends Credentials to the directory.
// A further mechanism is a class and a row in mechanism.cc. SCRAM (RFC 5802) needs one
// more alternative in Step, a request for the account's stored key; OAUTHBEARER (RFC
// 7628) needs a token in Credentials.
//
// Threads: a mechanism serves one exchange of one connection.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace posthouse::sasl {

// The server's next message.
struct Challenge {
  std::string bytes;
};

// The claims of the client; nothing is verified yet.
//
// The authorisation identity (authzid) is checked here and not passed on. RFC 4616 §2
// lets the server decide which user may act for another. No user may here, so an authzid
// is refused unless it is empty or equal to the user name. The comparison ignores the
// case of ASCII letters, since the directory ignores it in user names.
struct Credentials {
  std::string username;  // authcid; not empty, valid UTF-8
  std::string password;  // valid UTF-8
};

// An error ends the exchange, and says which reply the client gets:
//   kInvalidArgument   the message is not the mechanism's grammar
//   kUnauthenticated   not valid UTF-8: the same reply as for a wrong password
//   kPermissionDenied  the authorisation identity is not the user's own
//   kCancelled         the client gave up (exchange.h)
using Step = std::variant<Challenge, Credentials, absl::Status>;

// One exchange of one mechanism, on the side of the server.
class Mechanism {
 public:
  virtual ~Mechanism() = default;
  // First call. nullopt: the client sent no initial response; "" is an empty one.
  virtual Step Start(std::optional<absl::string_view> initial) = 0;
  // The answer to the last Challenge.
  virtual Step Next(absl::string_view response) = 0;
};

// The names, in upper case, in the order to offer them. All of them send the password
// itself, so a server offers none without TLS.
absl::Span<const absl::string_view> MechanismNames();

// `name` in any case (RFC 4422 §3.1 has upper case; clients differ); null: unknown.
std::unique_ptr<Mechanism> NewMechanism(absl::string_view name);

}  // namespace posthouse::sasl
