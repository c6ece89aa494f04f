#include "services/gateway/watch_hub.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "posthouse/common/v1/common.pb.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/log/log.h"

namespace posthouse::gateway {
namespace {

// "Something may have changed": higher than any modseq, until the next look.
constexpr uint64_t kUnknown = std::numeric_limits<uint64_t>::max();

std::string KeyOf(absl::string_view shard, absl::string_view account_id, absl::string_view folder_id) {
  return absl::StrCat(shard, "\n", account_id, "\n", folder_id);
}

}  // namespace

struct WatchHub::Shard {
  explicit Shard(std::string n) : name(std::move(n)) {}
  const std::string name;
  std::shared_ptr<WatchStream> stream;  // guarded by the hub's mutex
  Wakeup stop;
};

WatchHub::Subscription::~Subscription() { hub_->Unsubscribe(this); }

void WatchHub::Subscription::Reading() {
  uint64_t unknown = kUnknown;
  latest_.compare_exchange_strong(unknown, 0, std::memory_order_acq_rel);
}

void WatchHub::Subscription::Failed() { latest_.store(kUnknown, std::memory_order_release); }

WatchHub::WatchHub(Backend& backend, Executor& executor, absl::Duration min_backoff, absl::Duration max_backoff)
    : backend_(backend), executor_(executor), min_backoff_(min_backoff), max_backoff_(max_backoff) {}

WatchHub::~WatchHub() { Stop(); }

std::unique_ptr<WatchHub::Subscription> WatchHub::Subscribe(const AccountRef& account, absl::string_view folder_id,
                                                            std::function<void()> wake) {
  const std::string shard_name = backend_.ShardOf(account.home());
  auto subscription = std::unique_ptr<Subscription>(
      new Subscription(this, KeyOf(shard_name, account.account_id(), folder_id), std::move(wake)));
  absl::MutexLock lock(&mutex_);
  subscriptions_[subscription->key_].push_back(subscription.get());
  std::shared_ptr<Shard>& shard = shards_[shard_name];
  if (shard == nullptr && !stopping_) {
    shard = std::make_shared<Shard>(shard_name);
    ++running_;
    Spawn(executor_, Follow(shard));
  }
  return subscription;
}

void WatchHub::Unsubscribe(Subscription* subscription) {
  absl::MutexLock lock(&mutex_);
  const auto found = subscriptions_.find(subscription->key_);
  if (found == subscriptions_.end()) return;
  std::vector<Subscription*>& list = found->second;
  list.erase(std::remove(list.begin(), list.end(), subscription), list.end());
  if (list.empty()) subscriptions_.erase(found);
}

Task<void> WatchHub::Follow(std::shared_ptr<Shard> shard) {
  absl::Duration backoff = min_backoff_;
  while (true) {
    const std::shared_ptr<WatchStream> stream = backend_.Watch(shard->name);
    bool stopping;
    {
      absl::MutexLock lock(&mutex_);
      stopping = stopping_;
      shard->stream = stream;
    }
    if (stopping) break;
    const absl::Time begun = absl::Now();
    if (stream != nullptr) co_await ReadStream(shard, stream);
    {
      absl::MutexLock lock(&mutex_);
      shard->stream = nullptr;
      stopping = stopping_;
    }
    if (stopping) break;
    if (absl::Now() - begun > max_backoff_) backoff = min_backoff_;
    co_await shard->stop.WaitFor(backoff);
    backoff = std::min(backoff * 2, max_backoff_);
  }
  absl::MutexLock lock(&mutex_);
  --running_;
}

Task<void> WatchHub::ReadStream(std::shared_ptr<Shard> shard, std::shared_ptr<WatchStream> stream) {
  bool up = false;
  while (true) {
    const absl::StatusOr<std::optional<mail::WatchResponse>> next = co_await stream->Read();
    if (!next.ok() || !next->has_value()) {
      if (up) LOG_EVENT(kInfo, "watch_lost").Str("shard", shard->name).Err(next.status());
      break;
    }
    if (!up) {
      up = true;
      {
        absl::MutexLock lock(&mutex_);
        ++connected_;
      }
      TellAll(*shard);  // hints may have been missed before the stream was up
    }
    Deliver(*shard, **next);
  }
  absl::MutexLock lock(&mutex_);
  if (up) --connected_;
}

void WatchHub::Deliver(const Shard& shard, const mail::WatchResponse& response) {
  absl::MutexLock lock(&mutex_);
  for (const auto& hint : response.hints()) {
    const auto found = subscriptions_.find(KeyOf(shard.name, hint.account_id(), hint.folder_id()));
    if (found == subscriptions_.end()) continue;
    for (Subscription* subscription : found->second) {
      uint64_t seen = subscription->latest_.load(std::memory_order_relaxed);
      while (seen < hint.highest_modseq() &&
             !subscription->latest_.compare_exchange_weak(seen, hint.highest_modseq(), std::memory_order_acq_rel)) {
      }
      subscription->wake_();
    }
  }
}

void WatchHub::TellAll(const Shard& shard) {
  const std::string prefix = absl::StrCat(shard.name, "\n");
  absl::MutexLock lock(&mutex_);
  for (const auto& [key, list] : subscriptions_) {
    if (!absl::StartsWith(key, prefix)) continue;
    for (Subscription* subscription : list) {
      subscription->latest_.store(kUnknown, std::memory_order_release);
      subscription->wake_();
    }
  }
}

void WatchHub::Stop() {
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
  for (const auto& [name, shard] : shards_) {
    if (shard == nullptr) continue;
    if (shard->stream != nullptr) shard->stream->Cancel();
    shard->stop.Signal();
  }
  const auto ended = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return running_ == 0; };
  mutex_.Await(absl::Condition(&ended));
}

size_t WatchHub::connected() const {
  absl::MutexLock lock(&mutex_);
  return connected_;
}

}  // namespace posthouse::gateway
