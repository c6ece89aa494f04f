#include "services/gateway/logins.h"

#include <utility>

#include "posthouse/directory/v1/directory.pb.h"
#include "services/common/log/log.h"
#include "services/common/rpc/trace.h"
#include "services/common/utf8/utf8.h"
#include "services/gateway/metrics.h"

namespace posthouse::gateway {
namespace {

LoginResult ResultOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return LoginResult::kOk;
    case absl::StatusCode::kUnauthenticated:
      return LoginResult::kWrong;
    case absl::StatusCode::kPermissionDenied:
      return LoginResult::kDenied;
    case absl::StatusCode::kResourceExhausted:
      return LoginResult::kLimit;
    default:
      return LoginResult::kUnavailable;
  }
}

}  // namespace

Logins::Logins(std::shared_ptr<grpc::Channel> directory, Metrics& metrics, const LoginOptions& options,
               LiveSessions* live)
    : checks_(std::move(directory)), metrics_(metrics), options_(options), live_(live) {}

Logins::~Logins() = default;

Logins::Ticket::Ticket(Logins* logins, LiveSessions::Login login)
    : logins_(logins), login_(std::move(login)), account_(login_.account) {}

Logins::Ticket::~Ticket() { logins_->Release(AccountId(account_.account_id())); }

void Logins::Ticket::Watch(LiveSessions::Control control) {
  if (logins_->live_ != nullptr) live_ = logins_->live_->Add(login_, std::move(control));
}

Task<absl::StatusOr<std::unique_ptr<Logins::Ticket>>> Logins::Check(LoginAttempt attempt) {
  const std::string protocol = attempt.protocol;
  const std::string client = attempt.client_address;
  const rpc::TraceContext trace = attempt.trace;
  const int failures = attempt.earlier_failures;
  const std::string username = IsUtf8(attempt.username) ? attempt.username : "";
  absl::StatusOr<std::unique_ptr<Ticket>> ticket = co_await Ask(std::move(attempt));
  metrics_.Login(protocol, ResultOf(ticket.status()));
  if (!ticket.ok()) {
    LOG_EVENT(kInfo, "login_failed")
        .Str("protocol", protocol)
        .Str("client", client)
        .Str("username", username)
        .Err(ticket.status())
        .Trace(trace.trace_id);
  }
  const absl::Duration delay = rpc::GuessDelay(ticket.status(), failures, options_.failure_delay);
  if (delay > absl::ZeroDuration()) co_await Sleep(delay);
  co_return ticket;
}

Task<absl::StatusOr<std::unique_ptr<Logins::Ticket>>> Logins::Ask(rpc::PasswordLogin attempt) {
  LiveSessions::Login login;
  login.protocol = attempt.protocol;
  login.client = attempt.client_address;
  absl::StatusOr<directory::v1::AuthenticateResponse> response = co_await checks_.Check(std::move(attempt));
  if (!response.ok()) co_return response.status();
  const AccountId id(response->account().account_id());
  absl::MutexLock lock(&mutex_);
  size_t& sessions = sessions_[id];
  if (sessions >= options_.max_sessions_per_account) co_return absl::ResourceExhaustedError("too many sessions");
  ++sessions;
  login.account = std::move(*response->mutable_account());
  login.address = response->address();
  login.credential_revision = response->credential_revision();
  login.directory_revision = response->revision();
  co_return std::make_unique<Ticket>(this, std::move(login));
}

void Logins::Release(const AccountId& account) {
  absl::MutexLock lock(&mutex_);
  const auto it = sessions_.find(account);
  if (it != sessions_.end() && --it->second == 0) sessions_.erase(it);
}

}  // namespace posthouse::gateway
