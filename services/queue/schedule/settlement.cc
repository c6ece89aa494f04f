#include "services/queue/schedule/settlement.h"

#include <algorithm>

#include "absl/strings/match.h"

namespace posthouse::queue {
namespace {

constexpr int kHistory = 20;
// All recipients of an item may change in one commit (store.h: 4 MiB). Beside an envelope
// of at most 2 MiB (enqueue_request.cc) there is room for this many long replies.
constexpr int kManyRecipients = 500;

// Cuts an attempt short for an item with many recipients.
void Shorten(v1::Attempt* attempt) {
  attempt->clear_tls();
  attempt->set_host(CutText(attempt->host(), 48));
  attempt->set_error(CutText(attempt->error(), 80));
  if (attempt->has_reply()) attempt->mutable_reply()->set_text(CutText(attempt->reply().text(), 80));
}

class Settler {
 public:
  Settler(absl::Time now, const SettlementPolicy& policy, v1::Item* item, Unsaved* unsaved)
      : now_(now), policy_(policy), item_(*item), unsaved_(*unsaved) {}

  void Settle(int index, v1::RecipientState state) {
    item_.mutable_recipients(index)->set_state(state);
    unsaved_.ledger.CountSettled(state);
    unsaved_.changed.insert(index);
  }

  // Notes a report to the sender, if the sender asked for it. Without a sender a failure
  // is a double bounce.
  void Notify(int index, v1::Notify what, dsn::Action action) {
    if (!Wants(item_.recipients(index).recipient(), what)) return;
    if (item_.envelope().reverse_path().empty()) {
      if (what == v1::NOTIFY_FAILURE) ++double_bounces_;
      return;
    }
    unsaved_.notices.push_back({index, action});
  }

  void Expire(int index) {
    Settle(index, v1::RECIPIENT_STATE_EXPIRED);
    Notify(index, v1::NOTIFY_FAILURE, dsn::Action::kFailed);
  }

  // Whether a delay warning is due.
  bool IsLate(int index, absl::Duration stepped = absl::ZeroDuration()) const {
    return policy_.delay_warning_after > absl::ZeroDuration() && !item_.recipients(index).delay_warned() &&
           now_ >= FromProto(item_.accepted()) + stepped + policy_.delay_warning_after;
  }

  void WarnIfLate(int index, absl::Duration stepped = absl::ZeroDuration()) {
    if (!IsLate(index, stepped)) return;
    v1::ItemRecipient* recipient = item_.mutable_recipients(index);
    recipient->set_delay_warned(true);
    unsaved_.changed.insert(index);
    Notify(index, v1::NOTIFY_DELAY, dsn::Action::kDelayed);
  }

  void Note(int index, const Outcome& outcome, const AttemptTime& time) {
    v1::ItemRecipient* recipient = item_.mutable_recipients(index);
    v1::Attempt* last = recipient->mutable_last();
    *last = outcome.attempt;
    ToProto(time.started, last->mutable_at());
    ToProto(time.now - time.started, last->mutable_took());
    if (item_.recipients_size() > kManyRecipients) Shorten(last);
    recipient->set_attempts(recipient->attempts() + 1);
    item_.set_attempts(item_.attempts() + 1);
    unsaved_.changed.insert(index);
    // A recipient that is settled by the first attempt needs no history besides `last`.
    if (outcome.kind != Outcome::Kind::kTemporary && recipient->attempts() == 1) return;
    *item_.add_history() = *last;
    if (item_.history_size() > kHistory) item_.mutable_history()->DeleteSubrange(0, item_.history_size() - kHistory);
  }

  void Retry(int index, const AttemptTime& time, bool resolve_again) {
    const absl::Time expires = FromProto(item_.expires()) + time.stepped;
    if (now_ >= expires) {
      Expire(index);
      return;
    }
    v1::ItemRecipient* recipient = item_.mutable_recipients(index);
    const bool local = recipient->recipient().resolved().has_local();
    absl::Duration delay = BackoffDelay(policy_.retry, static_cast<int>(recipient->attempts()), time.random);
    // The scheduler probes a mailbox process every few seconds: its back-off is enough.
    if (local && time.unreachable) delay = absl::Seconds(time.random);
    if (resolve_again) {
      const BackoffPolicy soon{.min = absl::Seconds(1), .max = policy_.retry.max, .factor = 2};
      delay = std::min(delay, BackoffDelay(soon, static_cast<int>(recipient->attempts()), time.random));
    }
    absl::Time next = now_ + delay;
    if (time.blocked_until > next) next = time.blocked_until + absl::Seconds(time.random);
    // The last attempt is made when the item expires (RFC 5321 §4.5.4.1).
    ToProto(std::min(next, expires), recipient->mutable_next_attempt());
    WarnIfLate(index, time.stepped);
  }

  int double_bounces() const { return double_bounces_; }

 private:
  const absl::Time now_;
  const SettlementPolicy& policy_;
  v1::Item& item_;
  Unsaved& unsaved_;
  int double_bounces_ = 0;
};

}  // namespace

int ApplyOutcomes(const std::vector<Target>& targets, const std::vector<Outcome>& outcomes, const AttemptTime& time,
                  const SettlementPolicy& policy, v1::Item* item, Unsaved* unsaved) {
  Settler settler(time.now, policy, item, unsaved);
  for (size_t i = 0; i < targets.size() && i < outcomes.size(); ++i) {
    const int index = targets[i].index;
    const Outcome& outcome = outcomes[i];
    if (!IsWaiting(item->recipients(index))) continue;
    settler.Note(index, outcome, time);
    switch (outcome.kind) {
      case Outcome::Kind::kDelivered:
        settler.Settle(index, v1::RECIPIENT_STATE_DELIVERED);
        settler.Notify(index, v1::NOTIFY_SUCCESS, dsn::Action::kDelivered);
        break;
      case Outcome::Kind::kRelayed:
        settler.Settle(index, v1::RECIPIENT_STATE_RELAYED);
        unsaved->urgent = true;
        // RFC 3461 §5.2.2: a host without DSN sends no report, so ours says "relayed".
        if (!outcome.dsn_handed_on) settler.Notify(index, v1::NOTIFY_SUCCESS, dsn::Action::kRelayed);
        break;
      case Outcome::Kind::kPermanent:
        settler.Settle(index, v1::RECIPIENT_STATE_FAILED);
        settler.Notify(index, v1::NOTIFY_FAILURE, dsn::Action::kFailed);
        break;
      case Outcome::Kind::kTemporary:
        settler.Retry(index, time, outcome.resolve_again);
        break;
    }
  }
  RefreshNextAttempt(item);
  return settler.double_bounces();
}

int ApplyTime(absl::Time now, const SettlementPolicy& policy,
              const std::function<const v1::Attempt*(const Destination&)>& failure_of, v1::Item* item,
              Unsaved* unsaved) {
  Settler settler(now, policy, item, unsaved);
  const bool expired = now >= FromProto(item->expires());
  for (int i = 0; i < item->recipients_size(); ++i) {
    const v1::ItemRecipient& recipient = item->recipients(i);
    if (!IsWaiting(recipient)) continue;
    const v1::Attempt* const failure = failure_of(DestinationOf(recipient));
    // The recipient's copy is saved with the report that is made from it.
    if (failure != nullptr && recipient.attempts() == 0 && (expired || settler.IsLate(i))) {
      *item->mutable_recipients(i)->mutable_last() = *failure;
    }
    if (expired && (recipient.attempts() > 0 || failure != nullptr)) {
      settler.Expire(i);
    } else if (!expired) {
      settler.WarnIfLate(i);
    }
  }
  RefreshNextAttempt(item);
  return settler.double_bounces();
}

int ApplyDeletion(absl::Time now, bool bounce, v1::Item* item, Unsaved* unsaved) {
  Settler settler(now, SettlementPolicy(), item, unsaved);
  for (int i = 0; i < item->recipients_size(); ++i) {
    if (IsSettled(item->recipients(i))) continue;
    v1::Attempt* last = item->mutable_recipients(i)->mutable_last();
    ToProto(now, last->mutable_at());
    last->set_error("deleted by an operator");
    settler.Settle(i, v1::RECIPIENT_STATE_DELETED);
    if (bounce) settler.Notify(i, v1::NOTIFY_FAILURE, dsn::Action::kFailed);
  }
  return settler.double_bounces();
}

bool AddRecipient(const std::string& address, absl::Time now, const SettlementPolicy& policy, v1::Item* item,
                  Unsaved* unsaved) {
  if (address.empty() || static_cast<size_t>(item->recipients_size()) >= policy.max_recipients) return false;
  for (const v1::ItemRecipient& known : item->recipients()) {
    // An alias reaches each address once.
    if (absl::EqualsIgnoreCase(known.recipient().address(), address)) return false;
  }
  v1::ItemRecipient* added = item->add_recipients();
  added->mutable_recipient()->set_address(address);
  added->mutable_recipient()->set_original(address);
  added->set_state(v1::RECIPIENT_STATE_QUEUED);
  ToProto(now, added->mutable_next_attempt());
  unsaved->changed.insert(item->recipients_size() - 1);
  unsaved->ledger.accepted += 1;
  return true;
}

}  // namespace posthouse::queue
