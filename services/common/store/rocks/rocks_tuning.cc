#include "services/common/store/rocks/rocks_tuning.h"

#include <rocksdb/convenience.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/statistics.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/table_properties_collectors.h>
#include <sys/resource.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

namespace posthouse::store {
namespace {

rocksdb::CompressionType Best(std::vector<rocksdb::CompressionType> wanted) {
  const std::vector<rocksdb::CompressionType> have = rocksdb::GetSupportedCompressions();
  for (const rocksdb::CompressionType type : wanted) {
    if (std::find(have.begin(), have.end(), type) != have.end()) return type;
  }
  return rocksdb::kNoCompression;
}

// A twelfth of the descriptors that the process may have: three stores leave the rest to connections.
int MaxOpenFiles() {
  struct rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 256;
  return static_cast<int>(std::clamp<rlim_t>(limit.rlim_cur / 12, 20, 1024));
}

rocksdb::DBOptions MakeDbOptions(const RocksOptions& options) {
  rocksdb::DBOptions db;
  if (options.env != nullptr) db.env = options.env;
  db.create_if_missing = true;
  db.create_missing_column_families = true;
  db.statistics = rocksdb::CreateDBStatistics();
  db.statistics->set_stats_level(rocksdb::StatsLevel::kExceptHistogramOrTimers);  // timers cost CPU per call

  // Recovery. The log's tail may be torn: blob pieces are written unsynced, and a
  // batch may have been in flight. kAbsoluteConsistency would refuse to open after
  // every such power loss. kPointInTimeRecovery stops at the first damaged record, and
  // CheckForLoss() made sure that everything synced is before it. Damage inside an older, complete log is not a torn
  // tail: the manifest records the size of each synced log, and recovery refuses to
  // start when one is missing or shorter.
  db.wal_recovery_mode = options.skip_damaged_log_records ? rocksdb::WALRecoveryMode::kSkipAnyCorruptedRecords
                                                          : rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  // RocksDB before 7.10 (Debian 12 has 7.8.3) can report a flushed log as "Missing WAL" when
  // DB::SyncWAL() meets both a flush and a new manifest (facebook/rocksdb pull request 10892).
  // The store calls SyncWAL() only for an image (store_image.h), and a process begins a new manifest only when it opens
  // the database, or at max_manifest_file_size. missing_wal_test.cc tries it with a new one at
  // each flush. Should it happen, nothing is lost, and --accept-data-loss opens the store.
  db.track_and_verify_wals_in_manifest = !options.skip_damaged_log_records;
  db.paranoid_checks = true;
  // After an error the committer opens the database again (ReopenableDb), since RocksDB
  // 7.8 does not recover from a failed log write with two column families.
  db.max_bgerror_resume_count = 0;

  // One thread writes: RocksDB's machinery for many writers is only cost.
  db.allow_concurrent_memtable_write = false;
  db.enable_pipelined_write = false;
  db.enable_write_thread_adaptive_yield = false;

  db.max_background_jobs = options.background_threads;
  db.db_write_buffer_size = 4 * options.write_buffer_bytes;
  db.max_total_wal_size = 8 * options.write_buffer_bytes;
  db.bytes_per_sync = 1 << 20;  // smooths background writes, so that the log's fsync need not wait behind them
  db.max_open_files = MaxOpenFiles();
  db.skip_stats_update_on_db_open = true;
  db.skip_checking_sst_file_sizes_on_db_open = false;
  db.avoid_unnecessary_blocking_io = true;  // deleting files is background work too
  db.keep_log_file_num = 4;
  db.max_log_file_size = 16 << 20;
  db.stats_dump_period_sec = 0;
  return db;
}

rocksdb::ColumnFamilyOptions MakeFamilyOptions(const RocksOptions& options,
                                               const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::ColumnFamilyOptions family;
  family.write_buffer_size = options.write_buffer_bytes;
  family.max_write_buffer_number = 4;
  family.level_compaction_dynamic_level_bytes = true;
  family.compression = Best({rocksdb::kLZ4Compression, rocksdb::kSnappyCompression});
  family.bottommost_compression = Best({rocksdb::kZSTD, rocksdb::kLZ4Compression});
  // Queues delete what they insert: files that are mostly tombstones compact early, so
  // that a scan for due items does not walk over removed ones.
  family.table_properties_collector_factories.push_back(
      rocksdb::NewCompactOnDeletionCollectorFactory(/*sliding_window_size=*/4096, /*deletion_trigger=*/2048));

  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.block_size = 8 * 1024;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));  // "absent" guards are common: no disk read
  table.whole_key_filtering = true;
  table.format_version = 5;
  // Indexes and filters count against the cache's budget, and are evicted last.
  table.cache_index_and_filter_blocks = true;
  table.cache_index_and_filter_blocks_with_high_priority = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  family.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return family;
}

}  // namespace

Tuning MakeTuning(const RocksOptions& options) {
  Tuning tuning;
  tuning.cache = rocksdb::NewLRUCache(options.block_cache_bytes, /*num_shard_bits=*/4,
                                      /*strict_capacity_limit=*/false, /*high_pri_pool_ratio=*/0.5);
  tuning.db = MakeDbOptions(options);
  tuning.rows = MakeFamilyOptions(options, tuning.cache);
  tuning.blobs = MakeFamilyOptions(options, tuning.cache);
  // Bodies above 16 KiB are referenced from tables, not rewritten by compaction.
  tuning.blobs.enable_blob_files = true;
  tuning.blobs.min_blob_size = 16 * 1024;
  tuning.blobs.blob_compression_type = Best({rocksdb::kZSTD, rocksdb::kLZ4Compression});
  tuning.blobs.blob_file_size = uint64_t{64} << 20;
  tuning.blobs.enable_blob_garbage_collection = true;
  tuning.blobs.blob_garbage_collection_age_cutoff = 0.25;
  tuning.blobs.blob_garbage_collection_force_threshold = 0.5;
  tuning.blobs.blob_cache = tuning.cache;
  return tuning;
}

void MakeFrugal(rocksdb::DBOptions* options, std::vector<rocksdb::ColumnFamilyDescriptor>* families) {
  constexpr uint64_t kNever = uint64_t{1} << 32;
  options->avoid_flush_during_recovery = true;
  options->allow_fallocate = false;
  options->db_write_buffer_size = 0;  // no bound; bounded by the logs that there are
  options->max_total_wal_size = kNever;
  for (rocksdb::ColumnFamilyDescriptor& family : *families) {
    family.options.write_buffer_size = kNever;
    family.options.disable_auto_compactions = true;
  }
}

}  // namespace posthouse::store
