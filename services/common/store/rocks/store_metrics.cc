#include "services/common/store/rocks/store_metrics.h"

#include <string>
#include <vector>

namespace posthouse::store {
namespace {

metrics::Labels With(const std::string& store, const char* name, const char* value) {
  return {{"store", store}, {name, value}};
}

metrics::Counter& Commits(metrics::Registry& registry, const std::string& store, const char* result) {
  return registry.AddCounter("posthouse_store_commits_total", "Commits by result.", With(store, "result", result));
}

metrics::Counter& Reads(metrics::Registry& registry, const std::string& store, const char* served) {
  return registry.AddCounter("posthouse_store_reads_total",
                             "Reads served from memory on the caller's thread, or by the read pool.",
                             With(store, "served", served));
}

metrics::Gauge& Level(metrics::Registry& registry, const std::string& store, const char* name, const char* help) {
  return registry.AddGauge(std::string("posthouse_store_") + name, help, {{"store", store}});
}

metrics::Counter& Total(metrics::Registry& registry, const std::string& store, const char* name, const char* help) {
  return registry.AddCounter(std::string("posthouse_store_") + name, help, {{"store", store}});
}

metrics::Histogram& Times(metrics::Registry& registry, const std::string& store, const char* name, const char* help) {
  return registry.AddHistogram(std::string("posthouse_store_") + name, help, {{"store", store}});
}

const std::vector<double>& CountBuckets() {
  static const auto& buckets = *new std::vector<double>{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
  return buckets;
}

const std::vector<double>& ByteBuckets() {
  static const auto& buckets = *new std::vector<double>{1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216};
  return buckets;
}

}  // namespace

StoreMetrics::StoreMetrics(metrics::Registry& registry, const std::string& store)
    : committed(Commits(registry, store, "ok")),
      conflicts(Commits(registry, store, "conflict")),
      refused_full(Commits(registry, store, "full")),
      refused_busy(Commits(registry, store, "busy")),
      unknown(Commits(registry, store, "unknown")),
      unavailable(Commits(registry, store, "unavailable")),
      deadlines(registry.AddCounter("posthouse_store_deadlines_total",
                                    "Reads and commits that did not end before their deadline.", {{"store", store}})),
      commit_seconds(
          Times(registry, store, "commit_seconds", "Time of a commit from joining the queue to its completion.")),
      batch_requests(registry.AddHistogram("posthouse_store_batch_requests", "Requests that shared one write.",
                                           {{"store", store}}, CountBuckets())),
      batch_bytes(registry.AddHistogram("posthouse_store_batch_bytes", "Bytes of one write.", {{"store", store}},
                                        ByteBuckets())),
      sync_seconds(Times(registry, store, "sync_seconds", "Time to append one batch to the log and sync it.")),
      waiting_bytes(Level(registry, store, "waiting_bytes", "Bytes of commits in the committer's queue.")),
      oldest_commit_seconds(Level(registry, store, "oldest_commit_seconds",
                                  "How long the disk has not answered to the commits in hand; 0: none wait.")),
      guard_rereads(registry.AddCounter("posthouse_store_guard_rereads_total",
                                        "Preconditions whose row the committer itself read again.",
                                        {{"store", store}})),
      reads_inline(Reads(registry, store, "inline")),
      reads_pool(Reads(registry, store, "pool")),
      background_errors(registry.AddCounter("posthouse_store_background_errors_total",
                                            "Write errors that stopped the engine until it recovered.",
                                            {{"store", store}})),
      losses_accepted(registry.AddCounter("posthouse_store_losses_accepted_total",
                                          "Openings of a damaged store without commits that were acknowledged.",
                                          {{"store", store}})),
      manifests_restored(registry.AddCounter("posthouse_store_manifests_restored_total",
                                             "Openings of a store whose damaged manifest was put back from its copy.",
                                             {{"store", store}})),
      incarnation(Level(registry, store, "incarnation", "How often the store was opened after a loss or a restore.")),
      format(Level(registry, store, "format", "Format in which the store is written (store.format raises it).")),
      newest_format(Level(registry, store, "format_newest", "Newest format that this version knows.")),
      full(Level(registry, store, "full", "1 while the store refuses commits that add, for lack of space.")),
      free_bytes(Level(registry, store, "free_bytes", "Free bytes of the store's file system.")),
      reserve_bytes(Level(registry, store, "reserve_bytes", "Bytes held back for removals on a full volume.")),
      read_only(Level(registry, store, "read_only", "1 while the files are open for reading only.")),
      space_returns(registry.AddCounter("posthouse_store_space_returns_total",
                                        "Times that the space of removed blobs was given back.", {{"store", store}})),
      damaged_places(Level(registry, store, "damaged_places",
                           "Damaged blocks of the store's files that reads and compactions met.")),
      healthy(Level(registry, store, "healthy", "0 while the engine is stopped by a write error.")),
      stopped(Level(registry, store, "write_stopped", "1 while RocksDB stops writes until compaction catches up.")),
      delayed_bytes_per_second(Level(registry, store, "delayed_write_bytes_per_second",
                                     "Rate to which RocksDB slows writes; 0: not slowed.")),
      compaction_debt_bytes(
          Level(registry, store, "compaction_debt_bytes", "Bytes that compaction has yet to rewrite.")),
      running_compactions(Level(registry, store, "running_compactions", "Compactions that run now.")),
      memtable_bytes(Level(registry, store, "memtable_bytes", "Bytes of rows not yet in table files.")),
      table_bytes(Level(registry, store, "table_bytes", "Bytes of table files in use.")),
      blob_file_bytes(Level(registry, store, "blob_file_bytes", "Bytes of blob files.")),
      blob_garbage_bytes(Level(registry, store, "blob_garbage_bytes", "Bytes of blob files that belong to no blob.")),
      estimated_rows(Level(registry, store, "rows", "Estimate of the number of rows.")),
      stall_seconds(Total(registry, store, "stall_seconds_total", "Time for which RocksDB slowed or stopped writes.")),
      cache_hits(Total(registry, store, "cache_hits_total", "Block cache hits.")),
      cache_misses(Total(registry, store, "cache_misses_total", "Block cache misses.")),
      cache_bytes(Level(registry, store, "cache_bytes", "Bytes in the block cache.")),
      log_syncs(Total(registry, store, "log_syncs_total", "Syncs of the write-ahead log.")),
      written_bytes(Total(registry, store, "written_bytes_total", "Bytes written to log, tables and blob files.")) {
  for (int level = 0; level < kLevels; ++level) {
    level_files.push_back(&registry.AddGauge("posthouse_store_level_files", "Table files by level of the tree.",
                                             {{"store", store}, {"level", std::to_string(level)}}));
  }
}

}  // namespace posthouse::store
