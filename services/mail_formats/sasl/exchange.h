// Exchange: one authentication of SMTP (RFC 4954 §4), IMAP (RFC 9051 §6.2.2) or POP3
// (RFC 5034 §4). All three carry SASL messages as lines of base64 in the same way.
//
// Base64 is strict (RFC 4648 §3): padding is required, and characters outside the
// alphabet and pad bits that are not zero are refused. RFC 4954 §4 says the same of a
// line that cannot be decoded: 501.
//
// Threads: one connection.
#pragma once

#include <memory>
#include <optional>

#include "absl/strings/string_view.h"
#include "services/mail_formats/sasl/mechanism.h"

namespace posthouse::sasl {

class Exchange {
 public:
  // nullopt: the mechanism is unknown.
  static std::optional<Exchange> Begin(absl::string_view mechanism);

  // `initial` as it follows the mechanism's name: base64, "=" for an empty response;
  // nullopt: none. A Challenge comes back in base64, to be sent after "334 " or "+ ".
  Step Start(std::optional<absl::string_view> initial);
  // A line of the client, without its CRLF; "*" cancels.
  Step OnLine(absl::string_view line);

 private:
  explicit Exchange(std::unique_ptr<Mechanism> mechanism);

  std::unique_ptr<Mechanism> mechanism_;
};

}  // namespace posthouse::sasl
