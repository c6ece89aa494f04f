#include "services/common/store/rocks/write_health.h"

#include <rocksdb/listener.h>

#include <memory>
#include <utility>

#include "services/common/log/log.h"
#include "services/common/store/rocks/rocks_status.h"

namespace posthouse::store {

class WriteHealth::Listener final : public rocksdb::EventListener {
 public:
  Listener(std::shared_ptr<WriteHealth> health, uint64_t number) : health_(std::move(health)), number_(number) {}

  void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* error) override {
    if (reason == rocksdb::BackgroundErrorReason::kCompaction && error->IsCorruption()) {
      health_->Damaged(number_, *error);
      *error = rocksdb::Status::OK();  // else RocksDB would stop all writes
      return;
    }
    health_->Report(number_, FromRocks(*error, "background work"));
  }

 private:
  const std::shared_ptr<WriteHealth> health_;
  const uint64_t number_;
};

absl::Status WriteHealth::Get() const {
  absl::MutexLock lock(&mutex_);
  return status_;
}

void WriteHealth::Fail(const absl::Status& why) {
  {
    absl::MutexLock lock(&mutex_);
    if (!status_.ok()) return;
    status_ = why;
  }
  errors_.Add();
  LOG_EVENT(kError, "store_writes_stopped").Err(why);
  absl::MutexLock lock(&on_fail_mutex_);
  if (on_fail_) on_fail_();
}

void WriteHealth::Replace(const absl::Status& why) {
  {
    absl::MutexLock lock(&mutex_);
    status_ = why;
  }
  LOG_EVENT(kError, "store_writes_stopped").Err(why);
}

void WriteHealth::Report(uint64_t database, const absl::Status& why) {
  {
    absl::MutexLock lock(&mutex_);
    if (database != current_) {
      // The new database, before Opened(); or the old one while it closes.
      if (database == newest_ && newest_status_.ok()) newest_status_ = why;
      return;
    }
  }
  Fail(why);
}

uint64_t WriteHealth::NewDatabase() {
  absl::MutexLock lock(&mutex_);
  newest_status_ = absl::OkStatus();
  return ++newest_;
}

std::shared_ptr<rocksdb::EventListener> WriteHealth::ListenerOf(uint64_t database) {
  return std::make_shared<Listener>(shared_from_this(), database);
}

void WriteHealth::Opened() {
  absl::Status before, now;
  {
    absl::MutexLock lock(&mutex_);
    before = std::exchange(status_, now = newest_status_);
    current_ = newest_;
  }
  if (!now.ok()) {
    errors_.Add();
    LOG_EVENT(kError, "store_writes_stopped").Err(now);
  } else if (!before.ok()) {
    LOG_EVENT(kInfo, "store_writes_resumed");
  }
}

void WriteHealth::Damaged(uint64_t database, const rocksdb::Status& error) {
  {
    absl::MutexLock lock(&mutex_);
    // After a failed write (freezing_fs.h) RocksDB reads files that were never written.
    if (database != current_ || !status_.ok()) return;
  }
  damaged_.store(true, std::memory_order_release);
  absl::MutexLock lock(&on_fail_mutex_);
  if (on_damage_) on_damage_(error);
  if (on_fail_) on_fail_();
}

void WriteHealth::SetOnDamage(std::function<void(const rocksdb::Status&)> on_damage) {
  absl::MutexLock lock(&on_fail_mutex_);
  on_damage_ = std::move(on_damage);
}

void WriteHealth::SetOnFail(std::function<void()> on_fail) {
  absl::MutexLock lock(&on_fail_mutex_);
  on_fail_ = std::move(on_fail);
}

}  // namespace posthouse::store
