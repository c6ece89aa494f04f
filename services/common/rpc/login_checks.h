// LoginChecks: asks the directory whether a password is right, for every protocol with logins.
//
// Checks in flight are bounded, and so are those that wait; the client addresses (an IPv6 /64
// each) take turns. The directory, too, lets its hashes wait by address, and answers for a
// password that was proven a short while ago at once: the bound here is so high that such
// logins pass a herd. A check waits longer than thousands of hashes take, so that after a
// restart each right login waits its turn and none is refused.
//
// Guessing on one connection is slow (GuessDelay()); the directory limits guesses over many.
// Threads: any; Check() resumes on its caller's executor. Outlives its calls.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "posthouse/directory/v1/directory.pb.h"
#include "services/common/async/fair_gate.h"
#include "services/common/async/task.h"
#include "services/common/rpc/trace.h"

namespace grpc {
class Channel;
}

namespace posthouse::rpc {

struct LoginCheckOptions {
  size_t max_in_flight = 4096;
  size_t max_waiting = 10000;
  // Of one check, with its time in the lines. 10,000 waiting hashes of the default cost take about as long on two
  // cores.
  absl::Duration timeout = absl::Minutes(3);
};

// One attempt to log in with a password.
struct PasswordLogin {
  std::string username, password;
  std::string protocol;  // "imap", "pop3" or "submission"
  std::string client_address;
  bool tls = false;
  TraceContext trace;
};

class LoginChecks {
 public:
  // `directory` may be null: each check is kUnavailable.
  explicit LoginChecks(std::shared_ptr<grpc::Channel> directory, const LoginCheckOptions& options = {});
  ~LoginChecks();

  // kUnauthenticated: wrong name or password, or no UTF-8. kPermissionDenied: right, but the account may not log in.
  // kResourceExhausted: too many wrong passwords, or too many checks wait. Others: the directory cannot be asked now.
  Task<absl::StatusOr<directory::v1::AuthenticateResponse>> Check(PasswordLogin login);

 private:
  struct Directory;
  const std::unique_ptr<Directory> directory_;
  const LoginCheckOptions options_;
  FairGate gate_;
};

// How long to wait before telling a client about `login`: nothing, or for a wrong password or a refusal `first`, which
// doubles with each earlier one of the same connection, up to 8 times.
absl::Duration GuessDelay(const absl::Status& login, int earlier_failures, absl::Duration first = absl::Seconds(1));

}  // namespace posthouse::rpc
