// DropLocks: one POP3 session per account at a time in this process (RFC 1939 §4:
// an exclusive-access lock on the maildrop). IMAP sessions are not locked out: RETR of a message
// that they expunge meanwhile gets -ERR.
//
// Threads: any.
#pragma once

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"

namespace posthouse::gateway::pop3 {

class DropLocks {
 public:
  // Holds the lock until it is destroyed. It must not outlive the DropLocks.
  class Lock {
   public:
    Lock(DropLocks* locks, std::string account_id) : locks_(locks), account_id_(std::move(account_id)) {}
    ~Lock() { locks_->Release(account_id_); }
    Lock(const Lock&) = delete;

   private:
    DropLocks* const locks_;
    const std::string account_id_;
  };

  // Null: another session has it.
  std::unique_ptr<Lock> TryLock(const std::string& account_id) {
    {
      absl::MutexLock lock(&mutex_);
      if (!held_.insert(account_id).second) return nullptr;
    }
    return std::make_unique<Lock>(this, account_id);
  }

 private:
  void Release(const std::string& account_id) {
    absl::MutexLock lock(&mutex_);
    held_.erase(account_id);
  }

  absl::Mutex mutex_;
  absl::flat_hash_set<std::string> held_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::gateway::pop3
