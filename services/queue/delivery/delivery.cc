#include "services/queue/delivery/delivery.h"

#include "absl/strings/str_cat.h"
#include "services/common/utf8/utf8.h"

namespace posthouse::queue {

std::string CutText(absl::string_view text, size_t max) {
  if (text.size() > max) {
    while (max > 0 && (static_cast<unsigned char>(text[max]) & 0xc0) == 0x80) --max;  // not inside a character
    return absl::StrCat(ReplaceInvalidUtf8(text.substr(0, max)), "...");
  }
  return ReplaceInvalidUtf8(text);
}

Outcome MakeOutcome(Outcome::Kind kind, uint32_t code, absl::string_view status, absl::string_view text) {
  Outcome outcome;
  outcome.kind = kind;
  outcome.status = std::string(status);
  auto* reply = outcome.attempt.mutable_reply();
  reply->set_code(code);
  reply->set_enhanced(outcome.status);
  reply->set_text(CutText(text));
  outcome.attempt.set_ours(true);
  return outcome;
}

DeliveryResult SameForAll(const DeliveryAttempt& attempt, const Outcome& outcome, Reachability reachability) {
  DeliveryResult result;
  result.outcomes.assign(attempt.targets.size(), outcome);
  result.reachability = reachability;
  return result;
}

Outcome OutcomeForUnreadable(const absl::Status& status) {
  Outcome outcome =
      MakeOutcome(Outcome::Kind::kTemporary, 451, "4.3.0", "message cannot be read from the queue, try again later");
  if (absl::IsNotFound(status)) {
    outcome = MakeOutcome(Outcome::Kind::kPermanent, 554, "5.3.0", "message content was lost in the queue");
  }
  outcome.attempt.set_error(CutText(absl::StrCat("reading the message: ", status.message())));
  return outcome;
}

}  // namespace posthouse::queue
