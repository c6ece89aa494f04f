#include "services/queue/metrics.h"

#include <string>

#include "services/common/time/calm_clock.h"

namespace posthouse::queue {
namespace {

constexpr const char* kResults[] = {"accepted", "duplicate", "invalid", "full", "aborted", "failed"};
constexpr const char* kOutcomes[] = {"delivered", "relayed", "temporary", "permanent"};
constexpr const char* kActions[] = {"failed", "delayed", "delivered", "relayed"};
constexpr const char* kStates[] = {"accepted", "delivered", "relayed", "failed", "expired", "deleted", "queued"};
// Of DestinationScheduler::Standing, and blocked.
constexpr const char* kDestinationStates[] = {"proven", "fresh", "doubtful", "blocked"};
constexpr const char* kResolvedAgain[] = {"same", "changed", "refused", "unknown"};
// Of QueueCounts.
constexpr const char* kMessageStates[] = {"active", "deferred", "held"};
constexpr const char* kKinds[] = {"remote", "local"};

// From acceptance to delivery: milliseconds when all is well, days when it is not.
const std::vector<double> kDeliveryBuckets = {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1,  0.2,   0.5,   1,     2,
                                              5,     10,    30,    60,   300,  1800, 7200, 28800, 86400, 432000};

metrics::Counter& Connections(metrics::Registry& registry, const char* result) {
  return registry.AddCounter("posthouse_queue_connections_total", "Outgoing SMTP connections.", {{"result", result}});
}

metrics::Counter& TlsSessions(metrics::Registry& registry, const char* version) {
  return registry.AddCounter("posthouse_queue_tls_sessions_total",
                             "Outgoing SMTP sessions by version of TLS; none: in the clear.", {{"version", version}});
}

metrics::Counter& TlsFallbacks(metrics::Registry& registry, const char* reason) {
  return registry.AddCounter("posthouse_queue_tls_fallbacks_total",
                             "Outgoing sessions in the clear after opportunistic TLS did not work.",
                             {{"reason", reason}});
}

}  // namespace

Metrics::Metrics(metrics::Registry& r)
    : oldest_seconds(r.AddGauge("posthouse_queue_oldest_seconds", "Age of the oldest message in the queue.")),
      overdue_seconds(r.AddGauge("posthouse_queue_overdue_seconds",
                                 "How long the next message to be looked at is due; 0: none is due.")),
      waiting(r.AddGauge("posthouse_queue_waiting_jobs", "Jobs that wait for their turn at a destination.")),
      running(r.AddGauge("posthouse_queue_running_jobs", "Jobs in progress: delivery attempts and recipient lookups.")),
      blocked_sites(
          r.AddGauge("posthouse_queue_blocked_sites", "Destinations that are blocked because they cannot be reached.")),
      lookups_waiting(r.AddGauge("posthouse_queue_lookup_jobs",
                                 "Jobs that wait until routing has named the mail hosts of their domain.")),
      window(r.AddGauge("posthouse_queue_window_entries", "Rows of the due index in memory.")),
      double_bounces(r.AddCounter("posthouse_queue_double_bounces_total",
                                  "Failed recipients of messages without a sender, so that no report was sent.")),
      save_failures(r.AddCounter("posthouse_queue_save_failures_total",
                                 "Failed commits of delivery outcomes; each is repeated.")),
      swept_blobs(r.AddCounter("posthouse_queue_swept_blobs_total", "Blobs removed because no item names them.")),
      purged_done(r.AddCounter("posthouse_queue_purged_done_total", "Done marks removed after their retention.")),
      repaired_rows(r.AddCounter("posthouse_queue_repaired_rows_total",
                                 "Rows that the audit removed or added because they did not fit together.")),
      connections_opened(Connections(r, "opened")),
      connections_reused(Connections(r, "reused")),
      connections_failed(Connections(r, "failed")),
      tls_refused(TlsFallbacks(r, "refused")),
      tls_failed(TlsFallbacks(r, "failed")),
      converted(r.AddCounter("posthouse_queue_converted_messages_total",
                             "Messages encoded anew for hosts without 8BITMIME, or because lines were too long.")),
      sessions_tls12(TlsSessions(r, "TLSv1.2")),
      sessions_tls13(TlsSessions(r, "TLSv1.3")),
      sessions_clear(TlsSessions(r, "none")),
      connections_open(r.AddGauge("posthouse_queue_connections_open", "Outgoing SMTP connections in use.")),
      connections_idle(r.AddGauge("posthouse_queue_connections_idle", "Outgoing SMTP connections kept for reuse.")),
      enqueued_bytes_(r.AddCounter("posthouse_queue_accepted_bytes_total", "Bytes of accepted messages.")),
      enqueue_seconds_(
          r.AddHistogram("posthouse_queue_accept_seconds", "Seconds from the last byte of a message to its commit.")),
      items_(r.AddGauge("posthouse_queue_items", "Messages in the queue.")),
      destination_attempts_(
          r, {.name = "posthouse_queue_destination_attempts_total",
              .help = "Remote delivery attempts by recipient, for the domains that got most lately; the rest is other.",
              .label = "destination",
              .kind = "outcome",
              .kinds = {kOutcomes, kOutcomes + 4}}) {
  for (int i = 0; i < 3; ++i) {
    const metrics::Labels labels = {{"state", kMessageStates[i]}};
    state_messages_[i] = &r.AddGauge("posthouse_queue_messages",
                                     "Messages in the queue by state, counted from the due index: active is due or in "
                                     "work, deferred waits for its next attempt, held for an operator.",
                                     labels);
    state_bytes_[i] =
        &r.AddGauge("posthouse_queue_message_bytes",
                    "Bytes of the messages in the queue by state, as in posthouse_queue_messages.", labels);
  }
  for (int i = 0; i < 6; ++i) {
    enqueued_[i] =
        &r.AddCounter("posthouse_queue_enqueued_total", "Enqueue calls by result.", {{"result", kResults[i]}});
  }
  for (int local = 0; local < 2; ++local) {
    for (int i = 0; i < 4; ++i) {
      attempts_[local][i] =
          &r.AddCounter("posthouse_queue_attempts_total", "Delivery attempts by recipient and outcome.",
                        {{"kind", kKinds[local]}, {"outcome", kOutcomes[i]}});
    }
    for (int permanent = 0; permanent < 2; ++permanent) {
      for (int i = 0; i < kFailureReasons; ++i) {
        failures_[local][permanent][i] =
            &r.AddCounter("posthouse_queue_failed_attempts_total", "Failed attempts by recipient, outcome and reason.",
                          {{"kind", kKinds[local]},
                           {"outcome", permanent != 0 ? "permanent" : "temporary"},
                           {"reason", FailureReasonName(static_cast<FailureReason>(i))}});
      }
    }
    delivered_[local] = &r.AddHistogram("posthouse_queue_delivery_seconds", "Seconds from acceptance to delivery.",
                                        {{"kind", kKinds[local]}}, kDeliveryBuckets);
  }
  for (const Predecessor p : {Predecessor::kNone, Predecessor::kReleased, Predecessor::kNotReleased}) {
    takeovers_[static_cast<int>(p)] =
        &r.AddCounter("posthouse_queue_shard_takeovers_total",
                      "Times that this process took its shard, by what the owner before it had done: it was none, it "
                      "released the shard, or it ended without that.",
                      {{"predecessor", std::string(PredecessorName(p))}});
  }
  for (int i = 0; i < 4; ++i) {
    reports_[i] = &r.AddCounter("posthouse_queue_reports_total", "Recipients in reports to senders (DSN).",
                                {{"action", kActions[i]}});
  }
  for (int i = 0; i < 7; ++i) {
    ledger_[i] = &r.AddGauge("posthouse_queue_ledger_recipients",
                             "Recipients since the store was created, by state; accepted is the sum of the others.",
                             {{"state", kStates[i]}});
  }
  for (int i = 0; i < 4; ++i) {
    resolved_again_[i] = &r.AddCounter("posthouse_queue_resolved_again_total",
                                       "Local recipients that were resolved again before an attempt, by result.",
                                       {{"result", kResolvedAgain[i]}});
  }
  for (int i = 0; i < 4; ++i) {
    destinations_[i] =
        &r.AddGauge("posthouse_queue_destinations",
                    "Destinations with recent deliveries: proven accepted mail lately, doubtful failed last, "
                    "fresh did neither, blocked cannot be reached.",
                    {{"state", kDestinationStates[i]}});
  }
}

void Metrics::Enqueued(EnqueueResult result, uint64_t bytes, absl::Duration took) {
  enqueued_[static_cast<int>(result)]->Add();
  if (result != EnqueueResult::kAccepted) return;
  enqueued_bytes_.Add(static_cast<double>(bytes));
  enqueue_seconds_.Observe(took);
}

void Metrics::Attempt(const Destination& destination, const Outcome& outcome) {
  const bool local = !destination.remote();
  if (!local) destination_attempts_.Add(destination.name(), static_cast<size_t>(outcome.kind), MonotonicNow());
  attempts_[local][static_cast<int>(outcome.kind)]->Add();
  const bool permanent = outcome.kind == Outcome::Kind::kPermanent;
  if (!permanent && outcome.kind != Outcome::Kind::kTemporary) return;
  failures_[local][permanent][static_cast<int>(FailureReasonOf(outcome))]->Add();
}

void Metrics::Delivered(bool local, absl::Duration since_accepted, absl::string_view trace_id) {
  delivered_[local]->Observe(since_accepted, trace_id);
}

void Metrics::SetStates(const std::array<uint64_t, 3>& messages, const std::array<uint64_t, 3>& bytes) {
  for (size_t i = 0; i < 3; ++i) {
    state_messages_[i]->Set(static_cast<double>(messages[i]));
    state_bytes_[i]->Set(static_cast<double>(bytes[i]));
  }
}

void Metrics::ReportSent(dsn::Action action) { reports_[static_cast<int>(action)]->Add(); }

void Metrics::ResolvedAgain(queue::ResolvedAgain::Result result) { resolved_again_[static_cast<int>(result)]->Add(); }

void Metrics::TookShard(Predecessor predecessor) { takeovers_[static_cast<int>(predecessor)]->Add(); }

void Metrics::SetLedger(const Ledger& ledger) {
  const uint64_t values[] = {ledger.accepted, ledger.delivered, ledger.relayed, ledger.failed,
                             ledger.expired,  ledger.deleted,   ledger.queued()};
  for (int i = 0; i < 7; ++i) ledger_[i]->Set(static_cast<double>(values[i]));
  items_.Set(static_cast<double>(ledger.items));
}

void Metrics::SetDestinations(const DestinationScheduler::Counts& counts) {
  for (int i = 0; i < DestinationScheduler::kStandings; ++i) {
    destinations_[i]->Set(static_cast<double>(counts.remote[i]));
  }
  destinations_[3]->Set(static_cast<double>(counts.blocked));
}

}  // namespace posthouse::queue
