#include "services/common/store/rocks/write_health.h"

#include <rocksdb/listener.h>

#include <memory>
#include <utility>

#include "services/common/log/log.h"
#include "services/common/store/rocks/rocks_status.h"

namespace posthouse::store {
namespace {

class Listener final : public rocksdb::EventListener {
 public:
  explicit Listener(std::shared_ptr<WriteHealth> health) : health_(std::move(health)) {}

  void OnBackgroundError(rocksdb::BackgroundErrorReason, rocksdb::Status* error) override {
    health_->Fail(FromRocks(*error, "background work"));
  }

 private:
  const std::shared_ptr<WriteHealth> health_;
};

}  // namespace

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
}

void WriteHealth::Replace(const absl::Status& why) {
  {
    absl::MutexLock lock(&mutex_);
    status_ = why;
  }
  LOG_EVENT(kError, "store_writes_stopped").Err(why);
}

void WriteHealth::Recovered() {
  {
    absl::MutexLock lock(&mutex_);
    if (status_.ok()) return;
    status_ = absl::OkStatus();
  }
  LOG_EVENT(kInfo, "store_writes_resumed");
}

std::shared_ptr<rocksdb::EventListener> WriteHealth::MakeListener(std::shared_ptr<WriteHealth> health) {
  return std::make_shared<Listener>(std::move(health));
}

}  // namespace posthouse::store
