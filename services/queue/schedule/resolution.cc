#include "services/queue/schedule/resolution.h"

#include "absl/strings/str_cat.h"

namespace posthouse::queue {
namespace {

using Response = posthouse::routing::v1::ResolveRecipientResponse;

Outcome Refused(const Response& answer) {
  Outcome outcome;
  switch (answer.outcome()) {
    case Response::OUTCOME_NO_SUCH_MAILBOX:
      outcome = MakeOutcome(Outcome::Kind::kPermanent, 550, "5.1.1", "no such mailbox");
      break;
    case Response::OUTCOME_BAD_ADDRESS:
      outcome = MakeOutcome(Outcome::Kind::kPermanent, 553, "5.1.3", "bad destination mailbox address syntax");
      break;
    case Response::OUTCOME_RELAY_DENIED:
      outcome = MakeOutcome(Outcome::Kind::kPermanent, 554, "5.7.1", "relaying denied");
      break;
    case Response::OUTCOME_TOO_DEEP:
      outcome = MakeOutcome(Outcome::Kind::kPermanent, 554, "5.4.6", "aliases are nested too deep");
      break;
    case Response::OUTCOME_TOO_MANY:
      outcome = MakeOutcome(Outcome::Kind::kPermanent, 554, "5.5.3", "the address expands to too many recipients");
      break;
    case Response::OUTCOME_SUSPENDED:
      outcome = MakeOutcome(Outcome::Kind::kTemporary, 450, "4.2.1", "mailbox disabled");
      break;
    default:
      outcome = MakeOutcome(Outcome::Kind::kTemporary, 451, "4.4.3", "address lookup failed, try again later");
      break;
  }
  outcome.attempt.set_error(CutText(answer.detail()));
  return outcome;
}

void SetFinal(const posthouse::routing::v1::Recipient& resolved, v1::EnvelopeRecipient* recipient) {
  if (!resolved.address().empty()) recipient->set_address(resolved.address());
  *recipient->mutable_resolved() = resolved;
}

}  // namespace

std::optional<Outcome> ApplyResolution(int index, const absl::StatusOr<Response>& answer, absl::Time now,
                                       const SettlementPolicy& policy, v1::Item* item, Unsaved* unsaved) {
  if (!answer.ok()) {
    Outcome outcome = MakeOutcome(Outcome::Kind::kTemporary, 451, "4.4.3", "address lookup failed, try again later");
    outcome.attempt.set_error(CutText(absl::StrCat("routing: ", answer.status().message())));
    return outcome;
  }
  if (answer->outcome() != Response::OUTCOME_ACCEPT || answer->recipients().empty()) return Refused(*answer);
  SetFinal(answer->recipients(0), item->mutable_recipients(index)->mutable_recipient());
  for (int i = 1; i < answer->recipients_size(); ++i) {
    if (!AddRecipient(answer->recipients(i).address(), now, policy, item, unsaved)) continue;
    v1::EnvelopeRecipient* added = item->mutable_recipients(item->recipients_size() - 1)->mutable_recipient();
    const v1::EnvelopeRecipient& alias = item->recipients(index).recipient();
    *added->mutable_notify() = alias.notify();
    added->set_original(alias.original());
    added->set_orcpt(alias.orcpt());
    SetFinal(answer->recipients(i), added);
    unsaved->changed.insert(index);
  }
  return std::nullopt;
}

}  // namespace posthouse::queue
