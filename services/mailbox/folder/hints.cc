#include "services/mailbox/folder/hints.h"

#include <algorithm>

namespace posthouse::mailbox {

void HintHub::Subscription::Push(const Hint& hint) {
  {
    absl::MutexLock lock(&mutex_);
    const auto key = std::make_pair(hint.account_id, hint.folder_id);
    const auto it = pending_.find(key);
    if (it == pending_.end()) {
      if (pending_.size() >= kMaxPending) {
        ++lost_;
        return;
      }
      pending_.emplace(key, hint);
    } else {
      it->second.highest_modseq = std::max(it->second.highest_modseq, hint.highest_modseq);
      it->second.tree_changed |= hint.tree_changed;
    }
  }
  wakeup_.Signal();
}

std::vector<Hint> HintHub::Subscription::Take(size_t limit) {
  absl::MutexLock lock(&mutex_);
  std::vector<Hint> out;
  auto it = pending_.begin();
  while (it != pending_.end() && out.size() < limit) {
    out.push_back(std::move(it->second));
    pending_.erase(it++);
  }
  return out;
}

uint64_t HintHub::Subscription::lost() const {
  absl::MutexLock lock(&mutex_);
  return lost_;
}

void HintHub::FolderChanged(const std::string& account_id, const std::string& folder_id, uint64_t modseq) {
  Publish({account_id, folder_id, modseq, false});
}

void HintHub::TreeChanged(const std::string& account_id) { Publish({account_id, "", 0, true}); }

void HintHub::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
  for (Subscription* s : subscriptions_) s->wakeup_.Signal();
}

bool HintHub::closed() const {
  absl::MutexLock lock(&mutex_);
  return closed_;
}

size_t HintHub::subscribers() const {
  absl::MutexLock lock(&mutex_);
  return subscriptions_.size();
}

void HintHub::Publish(const Hint& hint) {
  absl::MutexLock lock(&mutex_);
  for (Subscription* s : subscriptions_) s->Push(hint);
}

void HintHub::Add(Subscription* subscription) {
  absl::MutexLock lock(&mutex_);
  subscriptions_.insert(subscription);
}

void HintHub::Remove(Subscription* subscription) {
  absl::MutexLock lock(&mutex_);
  subscriptions_.erase(subscription);
}

}  // namespace posthouse::mailbox
