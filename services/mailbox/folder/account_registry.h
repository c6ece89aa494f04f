// AccountRegistry: what the directory knows of accounts, as the mailbox asks for it. The store
// makes no account that the directory does not have, serves none whose home is elsewhere, and
// erases mail only with the directory's word.
//
// AccountChanges: which accounts the directory has changed since they were asked for. It is
// filled from the directory's change stream, so it may be late, and it may say "all may have".
//
// Threads: any.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "services/common/async/task.h"
#include "services/common/ids/ids.h"

namespace posthouse::mailbox {

class AccountChanges {
 public:
  // What may have changed since a moment.
  enum class Since { kNothing, kMaybe, kThis };

  // The number of the newest change. Take it before the directory is asked.
  uint64_t now() const;
  // `seen`: the number when the account was asked for; 0: never.
  Since Look(const AccountId& account, uint64_t seen) const;

  void Changed(const AccountId& account);
  // Changes were missed.
  void Lost();

 private:
  static constexpr size_t kMaxNames = 100'000;  // more count as missed

  mutable absl::Mutex mutex_;
  uint64_t newest_ ABSL_GUARDED_BY(mutex_) = 1;
  uint64_t lost_ ABSL_GUARDED_BY(mutex_) = 1;
  absl::flat_hash_map<AccountId, uint64_t> changed_ ABSL_GUARDED_BY(mutex_);
};

class AccountRegistry {
 public:
  struct Placement {
    bool here = false;  // this store is the account's home
    Home home;
    uint64_t epoch = 0;  // AccountRef.placement_epoch
  };
  struct Erasure {
    TenantId tenant;
    AccountId account;
    bool ours = false;  // this store is the account's home, so it reports the end
  };
  struct Erased {
    uint64_t folders = 0;
    uint64_t messages = 0;
    uint64_t bytes = 0;
  };

  virtual ~AccountRegistry() = default;

  // kNotFound: there is no such account, or it was deleted. Another error: the directory did not answer.
  virtual Task<absl::StatusOr<Placement>> Find(AccountId account) = 0;

  // The deleted accounts of all stores whose grace time has ended and that are not erased.
  virtual Task<absl::StatusOr<std::vector<Erasure>>> DueErasures() = 0;
  // OK: the account cannot be undeleted any more. kFailedPrecondition, kNotFound: its mail must stay.
  virtual Task<absl::Status> BeginErasure(AccountId account) = 0;
  virtual Task<absl::Status> EndErasure(AccountId account, Erased erased) = 0;

  AccountChanges& changes() { return changes_; }
  // Ends the change stream. Not on a thread that runs its callbacks.
  virtual void Close() {}

 private:
  AccountChanges changes_;
};

}  // namespace posthouse::mailbox
