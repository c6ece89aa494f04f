#include "services/mailbox/folder/change_hints.h"

#include <algorithm>

namespace posthouse::mailbox {

ChangeHints::Stream::Stream(ChangeHints& hints) : hints_(hints) {
  absl::MutexLock lock(&hints_.mutex_);
  hints_.streams_.insert(this);
}

ChangeHints::Stream::~Stream() {
  absl::MutexLock lock(&hints_.mutex_);
  hints_.streams_.erase(this);
  for (const Key& key : watched_) {
    const auto found = hints_.watchers_.find(key);
    std::vector<Stream*>& streams = found->second;
    streams.erase(std::remove(streams.begin(), streams.end(), this), streams.end());
    if (streams.empty()) hints_.watchers_.erase(found);
  }
}

void ChangeHints::Stream::Watch(const AccountId& account_id, const FolderId& folder_id) {
  absl::MutexLock lock(&hints_.mutex_);
  const Key key(account_id, folder_id);
  if (watched_.insert(key).second) hints_.watchers_[key].push_back(this);
}

void ChangeHints::Stream::Forget(const AccountId& account_id, const FolderId& folder_id) {
  absl::MutexLock lock(&hints_.mutex_);
  const Key key(account_id, folder_id);
  if (watched_.erase(key) == 0) return;
  const auto found = hints_.watchers_.find(key);
  std::vector<Stream*>& streams = found->second;
  streams.erase(std::remove(streams.begin(), streams.end(), this), streams.end());
  if (streams.empty()) hints_.watchers_.erase(found);
}

void ChangeHints::Stream::Push(Hint hint) {
  {
    absl::MutexLock lock(&mutex_);
    const auto [pending, added] =
        pending_.try_emplace(Key(std::move(hint.account_id), std::move(hint.folder_id)), hint.highest_modseq);
    // "Not known" stays: it asks for more than any number does.
    if (!added && !pending->second.empty()) {
      pending->second = hint.highest_modseq.empty() ? Modseq() : std::max(pending->second, hint.highest_modseq);
    }
  }
  wakeup_.Signal();
}

std::vector<Hint> ChangeHints::Stream::Take(size_t limit) {
  absl::MutexLock lock(&mutex_);
  std::vector<Hint> hints;
  for (auto it = pending_.begin(); it != pending_.end() && hints.size() < limit; pending_.erase(it++)) {
    hints.push_back({it->first.first, it->first.second, it->second});
  }
  return hints;
}

void ChangeHints::FolderChanged(const AccountId& account_id, const FolderId& folder_id, Modseq modseq) {
  absl::MutexLock lock(&mutex_);
  const auto found = watchers_.find(Stream::Key(account_id, folder_id));
  if (found == watchers_.end()) return;
  for (Stream* stream : found->second) stream->Push({account_id, folder_id, modseq});
}

void ChangeHints::FolderDeleted(const AccountId& account_id, const FolderId& folder_id) {
  FolderChanged(account_id, folder_id, Modseq());
}

void ChangeHints::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
  for (Stream* stream : streams_) stream->wakeup_.Signal();
}

bool ChangeHints::closed() const {
  absl::MutexLock lock(&mutex_);
  return closed_;
}

size_t ChangeHints::streams() const {
  absl::MutexLock lock(&mutex_);
  return streams_.size();
}

size_t ChangeHints::watched_folders() const {
  absl::MutexLock lock(&mutex_);
  return watchers_.size();
}

}  // namespace posthouse::mailbox
