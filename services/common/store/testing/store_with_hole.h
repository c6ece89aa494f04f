// StoreWithHole: a store with a damaged block, for tests of what goes on beside it. As the RocksDB
// engine answers: a page ends before the damage, and one that begins in it is kDataLoss, also the
// read of a key in it that was not written since.
#pragma once

#include <algorithm>
#include <atomic>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "services/common/status/status.h"
#include "services/common/store/store.h"

namespace posthouse::store {

class StoreWithHole final : public Store {
 public:
  // The rows from `first` to `last` of every partition. `store` outlives this.
  StoreWithHole(Store& store, std::string first, std::string last)
      : store_(store), first_(std::move(first)), last_(std::move(last)) {}
  int reads() const { return reads_; }

  Task<absl::StatusOr<ReadResult>> Read(ReadRequest request) override {
    ++reads_;
    const size_t limit = request.limit;
    const std::string begin = std::max(request.prefix, request.after);
    for (const std::string& key : request.keys) {
      if (first_ <= key && key <= last_ && !Rewritten(key)) co_return absl::DataLossError("block checksum mismatch");
    }
    PH_CO_ASSIGN_OR_RETURN(ReadResult result, co_await store_.Read(std::move(request)));
    if (limit == 0) co_return result;
    // A cursor finds where it begins by reading the block, too.
    if (first_ <= begin && begin <= last_) co_return absl::DataLossError("block checksum mismatch");
    const auto damaged = std::find_if(result.page.begin(), result.page.end(),
                                      [this](const Row& row) { return first_ <= row.key && row.key <= last_; });
    if (damaged == result.page.end()) co_return result;
    if (damaged == result.page.begin()) co_return absl::DataLossError("block checksum mismatch");
    result.page.erase(damaged, result.page.end());
    result.more = true;
    co_return result;
  }
  Task<absl::Status> Commit(CommitRequest request) override {
    {
      absl::MutexLock lock(&mutex_);
      for (const Mutation& mutation : request.mutations) rewritten_.insert(mutation.key);
    }
    return store_.Commit(std::move(request));
  }
  Task<absl::Status> Drop(Partition partition) override { return store_.Drop(std::move(partition)); }
  Task<absl::StatusOr<std::vector<Partition>>> List(std::string tenant, std::string prefix, std::string after,
                                                    size_t limit) override {
    return store_.List(std::move(tenant), std::move(prefix), std::move(after), limit);
  }
  Task<absl::StatusOr<CapacityInfo>> Capacity() override { return store_.Capacity(); }
  absl::Status Health() override { return store_.Health(); }
  EngineLimits Limits() const override { return store_.Limits(); }
  uint64_t Incarnation() const override { return store_.Incarnation(); }
  BlobStore& blobs() override { return store_.blobs(); }

 private:
  bool Rewritten(const std::string& key) {
    absl::MutexLock lock(&mutex_);
    return rewritten_.contains(key);
  }

  Store& store_;
  const std::string first_, last_;
  std::atomic<int> reads_{0};
  absl::Mutex mutex_;
  std::set<std::string> rewritten_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::store
