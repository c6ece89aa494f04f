// LiveSessions: the authenticated sessions of a service, and their end when the directory no longer
// allows them or an administrator kicks them.
//
// It follows the directory's change stream. After a change of an account, of its domain or of its
// tenant it asks for the account again. A session ends when its account is deleted, suspended or
// moved, or when the password that it logged in with was changed. Any other change keeps the session
// and gives it the new limits. After an interruption of the stream all accounts are asked about, and
// while the directory does not answer, sessions go on and the question is repeated.
//
// Changes of aliases and domains may change the addresses that an account may send as. They name no
// account, so each session asks for itself, when it next needs these addresses.
//
// A session that is to end is woken. It finishes its command, says why (IMAP BYE, POP3 -ERR, SMTP 421)
// and closes. One that is still open after kRevokeGrace is cut.
// Threads: any. The callbacks of a session run on any thread, under a lock: they must not block.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "posthouse/common/v1/common.pb.h"
#include "services/common/async/executor.h"
#include "services/common/async/task.h"
#include "services/common/metrics/metrics.h"

namespace grpc {
class Channel;
}

namespace posthouse {

enum class RevokeReason { kAccountDeleted, kAccountSuspended, kPasswordChanged, kAccountMoved, kAdministrator };
inline constexpr size_t kRevokeReasons = 5;
absl::string_view RevokeReasonName(RevokeReason reason);  // "account_deleted": log and metric label

// How long the running command of a session that is to end may take.
inline constexpr absl::Duration kRevokeGrace = absl::Seconds(5);

class LiveSessions {
 public:
  struct Login {
    std::string protocol;  // "imap", "pop3" or "submission"
    std::string address;   // of the account
    std::string client;    // IP address
    common::v1::AccountRef account;
    // From AuthenticateResponse.
    uint64_t credential_revision = 0;
    uint64_t directory_revision = 0;
  };
  struct Control {
    std::function<void()> wake;  // ends a read in progress, or the next one
    std::function<void()> cut;   // closes the connection
  };
  struct State;

  // One session. Its destructor returns when no callback of it runs or will run.
  class Session {
   public:
    Session(std::shared_ptr<State> state, Login login, Control control);
    ~Session();
    Session(const Session&) = delete;
    // Set once, before `wake`.
    std::optional<RevokeReason> revoked() const;
    // For the client, after revoked(): "Account was deleted". One line of printable ASCII.
    std::string RevokeText() const;
    // Copies the newest limits into `account` if they have changed since the last call. One thread.
    void Refresh(common::v1::AccountRef* account);
    // Whether the addresses that the account may send as may have changed since the login, or since the last OK of
    // AskSenders(). Only the thread that calls AskSenders().
    bool senders_stale() const;
    // Asks the directory for these addresses. Resumes on its caller's executor, after 2 s at the latest.
    Task<absl::StatusOr<std::vector<std::string>>> AskSenders();

   private:
    friend class LiveSessions;
    friend struct State;
    const std::shared_ptr<State> state_;
    const uint64_t number_;
    const absl::Time since_;
    const Login login_;
    const Control control_;
    std::atomic<int> revoked_{-1};
    std::atomic<bool> changed_{false};
    uint64_t senders_seen_ = 0;      // State::senders_changed at the last answer
    std::string note_;               // of an administrator; set before revoked_
    common::v1::AccountRef newest_;  // under the lock of `state_`
  };

  // `executor` outlives Stop(), `registry` outlives it. `service` ("gateway") is in the metric's name.
  LiveSessions(const std::shared_ptr<grpc::Channel>& directory, Executor& executor, metrics::Registry& registry,
               absl::string_view service);
  ~LiveSessions();  // Stop()s
  // Ends the change stream; afterwards no session is ended. Waits for a question in progress (2 s), so it is not
  // called on `executor`. Sessions may outlive it.
  void Stop();

  std::unique_ptr<Session> Add(Login login, Control control);
  size_t size() const;

  // ---- for administrators
  struct Info {
    std::string id;  // "5f2a90c1-17": that of the registry, which is random, and the number of the login
    std::string protocol, address, client;  // as in Login
    std::string tenant, account_id;
    absl::Time since;
    std::optional<RevokeReason> revoked;
  };
  // Empty fields match all.
  struct Query {
    std::string id;
    std::string account;  // address (ASCII letters in any case), or account id
    std::string protocol;
  };
  // At most `limit` sessions that match, in the order of their logins, after the one with the id `after` ("": from the
  // first), which need not be open any more. nullopt: `after` is no id of this registry.
  std::optional<std::vector<Info>> List(const Query& query, absl::string_view after, size_t limit) const;
  // Ends the sessions that match. `note`, if any, is in the text for the client and in the log; the caller has checked
  // that it is printable ASCII. Returns how many now end that did not end before.
  size_t Kick(const Query& query, const std::string& note);

 private:
  struct Watch;
  const std::shared_ptr<State> state_;
  const std::unique_ptr<Watch> watch_;
};

}  // namespace posthouse
