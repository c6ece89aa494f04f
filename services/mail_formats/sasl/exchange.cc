#include "services/mail_formats/sasl/exchange.h"

#include <string>
#include <utility>

#include "absl/strings/escaping.h"

namespace posthouse::sasl {
namespace {

std::optional<std::string> DecodeBase64(absl::string_view text) {
  std::string bytes;
  // Base64Unescape() skips spaces and needs no padding; only what encodes back to the
  // same text is canonical.
  if (!absl::Base64Unescape(text, &bytes) || absl::Base64Escape(bytes) != text) return std::nullopt;
  return bytes;
}

Step NotBase64() { return absl::InvalidArgumentError("not base64"); }

Step Encoded(Step step) {
  if (Challenge* challenge = std::get_if<Challenge>(&step)) challenge->bytes = absl::Base64Escape(challenge->bytes);
  return step;
}

}  // namespace

Exchange::Exchange(std::unique_ptr<Mechanism> mechanism) : mechanism_(std::move(mechanism)) {}

std::optional<Exchange> Exchange::Begin(absl::string_view mechanism) {
  std::unique_ptr<Mechanism> known = NewMechanism(mechanism);
  if (known == nullptr) return std::nullopt;
  return Exchange(std::move(known));
}

Step Exchange::Start(std::optional<absl::string_view> initial) {
  if (!initial.has_value()) return Encoded(mechanism_->Start(std::nullopt));
  const std::optional<std::string> bytes = DecodeBase64(*initial == "=" ? "" : *initial);
  return bytes.has_value() ? Encoded(mechanism_->Start(*bytes)) : NotBase64();
}

Step Exchange::OnLine(absl::string_view line) {
  if (line == "*") return absl::CancelledError("authentication cancelled");
  const std::optional<std::string> bytes = DecodeBase64(line);
  return bytes.has_value() ? Encoded(mechanism_->Next(*bytes)) : NotBase64();
}

}  // namespace posthouse::sasl
