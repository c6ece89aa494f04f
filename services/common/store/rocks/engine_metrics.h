// What RocksDB itself counts and measures, as metrics of the store. For each scrape.
// Threads: any.
#pragma once

namespace posthouse::store {

class ReopenableDb;
struct StoreMetrics;

// While the database is being opened again, its gauges stay as they were.
void ExportEngine(const ReopenableDb& db, StoreMetrics& metrics);

}  // namespace posthouse::store
