// Opens the Store of a service on the engine that the configuration asks for, so that
// services see no engine's headers. RocksDB is the only one so far.
// Threads: the main thread at the start: Open() blocks, and reads the logs of the store.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "services/common/metrics/metrics.h"
#include "services/common/store/store.h"

namespace posthouse::config::v1 {
class StoreSettings;
}

namespace posthouse::store {

// `name` labels the store's metrics: "queue", "mailbox", "directory". `path` is the
// store's own directory, created if absent. `registry` outlives the store.
// kFailedPrecondition: another process has the directory open, it cannot be created,
// or its format is newer than this binary. kDataLoss: the files are damaged, and
// commits that were acknowledged would be missing. The message says what to do; the
// files are unchanged. `accept_data_loss`: the store opens without those commits, and
// its Incarnation() rises. `config.format` raises the format of the store (format.h).
absl::StatusOr<std::unique_ptr<Store>> Open(std::string name, std::string path, const config::v1::StoreSettings& config,
                                            metrics::Registry& registry, bool accept_data_loss);

}  // namespace posthouse::store
