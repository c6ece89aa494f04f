// FakeRegistry: a directory for tests. It knows every account, all of them with their home here,
// until a test says otherwise. Threads: any.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "services/mailbox/folder/account_registry.h"

namespace posthouse::mailbox {

class FakeRegistry final : public AccountRegistry {
 public:
  // The answer for `account` from now on, which the change stream tells of.
  void Answer(const std::string& account, absl::StatusOr<Placement> answer) {
    {
      absl::MutexLock lock(&mutex_);
      answers_.insert_or_assign(AccountId(account), std::move(answer));
    }
    changes().Changed(AccountId(account));
  }
  void Delete(const std::string& account) { Answer(account, absl::NotFoundError("there is no such account")); }
  void Undelete(const std::string& account, uint64_t epoch = 0) { Answer(account, Placement{true, Home(), epoch}); }
  void MoveTo(const std::string& home, const std::string& account, uint64_t epoch) {
    Answer(account, Placement{false, Home(home), epoch});
  }
  // The directory does not answer.
  void SetAway(bool away) {
    absl::MutexLock lock(&mutex_);
    away_ = away;
  }
  void AddDue(Erasure due) {
    absl::MutexLock lock(&mutex_);
    due_.push_back(std::move(due));
  }
  // What BeginErasure answers.
  void SetBegin(absl::Status status) {
    absl::MutexLock lock(&mutex_);
    begin_ = std::move(status);
  }
  std::optional<Erased> ErasedOf(const std::string& account) const {
    absl::MutexLock lock(&mutex_);
    const auto it = erased_.find(AccountId(account));
    if (it == erased_.end()) return std::nullopt;
    return it->second;
  }
  int asked() const {
    absl::MutexLock lock(&mutex_);
    return asked_;
  }

  Task<absl::StatusOr<Placement>> Find(AccountId account) override {
    absl::MutexLock lock(&mutex_);
    ++asked_;
    if (away_) co_return absl::UnavailableError("no answer");
    const auto it = answers_.find(account);
    co_return it == answers_.end() ? Placement{true, Home(), 0} : it->second;
  }
  Task<absl::StatusOr<std::vector<Erasure>>> DueErasures() override {
    absl::MutexLock lock(&mutex_);
    if (away_) co_return absl::UnavailableError("no answer");
    co_return due_;
  }
  Task<absl::Status> BeginErasure(AccountId /*account*/) override {
    absl::MutexLock lock(&mutex_);
    co_return away_ ? absl::UnavailableError("no answer") : begin_;
  }
  Task<absl::Status> EndErasure(AccountId account, Erased erased) override {
    absl::MutexLock lock(&mutex_);
    if (away_) co_return absl::UnavailableError("no answer");
    erased_[account] = erased;
    std::erase_if(due_, [&](const Erasure& due) { return due.account == account; });
    co_return absl::OkStatus();
  }

 private:
  mutable absl::Mutex mutex_;
  bool away_ ABSL_GUARDED_BY(mutex_) = false;
  int asked_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status begin_ ABSL_GUARDED_BY(mutex_);
  std::vector<Erasure> due_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<AccountId, absl::StatusOr<Placement>> answers_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<AccountId, Erased> erased_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::mailbox
