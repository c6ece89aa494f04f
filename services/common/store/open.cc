#include "services/common/store/open.h"

#include <algorithm>
#include <utility>

#include "posthouse/config/v1/config.pb.h"
#include "services/common/async/task.h"
#include "services/common/log/log.h"
#include "services/common/memory_limit/memory_limit.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/rocks_store.h"

namespace posthouse::store {
namespace {

// Raises the store's format to `wanted`. A store that is ahead of it stays: its rows are written already.
absl::Status FollowFormat(Store& store, const std::string& name, int wanted) {
  const int before = store.Format();
  if (wanted == 0 || wanted == before) return absl::OkStatus();
  if (wanted < before) {
    LOG_EVENT(kWarning, "store_format_is_higher").Str("store", name).Int("format", before).Int("configured", wanted);
    return absl::OkStatus();
  }
  const absl::Status raised = SyncWait(store.RaiseFormat(wanted));
  if (!raised.ok()) return Annotate(raised, "store.format");
  LOG_EVENT(kInfo, "store_format_raised").Str("store", name).Int("from", before).Int("to", wanted);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> Open(std::string name, std::string path, const config::v1::StoreSettings& config,
                                            metrics::Registry& registry, bool accept_data_loss) {
  constexpr uint32_t kMaxReadThreads = 256;
  RocksOptions options;
  options.name = std::move(name);
  options.path = std::move(path);
  options.accept_data_loss = accept_data_loss;
  // 0: the default.
  const StoreMemory memory = StoreMemoryFor(MemoryLimit(), 1);
  options.block_cache_bytes = config.block_cache_bytes() != 0 ? config.block_cache_bytes() : memory.block_cache_bytes;
  options.write_buffer_bytes =
      config.write_buffer_bytes() != 0 ? config.write_buffer_bytes() : memory.write_buffer_bytes;
  if (config.min_free_bytes() != 0) options.min_free_bytes = config.min_free_bytes();
  if (config.read_threads() != 0) {
    options.read_threads = static_cast<int>(std::min(config.read_threads(), kMaxReadThreads));
  }
  PH_ASSIGN_OR_RETURN(std::unique_ptr<Store> store, RocksStore::Open(options, registry));
  PH_RETURN_IF_ERROR(FollowFormat(*store, options.name, static_cast<int>(config.format())));
  return store;
}

}  // namespace posthouse::store
