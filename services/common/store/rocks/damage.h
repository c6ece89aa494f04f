// Damage: the damaged places that reads and compactions of an open store have met.
//
// Corruption is not a write error. A damaged block costs the rows in it: reads of them
// are kDataLoss, everything else goes on, and RocksDB compacts no more (WriteHealth),
// since it would meet the block for ever. Damage logs each place once, and names the
// rows that cannot be read: "store_damaged", "store_rows_lost". docs/operations.md says
// what to do.
//
// Threads: any; it has one of its own, which reads.
#pragma once

#include <rocksdb/status.h>

#include <deque>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "services/common/metrics/metrics.h"
#include "services/common/store/rocks/reopenable_db.h"

namespace posthouse::store {

class Damage {
 public:
  static constexpr size_t kMaxPlaces = 1000;  // more are not looked at

  // `places` shows how many are known. Both outlive this.
  Damage(const ReopenableDb& db, metrics::Gauge& places);
  ~Damage();  // Stop()
  void Stop();

  // Notes an error of RocksDB if it is corruption of a file.
  void Note(const rocksdb::Status& error);

 private:
  void Loop();
  void NameRows(const std::string& file);

  const ReopenableDb& db_;
  metrics::Gauge& places_;
  absl::Mutex mutex_;
  absl::CondVar wake_;
  absl::flat_hash_set<std::string> known_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_set<std::string> files_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> to_name_ ABSL_GUARDED_BY(mutex_);  // files
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace posthouse::store
