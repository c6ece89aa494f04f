// DropLocks: one POP3 session per account at a time in this process (RFC 1939 §4:
// an exclusive-access lock on the maildrop). IMAP sessions are not locked out: RETR of a message
// that they expunge meanwhile gets -ERR.
//
// Threads: any.
#pragma once

#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "services/common/ids/ids.h"

namespace posthouse::gateway::pop3 {

class DropLocks {
 public:
  // Holds the lock until it is destroyed. It must not outlive the DropLocks.
  class Lock {
   public:
    Lock(DropLocks* locks, AccountId account) : locks_(locks), account_(std::move(account)) {}
    ~Lock() { locks_->Release(account_); }
    Lock(const Lock&) = delete;

   private:
    DropLocks* const locks_;
    const AccountId account_;
  };

  // Null: another session has it.
  std::unique_ptr<Lock> TryLock(const AccountId& account) {
    {
      absl::MutexLock lock(&mutex_);
      if (!held_.insert(account).second) return nullptr;
    }
    return std::make_unique<Lock>(this, account);
  }

 private:
  void Release(const AccountId& account) {
    absl::MutexLock lock(&mutex_);
    held_.erase(account);
  }

  absl::Mutex mutex_;
  absl::flat_hash_set<AccountId> held_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::gateway::pop3
