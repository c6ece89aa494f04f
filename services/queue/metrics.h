// Every metric of the queue, in one place. Labels come from closed sets.
// Threads: any.
#pragma once

#include <array>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "services/common/metrics/metrics.h"
#include "services/common/metrics/top_counters.h"
#include "services/queue/delivery/delivery.h"
#include "services/queue/delivery/failure_reason.h"
#include "services/queue/dsn/report.h"
#include "services/queue/schedule/destination_scheduler.h"
#include "services/queue/schedule/resolution.h"
#include "services/queue/spool/spool.h"

namespace posthouse::queue {

// How an Enqueue ended.
enum class EnqueueResult { kAccepted, kDuplicate, kInvalid, kFull, kAborted, kFailed };

class Metrics {
 public:
  explicit Metrics(metrics::Registry& registry);

  void Enqueued(EnqueueResult result, uint64_t bytes, absl::Duration took);
  void Attempt(const Destination& destination, const Outcome& outcome);
  // From acceptance to the recipient's delivery. `trace_id`: of the message, or "".
  void Delivered(bool local, absl::Duration since_accepted, absl::string_view trace_id);
  void ReportSent(dsn::Action action);
  void ResolvedAgain(queue::ResolvedAgain::Result result);
  void TookShard(Predecessor predecessor);
  void SetLedger(const Ledger& ledger);
  void SetDestinations(const DestinationScheduler::Counts& counts);
  // In the order of QueueCounts::State.
  void SetStates(const std::array<uint64_t, 3>& messages, const std::array<uint64_t, 3>& bytes);

  metrics::Gauge& oldest_seconds;
  metrics::Gauge& overdue_seconds;
  metrics::Gauge& waiting;
  metrics::Gauge& running;
  metrics::Gauge& blocked_sites;
  metrics::Gauge& lookups_waiting;
  metrics::Gauge& window;
  metrics::Counter& double_bounces;
  metrics::Counter& save_failures;
  metrics::Counter& swept_blobs;
  metrics::Counter& purged_done;
  metrics::Counter& repaired_rows;
  metrics::Counter& connections_opened;
  metrics::Counter& connections_reused;
  metrics::Counter& connections_failed;
  metrics::Counter& tls_refused;
  metrics::Counter& tls_failed;
  metrics::Counter& converted;
  metrics::Counter& sessions_tls12;
  metrics::Counter& sessions_tls13;
  metrics::Counter& sessions_clear;
  metrics::Gauge& connections_open;
  metrics::Gauge& connections_idle;

 private:
  metrics::Counter* enqueued_[6];
  metrics::Counter& enqueued_bytes_;
  metrics::Histogram& enqueue_seconds_;
  metrics::Counter* attempts_[2][4];
  metrics::Counter* failures_[2][2][kFailureReasons];  // local, permanent, reason
  metrics::Histogram* delivered_[2];
  metrics::Counter* takeovers_[3];
  metrics::Counter* reports_[4];
  metrics::Gauge* ledger_[7];
  metrics::Gauge* destinations_[4];
  metrics::Counter* resolved_again_[4];
  metrics::Gauge& items_;
  metrics::Gauge* state_messages_[3];
  metrics::Gauge* state_bytes_[3];
  metrics::TopCounters destination_attempts_;
};

}  // namespace posthouse::queue
