// CountingStore: counts what its caller asks of another store, for tests that bound work by
// numbers that a busy machine does not change.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "services/common/store/store.h"

namespace posthouse::mailbox {

// Since the last Reset().
struct StoreWork {
  std::atomic<uint64_t> reads{0};      // calls
  std::atomic<uint64_t> rows_read{0};  // keys asked for, and rows of pages
  std::atomic<uint64_t> commits{0};    // each partition of a CommitAll is one
  std::atomic<uint64_t> mutations{0};
  void Reset() { reads = rows_read = commits = mutations = 0; }
};

class CountingStore final : public store::Store {
 public:
  CountingStore(std::unique_ptr<store::Store> store, StoreWork& work) : store_(std::move(store)), work_(work) {}

  Task<absl::StatusOr<store::ReadResult>> Read(store::ReadRequest request) override {
    ++work_.reads;
    work_.rows_read += request.keys.size();
    absl::StatusOr<store::ReadResult> read = co_await store_->Read(std::move(request));
    if (read.ok()) work_.rows_read += read->page.size();
    co_return read;
  }
  Task<absl::Status> Commit(store::CommitRequest request) override {
    Count(request);
    return store_->Commit(std::move(request));
  }
  Task<std::vector<absl::Status>> CommitAll(std::vector<store::CommitRequest> requests) override {
    for (const store::CommitRequest& request : requests) Count(request);
    return store_->CommitAll(std::move(requests));
  }
  Task<absl::Status> Drop(store::Partition partition) override { return store_->Drop(std::move(partition)); }
  Task<absl::StatusOr<std::vector<store::Partition>>> List(std::string tenant, std::string prefix, std::string after,
                                                           size_t limit) override {
    return store_->List(std::move(tenant), std::move(prefix), std::move(after), limit);
  }
  Task<absl::StatusOr<store::CapacityInfo>> Capacity() override { return store_->Capacity(); }
  absl::Status Health() override { return store_->Health(); }
  store::EngineLimits Limits() const override { return store_->Limits(); }
  uint64_t Incarnation() const override { return store_->Incarnation(); }
  store::BlobStore& blobs() override { return store_->blobs(); }

 private:
  void Count(const store::CommitRequest& request) {
    ++work_.commits;
    work_.mutations += request.mutations.size();
  }
  const std::unique_ptr<store::Store> store_;
  StoreWork& work_;
};

}  // namespace posthouse::mailbox
