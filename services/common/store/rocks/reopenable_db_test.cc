// Closing and opening a database again, and which database's errors count.
#include "services/common/store/rocks/reopenable_db.h"

#include <gtest/gtest.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <rocksdb/listener.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "services/common/log/log.h"
#include "services/common/metrics/metrics.h"
#include "services/common/store/rocks/space_watch.h"
#include "services/common/store/rocks/write_health.h"

namespace posthouse::store {
namespace {

// Gives the lock back late: not before somebody asked for it, or a while later.
class SlowUnlockFs final : public rocksdb::FileSystemWrapper {
 public:
  SlowUnlockFs() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  const char* Name() const override { return "SlowUnlockFs"; }

  rocksdb::IOStatus LockFile(const std::string& name, const rocksdb::IOOptions& options, rocksdb::FileLock** lock,
                             rocksdb::IODebugContext* debug) override {
    if (unlocking_ && !asked_.HasBeenNotified()) asked_.Notify();
    return target()->LockFile(name, options, lock, debug);
  }
  rocksdb::IOStatus UnlockFile(rocksdb::FileLock* lock, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override {
    unlocking_ = true;
    asked_.WaitForNotificationWithTimeout(absl::Milliseconds(200));
    unlocking_ = false;
    return target()->UnlockFile(lock, options, debug);
  }

 private:
  std::atomic<bool> unlocking_{false};
  absl::Notification asked_;
};

class ReopenableDbTest : public testing::Test {
 protected:
  void SetUp() override {
    log::SetLevel(log::Level::kError);
    static int number = 0;
    options_.path = absl::StrCat(std::getenv("TEST_TMPDIR"), "/reopen", number++);
  }
  void TearDown() override { std::filesystem::remove_all(options_.path); }

  metrics::Registry registry_;
  metrics::Counter& errors_ = registry_.AddCounter("errors_total", "Errors.");
  const std::shared_ptr<WriteHealth> health_ = std::make_shared<WriteHealth>(errors_);
  RocksOptions options_;
  SpaceWatch space_{"/", 0, absl::Seconds(1), nullptr};
};

// The last reader closes the old database, on its own thread. Until that is done, the
// directory is locked.
TEST_F(ReopenableDbTest, AReopenWaitsUntilTheLastReaderHasClosedTheOldDatabase) {
  const std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(std::make_shared<SlowUnlockFs>());
  options_.env = env.get();
  absl::StatusOr<std::unique_ptr<ReopenableDb>> db = ReopenableDb::Open(options_, space_, health_);
  ASSERT_TRUE(db.ok()) << db.status();
  ReopenableDb::Ref reading = (*db)->Get();
  std::thread reader([&] {
    while ((*db)->Get() != nullptr) std::this_thread::yield();  // until Reopen() waits for this reader
    reading.reset();
  });
  const absl::Status reopened = (*db)->Reopen();
  reader.join();
  EXPECT_TRUE(reopened.ok()) << reopened;
}

TEST_F(ReopenableDbTest, AnErrorThatTheNewDatabaseMeetsBeforeItTakesOverCounts) {
  rocksdb::Status error = rocksdb::Status::IOError("injected");
  const auto report = [&error](rocksdb::EventListener& listener) {
    listener.OnBackgroundError(rocksdb::BackgroundErrorReason::kFlush, &error);
  };
  const std::shared_ptr<rocksdb::EventListener> first = health_->ListenerOf(health_->NewDatabase());
  health_->Opened();
  EXPECT_TRUE(health_->Get().ok());
  report(*first);
  EXPECT_FALSE(health_->Get().ok());
  const std::shared_ptr<rocksdb::EventListener> second = health_->ListenerOf(health_->NewDatabase());
  health_->Opened();
  EXPECT_TRUE(health_->Get().ok());
  report(*first);  // closes
  EXPECT_TRUE(health_->Get().ok());
  const std::shared_ptr<rocksdb::EventListener> third = health_->ListenerOf(health_->NewDatabase());
  report(*third);
  EXPECT_TRUE(health_->Get().ok());
  health_->Opened();
  EXPECT_FALSE(health_->Get().ok());
  EXPECT_EQ(errors_.Value(), 2);
}

}  // namespace
}  // namespace posthouse::store
