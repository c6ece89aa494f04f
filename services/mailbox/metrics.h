// Every metric of the mailbox. Threads: any.
#pragma once

#include <array>

#include "services/common/metrics/metrics.h"
#include "services/common/store/guarded_partition.h"

namespace posthouse::mailbox {

enum class DeliveryResult { kStored, kDuplicate, kOverQuota, kNoAccount, kTemporary, kTooLarge };
inline constexpr size_t kDeliveryResults = 6;

struct Metrics {
  explicit Metrics(metrics::Registry& registry);
  metrics::Counter& Deliveries(DeliveryResult result) { return *deliveries[static_cast<size_t>(result)]; }

  std::array<metrics::Counter*, kDeliveryResults> deliveries;
  metrics::Counter& appends;
  metrics::Counter& append_duplicates;
  metrics::Counter& append_failures;
  metrics::Histogram& visible_seconds;
  metrics::Histogram& group_messages;
  metrics::Counter& expunged;
  metrics::Counter& copied;
  metrics::Counter& moves_recovered;
  metrics::Counter& keywords_dropped;
  metrics::Counter& fetched;
  metrics::Counter& cache_rebuilds;
  store::GuardMetrics account_commits;
  store::GuardMetrics folder_commits;
  metrics::Counter& swept_blobs;
  metrics::Counter& swept_bytes;
  metrics::Counter& swept_folders;
  metrics::Histogram& sweep_seconds;
  metrics::Counter& corrupt_rows;
  metrics::Counter& damaged_messages;
  metrics::Counter& refused_no_account;
  metrics::Counter& refused_not_here;
  metrics::Counter& refused_unknown;
  metrics::Counter& erased_accounts;
  metrics::Gauge& erasures_pending;
  metrics::Counter& hints_sent;
  metrics::Gauge& watch_streams;
  metrics::Gauge& watched_folders;
  metrics::Gauge& open_folders;
  metrics::Gauge& open_folder_bytes;
  metrics::Gauge& open_accounts;
};

}  // namespace posthouse::mailbox
