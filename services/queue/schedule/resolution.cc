#include "services/queue/schedule/resolution.h"

#include <algorithm>

#include "absl/strings/match.h"
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

// Appends the answer's recipients that the item does not have yet.
void AddOthers(int index, const Response& answer, absl::Time now, const SettlementPolicy& policy, v1::Item* item,
               Unsaved* unsaved) {
  for (const posthouse::routing::v1::Recipient& other : answer.recipients()) {
    if (!AddRecipient(other.address(), now, policy, item, unsaved)) continue;
    v1::EnvelopeRecipient* added = item->mutable_recipients(item->recipients_size() - 1)->mutable_recipient();
    const v1::EnvelopeRecipient& alias = item->recipients(index).recipient();
    *added->mutable_notify() = alias.notify();
    added->set_original(alias.original());
    added->set_orcpt(alias.orcpt());
    SetFinal(other, added);
    unsaved->changed.insert(index);
  }
}

bool Has(const v1::Item& item, const std::string& address) {
  return std::any_of(item.recipients().begin(), item.recipients().end(), [&](const v1::ItemRecipient& known) {
    return absl::EqualsIgnoreCase(known.recipient().address(), address);
  });
}

// The answer's recipient with that address; null: none.
const posthouse::routing::v1::Recipient* Find(const Response& answer, const std::string& address) {
  for (const posthouse::routing::v1::Recipient& recipient : answer.recipients()) {
    if (absl::EqualsIgnoreCase(recipient.address(), address)) return &recipient;
  }
  return nullptr;
}

const posthouse::routing::v1::Recipient* FindNew(const Response& answer, const v1::Item& item) {
  for (const posthouse::routing::v1::Recipient& recipient : answer.recipients()) {
    if (!Has(item, recipient.address())) return &recipient;
  }
  return nullptr;
}

bool IsUnknown(const absl::StatusOr<Response>& answer) {
  return !answer.ok() || answer->outcome() == Response::OUTCOME_TEMPORARY ||
         answer->outcome() == Response::OUTCOME_UNSPECIFIED;
}

}  // namespace

bool MustAskForFinalAddress(const v1::Item& item, int index, const absl::StatusOr<Response>& answer) {
  const v1::EnvelopeRecipient& recipient = item.recipients(index).recipient();
  if (recipient.original().empty() || absl::EqualsIgnoreCase(recipient.original(), recipient.address())) return false;
  if (IsUnknown(answer) || answer->outcome() == Response::OUTCOME_SUSPENDED) return false;
  // The alias is gone, or all its targets have their copies: the recipient itself may still be there.
  return answer->outcome() != Response::OUTCOME_ACCEPT ||
         (Find(*answer, recipient.address()) == nullptr && FindNew(*answer, item) == nullptr);
}

ResolvedAgain ApplyNewResolution(int index, const absl::StatusOr<Response>& answer, absl::Time now,
                                 const SettlementPolicy& policy, v1::Item* item, Unsaved* unsaved) {
  using Result = ResolvedAgain::Result;
  if (IsUnknown(answer)) return {.result = Result::kUnknown, .outcome = std::nullopt};
  if (answer->outcome() == Response::OUTCOME_RELAY_DENIED) {
    Outcome gone = MakeOutcome(Outcome::Kind::kPermanent, 550, "5.1.1", "no such mailbox");
    gone.attempt.set_error("the domain is no longer served here");
    return {.result = Result::kRefused, .outcome = std::move(gone)};
  }
  if (answer->outcome() != Response::OUTCOME_ACCEPT || answer->recipients().empty()) {
    return {.result = Result::kRefused, .outcome = Refused(*answer)};
  }
  v1::EnvelopeRecipient* const recipient = item->mutable_recipients(index)->mutable_recipient();
  const posthouse::routing::v1::Recipient* const same = Find(*answer, recipient->address());
  const posthouse::routing::v1::Recipient* chosen = same;
  if (chosen == nullptr) chosen = FindNew(*answer, *item);
  if (chosen == nullptr) chosen = &answer->recipients(0);
  posthouse::routing::v1::Recipient resolved = *chosen;
  // The answer for a final address has no subaddress of its own.
  if (same != nullptr && resolved.has_local() && resolved.local().detail().empty()) {
    resolved.mutable_local()->set_detail(recipient->resolved().local().detail());
  }
  if (resolved.SerializeAsString() == recipient->resolved().SerializeAsString()) return {};
  SetFinal(resolved, recipient);
  unsaved->changed.insert(index);
  if (same == nullptr) AddOthers(index, *answer, now, policy, item, unsaved);
  return {.result = Result::kChanged, .outcome = std::nullopt};
}

std::optional<Outcome> ApplyResolution(int index, const absl::StatusOr<Response>& answer, absl::Time now,
                                       const SettlementPolicy& policy, v1::Item* item, Unsaved* unsaved) {
  if (!answer.ok()) {
    Outcome outcome = MakeOutcome(Outcome::Kind::kTemporary, 451, "4.4.3", "address lookup failed, try again later");
    outcome.attempt.set_error(CutText(absl::StrCat("routing: ", answer.status().message())));
    return outcome;
  }
  if (answer->outcome() != Response::OUTCOME_ACCEPT || answer->recipients().empty()) return Refused(*answer);
  SetFinal(answer->recipients(0), item->mutable_recipients(index)->mutable_recipient());
  AddOthers(index, *answer, now, policy, item, unsaved);
  return std::nullopt;
}

}  // namespace posthouse::queue
