// Logins: decides who may open a session, for IMAP and POP3 alike.
//
// It asks the directory (rpc::LoginChecks), limits the sessions of an account, and slows down
// guessing. Threads: any; Check() needs a current executor (it may sleep).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/ids/ids.h"
#include "services/common/live_sessions/live_sessions.h"
#include "services/common/rpc/login_checks.h"

namespace grpc {
class Channel;
}

namespace posthouse::gateway {

using AccountRef = ::posthouse::common::v1::AccountRef;
class Metrics;

struct LoginOptions {
  size_t max_sessions_per_account = 200;
  // After a wrong password or a refusal; doubles with each of the same connection, up to 8 times.
  absl::Duration failure_delay = absl::Seconds(1);
};

// A login of a mail client.
struct LoginAttempt : rpc::PasswordLogin {
  int earlier_failures = 0;  // on this connection
};

class Logins {
 public:
  // An open session of an account. Destroying it makes room for another one.
  class Ticket {
   public:
    Ticket(Logins* logins, LiveSessions::Login login);
    ~Ticket();
    Ticket(const Ticket&) = delete;
    // Call once, before the ticket is used: from now on a change of the account can end the session (live_sessions.h).
    // Without it, and without LiveSessions, the session never ends so.
    void Watch(LiveSessions::Control control);
    std::optional<RevokeReason> revoked() const { return live_ == nullptr ? std::nullopt : live_->revoked(); }
    std::string RevokeText() const { return live_ == nullptr ? "" : live_->RevokeText(); }  // for the client
    // Between commands: puts the newest limits into account().
    void Refresh() {
      if (live_ != nullptr) live_->Refresh(&account_);
    }
    const AccountRef& account() const { return account_; }
    const std::string& address() const { return login_.address; }

   private:
    Logins* const logins_;
    const LiveSessions::Login login_;
    AccountRef account_;
    std::unique_ptr<LiveSessions::Session> live_;
  };

  // `metrics` and `live` outlive it; it outlives its tickets.
  Logins(std::shared_ptr<grpc::Channel> directory, Metrics& metrics, const LoginOptions& options,
         LiveSessions* live = nullptr);
  ~Logins();

  // kUnauthenticated: wrong name or password (after a delay). kPermissionDenied: the password is
  // right, but the account may not log in. kResourceExhausted: too many wrong passwords, checks or
  // sessions (after a delay).
  // kUnavailable and others: the directory cannot be asked now.
  Task<absl::StatusOr<std::unique_ptr<Ticket>>> Check(LoginAttempt attempt);

 private:
  Task<absl::StatusOr<std::unique_ptr<Ticket>>> Ask(rpc::PasswordLogin attempt);
  void Release(const AccountId& account);

  rpc::LoginChecks checks_;
  Metrics& metrics_;
  const LoginOptions options_;
  LiveSessions* const live_;
  absl::Mutex mutex_;
  absl::flat_hash_map<AccountId, size_t> sessions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::gateway
