// The conformance suite: what every Store must do, as tests over an Engine.
//
// The test of each engine instantiates it:
//   INSTANTIATE_TEST_SUITE_P(Memory, StoreConformanceTest, testing::Values(&MakeMemoryEngine));
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_join.h"
#include "services/common/async/task.h"
#include "services/common/log/log.h"
#include "services/common/store/store.h"

namespace posthouse::store {

// A store under test, with what can happen to it. The calls below come while no call
// to a store is in flight, except SetStalled(false).
class Engine {
 public:
  virtual ~Engine() = default;
  virtual Store& store() = 0;
  // A second process on the same data; the same store where an engine allows only one.
  virtual Store& second_store() { return store(); }
  // The power fails and comes back: unsynced data is gone.
  virtual void CrashAndReopen() = 0;
  // The disk has no room, or has it again.
  virtual void SetFull(bool full) = 0;
  // Commits wait from now on, or go on.
  virtual void SetStalled(bool stalled) = 0;
  // Commits fail with kDeadlineExceeded, or kUnavailable, with every outcome that the
  // engine can have; or succeed again from the next one on.
  virtual void SetAnswersLost(bool lost) = 0;
  // Afterwards each commit of unknown outcome has happened or never will.
  virtual void SettleUnknownCommits() {}
};

using EngineFactory = std::unique_ptr<Engine> (*)();

class StoreConformanceTest : public testing::TestWithParam<EngineFactory> {
 protected:
  void SetUp() override {
    log::SetLevel(log::Level::kError);
    engine_ = GetParam()();
  }
  Store& store() { return engine_->store(); }
  // The store of client `i`: every second client is in the second process.
  Store& StoreOf(int i) { return i % 2 == 0 ? engine_->store() : engine_->second_store(); }
  BlobStore& blobs() { return store().blobs(); }

  static Mutation Set(std::string key, std::string value) { return {std::move(key), std::move(value)}; }
  static Mutation Remove(std::string key) { return {std::move(key), std::nullopt}; }
  static Precondition Is(std::string key, std::string value) { return {std::move(key), std::move(value)}; }
  static Precondition Absent(std::string key) { return {std::move(key), std::nullopt}; }

  absl::Status Commit(std::vector<Precondition> preconditions, std::vector<Mutation> mutations) {
    return CommitTo(partition_, std::move(preconditions), std::move(mutations));
  }
  absl::Status CommitTo(Partition partition, std::vector<Precondition> preconditions, std::vector<Mutation> mutations) {
    return SyncWait(store().Commit({std::move(partition), std::move(preconditions), std::move(mutations)}));
  }
  // Commits the row `key`, and makes the blobs of tenant "t" durable with it.
  absl::Status CommitWithBlobs(const std::string& key, const std::vector<std::string>& names) {
    CommitRequest request{.partition = partition_};
    request.mutations.push_back(Set(key, "v"));
    for (const std::string& name : names) request.needs_blobs.push_back({"t", name});
    return SyncWait(store().Commit(std::move(request)));
  }
  absl::StatusOr<ReadResult> Read(ReadRequest request) { return SyncWait(store().Read(std::move(request))); }
  // The row's value, "" when there is none, "!" with the error when it cannot be read.
  std::string Get(const std::string& key) { return GetFrom(partition_, key); }
  std::string GetFrom(const Partition& partition, const std::string& key) {
    absl::StatusOr<ReadResult> result = Read({partition, {key}, "", "", 0});
    if (!result.ok()) return "!" + result.status().ToString();
    return result->values.at(0).value_or("");
  }
  // "k1=v1 k2=v2", and "+" when there is more.
  std::string Page(const std::string& prefix, const std::string& after, size_t limit) {
    return PageOf(partition_, prefix, after, limit);
  }
  std::string PageOf(const Partition& partition, const std::string& prefix, const std::string& after, size_t limit) {
    absl::StatusOr<ReadResult> result = Read({partition, {}, prefix, after, limit});
    if (!result.ok()) return "!" + result.status().ToString();
    std::string text;
    for (const Row& row : result->page) text += row.key + "=" + row.value + " ";
    return result->more ? text + "+" : text;
  }

  // Not Cord(std::string&&): Debian's GCC and our Clang mangle that constructor differently.
  static absl::Cord Bytes(const std::string& bytes) { return absl::Cord(absl::string_view(bytes)); }

  absl::Status PutBlob(const std::string& name, const std::string& body) {
    return SyncWait(blobs().Put("t", name, Bytes(body)));
  }
  // The body, or "!" with the error.
  std::string GetBlob(const std::string& name, uint64_t offset = 0, uint64_t length = kMaxBlobPieceBytes * 16) {
    absl::StatusOr<absl::Cord> body = SyncWait(blobs().Get("t", name, offset, length));
    return body.ok() ? std::string(*body) : "!" + body.status().ToString();
  }
  // "a b c": names of all blobs of the tenant, sorted.
  std::string ListBlobs(size_t limit = 3) {
    std::vector<std::string> names;
    std::string cursor;
    do {
      absl::StatusOr<BlobPage> page = SyncWait(blobs().List("t", cursor, limit));
      if (!page.ok()) return "!" + page.status().ToString();
      for (const BlobInfo& info : page->blobs) names.push_back(info.name);
      cursor = page->next;
    } while (!cursor.empty());
    std::sort(names.begin(), names.end());
    return absl::StrJoin(names, " ");
  }

  const Partition partition_{"t", "p"};
  std::unique_ptr<Engine> engine_;
};

}  // namespace posthouse::store
