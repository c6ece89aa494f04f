// How a job resolves recipients: those without a destination, and local ones again before each attempt.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "services/common/async/when_all.h"
#include "services/common/log/log.h"
#include "services/queue/metrics.h"
#include "services/queue/schedule/dispatcher.h"
#include "services/queue/schedule/resolution.h"

namespace posthouse::queue {
namespace {
constexpr size_t kResolvedTogether = 32;
constexpr absl::Duration kRoutingRest = absl::Seconds(5);
// What ingress has just asked routing need not be asked again for the first attempt, which mostly follows at once.
constexpr absl::Duration kFresh = absl::Milliseconds(500);
}  // namespace

Task<void> Dispatcher::Resolve(Active active) {
  active->mutex.Lock();
  DeliveryAttempt unknown = MakeAttempt(active->record->item, Destination(), Now());
  const std::string traceparent = unknown.envelope.traceparent();
  active->mutex.Unlock();
  for (const Target& target : unknown.targets) {
    const absl::Time started = Now();
    const auto answer = co_await parts_.routing.ResolveRecipient(target.recipient.address(), traceparent);
    AttemptTime time{.started = started, .now = Now(), .random = Random()};
    time.stepped = SteppedSince(unknown.accepted);
    std::optional<Outcome> failed;
    int double_bounces = 0;
    {
      absl::MutexLock lock(&active->mutex);
      v1::Item* item = &active->record->item;
      failed = ApplyResolution(target.index, answer, time.now, options_.settlement, item, &active->unsaved);
      if (failed.has_value()) {
        double_bounces = ApplyOutcomes({target}, {*failed}, time, options_.settlement, item, &active->unsaved);
      }
    }
    CountDoubleBounces(active, double_bounces);
    if (!failed.has_value()) continue;
    DeliveryAttempt one = unknown;
    one.targets = {target};
    LogOutcomes(one, {.outcomes = {*failed}}, started, time.now);
  }
}

Task<bool> Dispatcher::ResolveAgain(Active active, Destination destination) {
  {
    absl::MutexLock lock(&mutex_);
    if (Steady() < routing_rests_until_) co_return true;
  }
  {
    absl::MutexLock lock(&active->mutex);
    if (Steady() - std::exchange(active->record->resolved, absl::InfinitePast()) < kFresh) co_return true;
  }
  const absl::Time started = Now();
  active->mutex.Lock();
  DeliveryAttempt attempt = MakeAttempt(active->record->item, destination, started);
  const std::string traceparent = attempt.envelope.traceparent();
  active->mutex.Unlock();
  bool commit = false;
  int double_bounces = 0;
  for (size_t at = 0; at < attempt.targets.size(); at += kResolvedTogether) {
    const size_t end = std::min(attempt.targets.size(), at + kResolvedTogether);
    using Answer = absl::StatusOr<routing::v1::ResolveRecipientResponse>;
    std::vector<Task<Answer>> questions;
    for (size_t i = at; i < end; ++i) {
      const v1::EnvelopeRecipient& recipient = attempt.targets[i].recipient;
      std::string address(recipient.original().empty() ? recipient.address() : recipient.original());
      questions.push_back(parts_.routing.ResolveLocal(std::move(address), traceparent));
    }
    std::vector<Answer> answers = co_await WhenAll(std::move(questions));
    for (size_t i = at; i < end; ++i) {
      const Target& target = attempt.targets[i];
      Answer& answer = answers[i - at];
      bool ask = false;
      {
        absl::MutexLock lock(&active->mutex);
        ask = MustAskForFinalAddress(active->record->item, target.index, answer);
      }
      if (ask) answer = co_await parts_.routing.ResolveLocal(target.recipient.address(), traceparent);
      AttemptTime time{.started = started, .now = Now(), .random = Random()};
      time.stepped = SteppedSince(attempt.accepted);
      ResolvedAgain resolved;
      v1::ItemRecipient now;
      {
        absl::MutexLock lock(&active->mutex);
        v1::Item* const item = &active->record->item;
        const int size = item->recipients_size();
        resolved = ApplyNewResolution(target.index, answer, time.now, options_.settlement, item, &active->unsaved);
        if (resolved.outcome.has_value()) {
          double_bounces +=
              ApplyOutcomes({target}, {*resolved.outcome}, time, options_.settlement, item, &active->unsaved);
        }
        // Another destination, a settled recipient or a new one: not a matter of this attempt.
        now = item->recipients(target.index);
        commit |= resolved.outcome.has_value() || DestinationOf(now) != destination || item->recipients_size() != size;
      }
      LogResolvedAgain(attempt, target, now, resolved);
      if (resolved.result == ResolvedAgain::Result::kUnknown) {
        absl::MutexLock lock(&mutex_);
        routing_rests_until_ = Steady() + kRoutingRest;
      }
    }
  }
  CountDoubleBounces(active, double_bounces);
  // The delivery ids of recipients that were added must not be used before they are on file. The error is logged.
  co_return !commit || (co_await Save(active)).ok();
}

void Dispatcher::LogResolvedAgain(const DeliveryAttempt& attempt, const Target& before, const v1::ItemRecipient& now,
                                  const ResolvedAgain& resolved) {
  parts_.metrics.ResolvedAgain(resolved.result);
  if (resolved.outcome.has_value()) {
    DeliveryAttempt one = attempt;
    one.targets = {before};
    const absl::Time time = Now();
    LogOutcomes(one, {.outcomes = {*resolved.outcome}}, time, time);
  }
  if (resolved.result != ResolvedAgain::Result::kChanged) return;
  LOG_EVENT(kInfo, "resolved_again")
      .QueueId(attempt.queue_id.Text())
      .Str("recipient", before.recipient.address())
      .Str("address", now.recipient().address())
      .Str("account", now.recipient().resolved().local().account().account_id())
      .Str("destination", DestinationOf(now).ToString());
}

}  // namespace posthouse::queue
