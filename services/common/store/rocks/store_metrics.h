// Metrics of one RocksStore, posthouse_store_*, with the label store="queue".
// Threads: any.
#pragma once

#include <string>
#include <vector>

#include "services/common/metrics/metrics.h"

namespace posthouse::store {

inline constexpr int kLevels = 7;  // of RocksDB

struct StoreMetrics {
  StoreMetrics(metrics::Registry& registry, const std::string& store);

  // Commits by result.
  metrics::Counter& committed;
  metrics::Counter& conflicts;
  metrics::Counter& refused_full;
  metrics::Counter& refused_busy;
  metrics::Counter& unknown;
  metrics::Counter& unavailable;
  metrics::Counter& deadlines;         // calls whose deadline passed before their end
  metrics::Histogram& commit_seconds;  // from joining the queue to completion
  metrics::Histogram& batch_requests;  // commits and blob pieces that shared a write
  metrics::Histogram& batch_bytes;
  metrics::Histogram& sync_seconds;  // append to the log and fsync of one batch
  metrics::Gauge& waiting_bytes;
  metrics::Gauge& oldest_commit_seconds;  // set before each scrape
  metrics::Counter& guard_rereads;        // preconditions that the committer had to read again
  // Reads by where they were served.
  metrics::Counter& reads_inline;
  metrics::Counter& reads_pool;
  metrics::Counter& background_errors;
  metrics::Counter& losses_accepted;  // openings that went on without acknowledged commits
  metrics::Counter& manifests_restored;
  metrics::Gauge& incarnation;
  metrics::Gauge& format;
  metrics::Gauge& newest_format;
  // Set from RocksDB before each scrape.
  metrics::Gauge& full;
  metrics::Gauge& free_bytes;
  metrics::Gauge& reserve_bytes;
  metrics::Gauge& read_only;
  metrics::Counter& space_returns;
  metrics::Gauge& damaged_places;
  metrics::Gauge& healthy;
  metrics::Gauge& stopped;
  metrics::Gauge& delayed_bytes_per_second;
  metrics::Gauge& compaction_debt_bytes;
  metrics::Gauge& running_compactions;
  std::vector<metrics::Gauge*> level_files;  // kLevels of them
  metrics::Gauge& memtable_bytes;
  metrics::Gauge& table_bytes;
  metrics::Gauge& blob_file_bytes;
  metrics::Gauge& blob_garbage_bytes;
  metrics::Gauge& estimated_rows;
  metrics::Counter& stall_seconds;
  metrics::Counter& cache_hits;
  metrics::Counter& cache_misses;
  metrics::Gauge& cache_bytes;
  metrics::Counter& log_syncs;
  metrics::Counter& written_bytes;
};

}  // namespace posthouse::store
