#include "services/directory/password_hash_limiter.h"

namespace posthouse::directory {

Task<bool> PasswordHashLimiter::Enter() {
  co_return co_await AwaitCallback<bool>([this](absl::AnyInvocable<void(bool)> done) {
    bool enter = false;
    {
      absl::MutexLock lock(&mutex_);
      if (running_ < concurrent_) {
        ++running_;
        enter = true;
      } else if (waiting_.size() < max_waiting_) {
        waiting_.push_back(std::move(done));
        return;
      }
    }
    done(enter);
  });
}

void PasswordHashLimiter::Leave() {
  absl::AnyInvocable<void(bool)> next;
  {
    absl::MutexLock lock(&mutex_);
    if (waiting_.empty()) {
      --running_;
      return;
    }
    next = std::move(waiting_.front());
    waiting_.pop_front();
  }
  next(true);  // takes over our place
}

size_t PasswordHashLimiter::waiting() const {
  absl::MutexLock lock(&mutex_);
  return waiting_.size();
}

}  // namespace posthouse::directory
