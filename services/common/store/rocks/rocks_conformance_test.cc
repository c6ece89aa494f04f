// The conformance suite on RocksStore, where a crash is a power loss: FaultFs drops
// what was not synced. Once with default buffers, once with buffers so small that
// flushes, log switches and compactions happen all the time.
#include <gtest/gtest.h>
#include <rocksdb/env.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/common/metrics/metrics.h"
#include "services/common/status/status.h"
#include "services/common/store/conformance/engine.h"
#include "services/common/store/rocks/rocks_store.h"
#include "services/common/store/testing/fault_fs.h"

namespace posthouse::store {
namespace {

class RocksEngine final : public Engine {
 public:
  explicit RocksEngine(uint64_t write_buffer_bytes) {
    static std::atomic<int> number{0};
    options_.path = absl::StrCat(std::getenv("TEST_TMPDIR"), "/store", number.fetch_add(1));
    options_.name = "test";
    options_.write_buffer_bytes = write_buffer_bytes;
    options_.block_cache_bytes = write_buffer_bytes;
    options_.min_free_bytes = 100;
    options_.space_check_interval = absl::ZeroDuration();
    options_.measure_space = [this](const std::string&) -> absl::StatusOr<CapacityInfo> {
      // Far more than the rows in memory, which count against the free bytes.
      return CapacityInfo{uint64_t{1} << 40, full_ ? uint64_t{10} : uint64_t{1} << 40, false};
    };
    options_.reopen_interval = absl::ZeroDuration();
    options_.env = env_.get();
    fs_->SetHook([this](FaultFs::Op op, const std::string& file) {
      return absl::EndsWith(file, ".log") ? OnLog(op) : rocksdb::IOStatus::OK();
    });
    Open();
  }
  ~RocksEngine() override {
    store_.reset();
    std::filesystem::remove_all(options_.path);
  }

  Store& store() override { return *store_; }
  void CrashAndReopen() override {
    fs_->CutPower();
    store_.reset();
    fs_->PowerLoss();
    Open();
  }
  void SetFull(bool full) override { full_ = full; }
  void SetStalled(bool stalled) override {
    absl::MutexLock lock(&mutex_);
    stalled_ = stalled;
  }
  // Fails each step of a log write in turn: before, between and after it is durable.
  void SetAnswersLost(bool lost) override {
    absl::MutexLock lock(&mutex_);
    lost_ = lost;
  }

 private:
  rocksdb::IOStatus OnLog(FaultFs::Op op) {
    absl::MutexLock lock(&mutex_);
    const auto goes_on = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !stalled_; };
    mutex_.Await(absl::Condition(&goes_on));
    if (!lost_ || op != static_cast<FaultFs::Op>(losses_ % 3)) return rocksdb::IOStatus::OK();
    ++losses_;
    return rocksdb::IOStatus::IOError("injected");
  }

  void Open() {
    absl::StatusOr<std::unique_ptr<RocksStore>> store = RocksStore::Open(options_, registry_);
    if (!store.ok()) CheckFailed(__FILE__, __LINE__, store.status().ToString());
    store_ = *std::move(store);
  }

  const std::shared_ptr<FaultFs> fs_ = std::make_shared<FaultFs>();
  const std::unique_ptr<rocksdb::Env> env_ = rocksdb::NewCompositeEnv(fs_);
  metrics::Registry registry_;
  std::atomic<bool> full_{false};
  absl::Mutex mutex_;
  bool stalled_ ABSL_GUARDED_BY(mutex_) = false;
  bool lost_ ABSL_GUARDED_BY(mutex_) = false;
  int losses_ ABSL_GUARDED_BY(mutex_) = 0;
  RocksOptions options_;
  std::unique_ptr<RocksStore> store_;
};

std::unique_ptr<Engine> MakeEngine() { return std::make_unique<RocksEngine>(uint64_t{8} << 20); }
std::unique_ptr<Engine> MakeTinyEngine() { return std::make_unique<RocksEngine>(uint64_t{64} << 10); }

INSTANTIATE_TEST_SUITE_P(Rocks, StoreConformanceTest, testing::Values(&MakeEngine));
INSTANTIATE_TEST_SUITE_P(TinyBuffers, StoreConformanceTest, testing::Values(&MakeTinyEngine));

}  // namespace
}  // namespace posthouse::store
