#include "services/directory/change_feed.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace posthouse::directory {

void ChangeFeed::Restore(uint64_t floor, uint64_t revision, std::vector<v1::ChangeRecord> records) {
  absl::MutexLock lock(&mutex_);
  floor_ = floor;
  revision_ = revision;
  records_.clear();
  for (v1::ChangeRecord& record : records) records_.push_back(std::move(record));
  while (records_.size() > kFeedRecords) {
    floor_ = records_.front().revision();
    records_.pop_front();
  }
}

void ChangeFeed::Publish(v1::ChangeRecord record) {
  absl::MutexLock lock(&mutex_);
  revision_ = record.revision();
  if (record.changes().empty()) return;
  records_.push_back(std::move(record));
  if (records_.size() > kFeedRecords) {
    floor_ = records_.front().revision();
    records_.pop_front();
  }
  for (Subscription* watcher : watchers_) watcher->wakeup_.Signal();
}

uint64_t ChangeFeed::revision() const {
  absl::MutexLock lock(&mutex_);
  return revision_;
}

size_t ChangeFeed::watchers() const {
  absl::MutexLock lock(&mutex_);
  return watchers_.size();
}

absl::StatusOr<std::unique_ptr<ChangeFeed::Subscription>> ChangeFeed::Subscribe(uint64_t after, bool only_new) {
  absl::MutexLock lock(&mutex_);
  if (only_new) after = revision_;
  if (after < floor_ || after > revision_) {
    return absl::OutOfRangeError(absl::StrCat("changes after ", after, " are not known; the log has ", floor_, " to ",
                                              revision_, ": drop caches and watch with only_new"));
  }
  std::unique_ptr<Subscription> watcher(new Subscription(*this, after));
  watchers_.push_back(watcher.get());
  return watcher;
}

absl::StatusOr<std::vector<v1::ChangeRecord>> ChangeFeed::After(uint64_t revision, size_t limit) const {
  absl::MutexLock lock(&mutex_);
  if (revision < floor_)
    return absl::OutOfRangeError("the next change is no longer in the log: drop caches and watch with only_new");
  auto it = std::upper_bound(records_.begin(), records_.end(), revision,
                             [](uint64_t r, const v1::ChangeRecord& record) { return r < record.revision(); });
  std::vector<v1::ChangeRecord> found;
  for (; it != records_.end() && found.size() < limit; ++it) found.push_back(*it);
  return found;
}

ChangeFeed::Subscription::Subscription(ChangeFeed& feed, uint64_t after) : feed_(feed), after_(after) {}

ChangeFeed::Subscription::~Subscription() {
  absl::MutexLock lock(&feed_.mutex_);
  std::erase(feed_.watchers_, this);
}

void ChangeFeed::Subscription::Stop() { wakeup_.Signal(); }

Task<absl::StatusOr<std::vector<v1::ChangeRecord>>> ChangeFeed::Subscription::Next(size_t limit, absl::Duration wait) {
  absl::StatusOr<std::vector<v1::ChangeRecord>> records = feed_.After(after_, limit);
  if (records.ok() && records->empty()) {
    co_await wakeup_.WaitFor(wait);
    records = feed_.After(after_, limit);
  }
  if (records.ok() && !records->empty()) after_ = records->back().revision();
  co_return records;
}

}  // namespace posthouse::directory
