#include "services/gateway/change_watcher.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/time/clock.h"
#include "posthouse/common/v1/common.pb.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/async/sync.h"
#include "services/common/async/when_all.h"
#include "services/common/log/log.h"

namespace posthouse::gateway {
namespace {

// Higher than any modseq: the folder may have changed, until it is read.
constexpr Modseq kUnknown(std::numeric_limits<uint64_t>::max());
// Folders in one request.
constexpr int kMaxFolders = 500;

}  // namespace

// Everything but `name` and the wake-ups is guarded by the watcher's mutex.
struct ChangeWatcher::Shard {
  struct Folder {
    AccountRef account;
    std::vector<Subscription*> subscriptions;  // never empty
  };
  explicit Shard(Home n) : name(std::move(n)) {}

  const Home name;
  std::shared_ptr<WatchStream> stream;  // null: none is open
  absl::flat_hash_map<FolderKey, Folder> folders;
  absl::flat_hash_set<FolderKey> unsent;  // added or removed, and the mailbox does not know it
  Wakeup send;                            // something is unsent, or the stream has ended
  Wakeup stop;
};

ChangeWatcher::Subscription::Subscription(ChangeWatcher* watcher, std::shared_ptr<Shard> shard, FolderKey key,
                                          Modseq known, std::function<void()> wake)
    : watcher_(watcher), shard_(std::move(shard)), key_(std::move(key)), wake_(std::move(wake)), known_(known) {}

ChangeWatcher::Subscription::~Subscription() { watcher_->Unsubscribe(this); }

void ChangeWatcher::Subscription::BeginRead() {
  Modseq unknown = kUnknown;
  latest_.compare_exchange_strong(unknown, Modseq(), std::memory_order_acq_rel);
}

void ChangeWatcher::Subscription::EndRead(Modseq modseq) { known_.store(modseq, std::memory_order_release); }

void ChangeWatcher::Subscription::FailRead() { latest_.store(kUnknown, std::memory_order_release); }

ChangeWatcher::ChangeWatcher(MailboxClient& mailbox, Executor& executor, absl::Duration min_backoff,
                             absl::Duration max_backoff)
    : mailbox_(mailbox), executor_(executor), min_backoff_(min_backoff), max_backoff_(max_backoff) {}

ChangeWatcher::~ChangeWatcher() { Stop(); }

std::unique_ptr<ChangeWatcher::Subscription> ChangeWatcher::Subscribe(const AccountRef& account, const FolderId& name,
                                                                      Modseq known, std::function<void()> wake) {
  absl::MutexLock lock(&mutex_);
  std::shared_ptr<Shard>& shard = shards_[mailbox_.ShardOf(account)];
  if (shard == nullptr) {
    shard = std::make_shared<Shard>(mailbox_.ShardOf(account));
    if (!stopping_) {
      ++running_;
      Spawn(executor_, Follow(shard));
    }
  }
  auto subscription = std::unique_ptr<Subscription>(
      new Subscription(this, shard, FolderKey(AccountId(account.account_id()), name), known, std::move(wake)));
  Shard::Folder& folder = shard->folders[subscription->key_];
  folder.account = account;
  folder.subscriptions.push_back(subscription.get());
  // Also when another session has the folder open: this one may have read an older state.
  shard->unsent.insert(subscription->key_);
  shard->send.Signal();
  return subscription;
}

void ChangeWatcher::Unsubscribe(Subscription* subscription) {
  absl::MutexLock lock(&mutex_);
  Shard& shard = *subscription->shard_;
  const auto found = shard.folders.find(subscription->key_);
  std::vector<Subscription*>& list = found->second.subscriptions;
  list.erase(std::remove(list.begin(), list.end(), subscription), list.end());
  if (!list.empty()) return;
  shard.folders.erase(found);
  shard.unsent.insert(subscription->key_);
  shard.send.Signal();
}

Task<void> ChangeWatcher::Follow(std::shared_ptr<Shard> shard) {
  absl::Duration backoff = min_backoff_;
  while (true) {
    const std::shared_ptr<WatchStream> stream = mailbox_.Watch(shard->name);
    {
      absl::MutexLock lock(&mutex_);
      if (stopping_) break;
      shard->stream = stream;
      shard->unsent.clear();
      for (const auto& [key, folder] : shard->folders) shard->unsent.insert(key);
    }
    const absl::Time begun = absl::Now();
    std::vector<Task<bool>> directions;
    directions.push_back(ReadHints(shard, stream));
    directions.push_back(SendFolders(shard, stream));
    co_await WhenAll(std::move(directions));
    {
      absl::MutexLock lock(&mutex_);
      if (stopping_) break;
    }
    if (absl::Now() - begun > max_backoff_) backoff = min_backoff_;
    co_await shard->stop.WaitFor(backoff);
    backoff = std::min(backoff * 2, max_backoff_);
  }
  absl::MutexLock lock(&mutex_);
  --running_;
}

// To the end of the stream.
Task<bool> ChangeWatcher::ReadHints(std::shared_ptr<Shard> shard, std::shared_ptr<WatchStream> stream) {
  bool up = false;
  while (true) {
    const absl::StatusOr<std::optional<mail::WatchResponse>> next = co_await stream->Read();
    if (!next.ok() || !next->has_value()) {
      if (up) LOG_EVENT(kInfo, "watch_stream_lost").Str("shard", shard->name.value()).Err(next.status());
      break;
    }
    if (!up) {
      up = true;
      absl::MutexLock lock(&mutex_);
      ++connected_;
    }
    Deliver(*shard, **next);
  }
  absl::MutexLock lock(&mutex_);
  if (up) --connected_;
  shard->stream = nullptr;
  shard->send.Signal();
  co_return up;
}

// To the end of the stream, which ReadHints() notices.
Task<bool> ChangeWatcher::SendFolders(std::shared_ptr<Shard> shard, std::shared_ptr<WatchStream> stream) {
  while (true) {
    mail::WatchRequest request;
    if (NextRequest(*shard, &request)) {
      if (!(co_await stream->Write(std::move(request))).ok()) co_return false;
      continue;
    }
    {
      absl::MutexLock lock(&mutex_);
      if (shard->stream == nullptr) co_return true;
    }
    co_await shard->send.WaitFor(absl::InfiniteDuration());
  }
}

bool ChangeWatcher::NextRequest(Shard& shard, mail::WatchRequest* request) {
  absl::MutexLock lock(&mutex_);
  for (int count = 0; count < kMaxFolders && !shard.unsent.empty(); ++count) {
    const FolderKey key = *shard.unsent.begin();
    shard.unsent.erase(shard.unsent.begin());
    const auto found = shard.folders.find(key);
    if (found == shard.folders.end()) {
      mail::WatchRequest::Remove* remove = request->add_remove();
      remove->set_account_id(key.first.value());
      remove->set_folder_id(key.second.value());
      continue;
    }
    Modseq known = kUnknown;
    for (const Subscription* subscription : found->second.subscriptions) {
      known = std::min(known, subscription->known_.load(std::memory_order_acquire));
    }
    mail::WatchRequest::Add* add = request->add_add();
    *add->mutable_account() = found->second.account;
    add->set_folder_id(key.second.value());
    add->set_known_modseq(known.value());
  }
  return !request->add().empty() || !request->remove().empty();
}

void ChangeWatcher::Deliver(const Shard& shard, const mail::WatchResponse& response) {
  absl::MutexLock lock(&mutex_);
  for (const auto& hint : response.hints()) {
    const auto found = shard.folders.find(FolderKey(AccountId(hint.account_id()), FolderId(hint.folder_id())));
    if (found == shard.folders.end()) continue;
    const Modseq modseq = hint.highest_modseq() == 0 ? kUnknown : Modseq(hint.highest_modseq());
    for (Subscription* subscription : found->second.subscriptions) {
      Modseq latest = subscription->latest_.load(std::memory_order_relaxed);
      while (latest < modseq &&
             !subscription->latest_.compare_exchange_weak(latest, modseq, std::memory_order_acq_rel)) {
      }
      subscription->wake_();
    }
  }
}

void ChangeWatcher::Stop() {
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
  for (const auto& [name, shard] : shards_) {
    if (shard->stream != nullptr) shard->stream->Cancel();
    shard->stop.Signal();
  }
  const auto ended = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return running_ == 0; };
  mutex_.Await(absl::Condition(&ended));
}

size_t ChangeWatcher::connected() const {
  absl::MutexLock lock(&mutex_);
  return connected_;
}

}  // namespace posthouse::gateway
