// Opens the database of a RocksStore once it is known that nothing acknowledged is missing,
// or that the operator accepts what is. Internal.
// Threads: one at a time for a store; blocks on the disk.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "services/common/store/rocks/reopenable_db.h"
#include "services/common/store/rocks/rocks_store.h"
#include "services/common/store/rocks/space_watch.h"
#include "services/common/store/rocks/store_metrics.h"
#include "services/common/store/rocks/sync_point.h"
#include "services/common/store/rocks/write_health.h"

namespace posthouse::store {

// An open database with what guards its log.
struct OpenedStore {
  std::unique_ptr<ReopenableDb> db;
  std::unique_ptr<SyncPoint> sync_point;
  uint64_t incarnation = 0;
  int format = 0;
};

// Errors: see RocksStore::Open().
absl::StatusOr<OpenedStore> OpenChecked(const RocksOptions& options, SpaceWatch& space,
                                        std::shared_ptr<WriteHealth> health, const StoreMetrics& metrics);

}  // namespace posthouse::store
