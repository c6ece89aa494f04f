// Logins: who may open a session, for IMAP and POP3 alike.
//
// Asks the directory, limits checks in flight and sessions per account, and slows
// down guessing. Threads: any; Check() needs a current executor (it may sleep).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/rpc/trace.h"
#include "services/gateway/backend.h"

namespace posthouse::gateway {

class Metrics;

struct LoginOptions {
  size_t max_sessions_per_account = 200;
  size_t max_checks_in_flight = 256;
  // After a wrong password; doubles with each of the same connection, up to 8 times.
  absl::Duration failure_delay = absl::Seconds(1);
};

struct LoginAttempt {
  std::string username;
  std::string password;
  std::string protocol;  // "imap" or "pop3"
  std::string client_address;
  bool tls = false;
  int earlier_failures = 0;  // on this connection
  rpc::TraceContext trace;
};

class Logins {
 public:
  // A session that was let in; destroying it gives its place back.
  class Ticket {
   public:
    Ticket(Logins* logins, std::unique_ptr<AccountRef> account, std::string address);
    ~Ticket();
    Ticket(const Ticket&) = delete;
    const AccountRef& account() const { return *account_; }
    const std::string& address() const { return address_; }

   private:
    Logins* const logins_;
    const std::unique_ptr<AccountRef> account_;
    const std::string address_;
  };

  // `backend` and `metrics` outlive it; it outlives its tickets.
  Logins(Backend& backend, Metrics& metrics, const LoginOptions& options)
      : backend_(backend), metrics_(metrics), options_(options) {}

  // kUnauthenticated: wrong name or password (after a delay); kPermissionDenied:
  // right, but not allowed in; kResourceExhausted: too many checks or sessions;
  // kUnavailable and others: cannot tell now.
  Task<absl::StatusOr<std::unique_ptr<Ticket>>> Check(LoginAttempt attempt);

  size_t SessionsOf(const std::string& account_id) const;

 private:
  Task<absl::StatusOr<std::unique_ptr<Ticket>>> Ask(LoginAttempt attempt);
  void Release(const std::string& account_id);

  Backend& backend_;
  Metrics& metrics_;
  const LoginOptions options_;
  mutable absl::Mutex mutex_;
  size_t in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<std::string, size_t> sessions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::gateway
