#include "services/common/store/rocks/engine_metrics.h"

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/statistics.h>

#include <cstdint>
#include <string>

#include "absl/strings/numbers.h"
#include "services/common/store/rocks/reopenable_db.h"
#include "services/common/store/rocks/store_metrics.h"

namespace posthouse::store {

void ExportEngine(const ReopenableDb& db, StoreMetrics& metrics) {
  const ReopenableDb::Ref open = db.Get();
  metrics.reserve_bytes.Set(static_cast<double>(db.reserve_bytes()));
  metrics.read_only.Set(open != nullptr && open->read_only ? 1 : 0);
  if (open == nullptr) return;
  const auto number = [&open](const std::string& name, rocksdb::ColumnFamilyHandle* family = nullptr) {
    uint64_t value = 0;
    if (family != nullptr) {
      open->db->GetIntProperty(family, name, &value);
    } else {
      open->db->GetAggregatedIntProperty(name, &value);
    }
    return static_cast<double>(value);
  };
  const auto ticks = [&db](rocksdb::Tickers ticker) {
    return static_cast<double>(db.statistics().getTickerCount(ticker));
  };
  using Properties = rocksdb::DB::Properties;
  metrics.stopped.Set(number(Properties::kIsWriteStopped, open->rows));
  metrics.delayed_bytes_per_second.Set(number(Properties::kActualDelayedWriteRate, open->rows));
  metrics.compaction_debt_bytes.Set(number(Properties::kEstimatePendingCompactionBytes));
  metrics.running_compactions.Set(number(Properties::kNumRunningCompactions, open->rows));
  for (int level = 0; level < kLevels; ++level) {
    double files = 0;
    for (rocksdb::ColumnFamilyHandle* const family : {open->rows, open->blobs}) {
      std::string text;
      uint64_t count = 0;
      const std::string name = Properties::kNumFilesAtLevelPrefix + std::to_string(level);
      if (open->db->GetProperty(family, name, &text) && absl::SimpleAtoi(text, &count))
        files += static_cast<double>(count);
    }
    metrics.level_files[static_cast<size_t>(level)]->Set(files);
  }
  metrics.memtable_bytes.Set(number(Properties::kCurSizeAllMemTables));
  metrics.table_bytes.Set(number(Properties::kTotalSstFilesSize));
  metrics.blob_file_bytes.Set(number(Properties::kTotalBlobFileSize, open->blobs));
  metrics.blob_garbage_bytes.Set(number(Properties::kLiveBlobFileGarbageSize, open->blobs));
  metrics.estimated_rows.Set(number(Properties::kEstimateNumKeys, open->rows));
  // RocksDB's own counts, which go on across reopenings.
  metrics.stall_seconds.RaiseTo(ticks(rocksdb::STALL_MICROS) / 1e6);
  metrics.cache_hits.RaiseTo(ticks(rocksdb::BLOCK_CACHE_HIT));
  metrics.cache_misses.RaiseTo(ticks(rocksdb::BLOCK_CACHE_MISS));
  metrics.cache_bytes.Set(static_cast<double>(db.cache().GetUsage()));
  metrics.log_syncs.RaiseTo(ticks(rocksdb::WAL_FILE_SYNCED));
  metrics.written_bytes.RaiseTo(ticks(rocksdb::WAL_FILE_BYTES) + ticks(rocksdb::FLUSH_WRITE_BYTES) +
                                ticks(rocksdb::COMPACT_WRITE_BYTES) + ticks(rocksdb::BLOB_DB_BLOB_FILE_BYTES_WRITTEN));
}

}  // namespace posthouse::store
