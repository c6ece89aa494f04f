#include "services/mailbox/folder/account_registry.h"

namespace posthouse::mailbox {

uint64_t AccountChanges::now() const {
  absl::MutexLock lock(&mutex_);
  return newest_;
}

AccountChanges::Since AccountChanges::Look(const AccountId& account, uint64_t seen) const {
  absl::MutexLock lock(&mutex_);
  const auto it = changed_.find(account);
  if (it != changed_.end() && it->second > seen) return Since::kThis;
  return lost_ > seen ? Since::kMaybe : Since::kNothing;
}

void AccountChanges::Changed(const AccountId& account) {
  absl::MutexLock lock(&mutex_);
  changed_[account] = ++newest_;
  if (changed_.size() <= kMaxNames) return;
  changed_.clear();
  lost_ = newest_;
}

void AccountChanges::Lost() {
  absl::MutexLock lock(&mutex_);
  changed_.clear();
  lost_ = ++newest_;
}

}  // namespace posthouse::mailbox
