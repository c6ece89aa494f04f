#include "services/mailbox/folder/usage.h"

#include <utility>

namespace posthouse::mailbox {

void Usage::Count(const FolderId& folder_id, Amount amount) {
  absl::MutexLock lock(&mutex_);
  if (!counted_.insert(folder_id).second) return;
  total_.bytes += amount.bytes;
  total_.messages += amount.messages;
}

void Usage::Changed(const FolderId& folder_id, Amount delta) {
  absl::MutexLock lock(&mutex_);
  if (!counted_.contains(folder_id)) return;
  total_.bytes += delta.bytes;
  total_.messages += delta.messages;
}

void Usage::Forget(const FolderId& folder_id, Amount amount) {
  absl::MutexLock lock(&mutex_);
  if (counted_.erase(folder_id) == 0) return;
  total_.bytes -= amount.bytes;
  total_.messages -= amount.messages;
}

bool Usage::Counted(const FolderId& folder_id) const {
  absl::MutexLock lock(&mutex_);
  return counted_.contains(folder_id);
}

Usage::Amount Usage::Total() const {
  absl::MutexLock lock(&mutex_);
  return total_;
}

Usage::Reservation::Reservation(Reservation&& other) noexcept
    : usage_(std::exchange(other.usage_, nullptr)), amount_(other.amount_) {}

Usage::Reservation::~Reservation() {
  if (usage_ == nullptr) return;
  absl::MutexLock lock(&usage_->mutex_);
  usage_->reserved_.bytes -= amount_.bytes;
  usage_->reserved_.messages -= amount_.messages;
}

void Usage::Reservation::Give(Amount amount) {
  if (usage_ == nullptr) return;
  absl::MutexLock lock(&usage_->mutex_);
  amount_ = amount_ - amount;
  usage_->reserved_ = usage_->reserved_ - amount;
}

Usage::Reservation Usage::Reserve(Amount amount, const Quota& quota) {
  absl::MutexLock lock(&mutex_);
  const auto fits = [](int64_t held, int64_t reserved, int64_t more, uint64_t limit) {
    return limit == 0 || held + reserved + more <= static_cast<int64_t>(limit);
  };
  if (!fits(total_.bytes, reserved_.bytes, amount.bytes, quota.bytes) ||
      !fits(total_.messages, reserved_.messages, amount.messages, quota.messages)) {
    return Reservation();
  }
  reserved_.bytes += amount.bytes;
  reserved_.messages += amount.messages;
  return Reservation(this, amount);
}

}  // namespace posthouse::mailbox
