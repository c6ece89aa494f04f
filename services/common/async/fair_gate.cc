#include "services/common/async/fair_gate.h"

#include <utility>

namespace posthouse {

Task<bool> FairGate::Enter(std::string key) {
  co_return co_await AwaitCallback<bool>([this, &key](Waiter done) {
    Waiter refused;
    bool enter = false;
    {
      absl::MutexLock lock(&mutex_);
      if (inside_ < concurrent_) {
        ++inside_;
        enter = true;
        refused = std::move(done);
      } else {
        bool room = waiting_ < max_waiting_;
        if (!room && (refused = MakeRoom(key)) != nullptr) room = true;
        if (room) {
          Line& line = lines_[key];
          if (line.empty()) turns_.push_back(key);
          line.push_back(std::move(done));
          ++waiting_;
        } else {
          refused = std::move(done);
        }
      }
    }
    if (refused) refused(enter);
  });
}

FairGate::Waiter FairGate::MakeRoom(const std::string& key) {
  const auto own = lines_.find(key);
  auto longest = lines_.end();
  for (auto it = lines_.begin(); it != lines_.end(); ++it) {
    if (longest == lines_.end() || it->second.size() > longest->second.size()) longest = it;
  }
  const size_t with_newcomer = (own == lines_.end() ? 0 : own->second.size()) + 1;
  // A line of one is never shortened: its key would wait for nothing.
  if (longest == lines_.end() || longest->second.size() <= with_newcomer) return nullptr;
  Waiter last = std::move(longest->second.back());
  longest->second.pop_back();
  --waiting_;
  return last;
}

void FairGate::Leave() {
  Waiter next;
  {
    absl::MutexLock lock(&mutex_);
    if (turns_.empty()) {
      --inside_;
      return;
    }
    const auto it = lines_.find(turns_.front());
    next = std::move(it->second.front());
    it->second.pop_front();
    --waiting_;
    if (it->second.empty()) {
      lines_.erase(it);
      turns_.pop_front();
    } else {
      turns_.splice(turns_.end(), turns_, turns_.begin());
    }
  }
  next(true);  // takes over our place
}

size_t FairGate::waiting() const {
  absl::MutexLock lock(&mutex_);
  return waiting_;
}

}  // namespace posthouse
