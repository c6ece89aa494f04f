// Parameters of MAIL and RCPT (RFC 5321 §4.1.2): one type for each, with the grammar
// of its value in both directions. The server's commands, the client's messages and
// the queue's envelope (envelope_proto.h) share these types.
//
// A parser receives what follows "=" and returns nullopt for what is not the grammar.
// Threads: values, and functions without state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace posthouse::smtp {

// The most recipients of one message in the queue, after aliases and groups.
inline constexpr uint32_t kMaxEnvelopeRecipients = 5000;

enum class Body { kSevenBit, kEightBitMime, kBinaryMime };  // RFC 6152, RFC 3030
enum class Ret { kUnset, kHeaders, kFull };                 // RFC 3461 §4.3

// RFC 3461 §4.1. Nothing set: the parameter was not given. `never` excludes the others.
struct Notify {
  bool never = false, success = false, failure = false, delay = false;
  bool given() const { return never || success || failure || delay; }
  std::string ToString() const;  // "NEVER", "SUCCESS,DELAY"; "" when not given
  friend bool operator==(const Notify&, const Notify&) = default;
};

// RFC 3461 §4.2. Empty `type`: the parameter was not given.
struct Orcpt {
  std::string type;     // "rfc822", "utf-8": RFC 3798's address-type
  std::string address;  // any octets; of type "utf-8" still in the encoding of RFC 6533 §3
  bool given() const { return !type.empty(); }
  // "rfc822;user@example.org", the form of rows and RPCs; "" when not given.
  std::string ToString() const;
  static Orcpt FromString(absl::string_view text);  // not given when there is no ";"
  friend bool operator==(const Orcpt&, const Orcpt&) = default;
};

// The parameters of MAIL FROM.
struct MailParameters {
  std::optional<uint64_t> size;  // RFC 1870, bytes
  Body body = Body::kSevenBit;
  bool smtputf8 = false;  // RFC 6531 §3.4
  Ret ret = Ret::kUnset;
  std::string envid;                // RFC 3461 §4.4, decoded; "" when not given
  std::optional<std::string> auth;  // RFC 4954 §5, decoded; "<>" as it is. Never trusted.
};

// The parameters of RCPT TO (RFC 3461).
struct RcptParameters {
  Notify notify;
  Orcpt orcpt;
};

// size-value = 1*20DIGIT (RFC 1870 §4); also chunk-size (RFC 3030 §2).
std::optional<uint64_t> ParseSize(absl::string_view value);
std::optional<Body> ParseBody(absl::string_view value);
std::optional<Ret> ParseRet(absl::string_view value);
// xtext of at most 100 characters, printable ASCII when decoded (RFC 3461 §4.4).
std::optional<std::string> ParseEnvid(absl::string_view value);
// xtext of a mailbox, or "<>", at most 500 characters (RFC 4954 §5).
std::optional<std::string> ParseAuth(absl::string_view value);
std::optional<Notify> ParseNotify(absl::string_view value);
std::optional<Orcpt> ParseOrcpt(absl::string_view value);

// The values as MAIL and RCPT carry them. `ret` must not be kUnset.
absl::string_view EncodeRet(Ret ret);
std::string EncodeEnvid(absl::string_view envid);
// "" when the address cannot be written as a parameter: a malformed type, or a
// "utf-8" address that needs SMTPUTF8 where `smtputf8` is false.
std::string EncodeOrcpt(const Orcpt& orcpt, bool smtputf8);

}  // namespace posthouse::smtp
