#include "services/gateway/logins.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "posthouse/directory/v1/directory.grpc.pb.h"
#include "services/common/log/log.h"
#include "services/common/rpc/client.h"
#include "services/common/utf8/utf8.h"
#include "services/gateway/metrics.h"

namespace posthouse::gateway {
namespace {

constexpr absl::Duration kCheckTimeout = absl::Seconds(60);  // a herd after a restart waits its turn

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

struct Logins::Directory {
  std::unique_ptr<directory::v1::DirectoryService::Stub> stub;
};

Logins::Logins(std::shared_ptr<grpc::Channel> directory, Metrics& metrics, const LoginOptions& options)
    : directory_(new Directory{directory::v1::DirectoryService::NewStub(std::move(directory))}),
      metrics_(metrics),
      options_(options),
      checks_(options.max_checks_in_flight, options.max_checks_waiting) {}

Logins::~Logins() = default;

Logins::Ticket::Ticket(Logins* logins, std::unique_ptr<AccountRef> account, std::string address)
    : logins_(logins), account_(std::move(account)), address_(std::move(address)) {}

Logins::Ticket::~Ticket() { logins_->Release(account_->account_id()); }

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
  if (absl::IsUnauthenticated(ticket.status()) || absl::IsResourceExhausted(ticket.status())) {
    co_await Sleep(options_.failure_delay * (1 << std::min(failures, 3)));
  }
  co_return ticket;
}

Task<absl::StatusOr<std::unique_ptr<Logins::Ticket>>> Logins::Ask(LoginAttempt attempt) {
  // A proto string is UTF-8, and so is every name and password of the directory.
  if (!IsUtf8(attempt.username) || !IsUtf8(attempt.password)) {
    co_return absl::UnauthenticatedError("the user name or the password is not valid UTF-8");
  }
  if (!co_await checks_.Enter(attempt.client_address))
    co_return absl::ResourceExhaustedError("too many logins at once");
  directory::v1::AuthenticateRequest request;
  request.set_username(std::move(attempt.username));
  request.set_password(std::move(attempt.password));
  request.set_protocol(attempt.protocol);
  request.set_client_address(attempt.client_address);
  request.set_tls(attempt.tls);
  rpc::CallOptions options;
  options.deadline = kCheckTimeout;
  options.trace = attempt.trace;
  const auto start = [this](auto* context, auto* req, auto* resp, auto done) {
    directory_->stub->async()->Authenticate(context, req, resp, std::move(done));
  };
  absl::StatusOr<directory::v1::AuthenticateResponse> response =
      co_await rpc::Call<directory::v1::AuthenticateResponse>(options, std::move(request), start);
  checks_.Leave();
  if (!response.ok()) co_return response.status();
  const std::string id = response->account().account_id();
  absl::MutexLock lock(&mutex_);
  size_t& sessions = sessions_[id];
  if (sessions >= options_.max_sessions_per_account) co_return absl::ResourceExhaustedError("too many sessions");
  ++sessions;
  auto account = std::make_unique<AccountRef>(std::move(*response->mutable_account()));
  co_return std::make_unique<Ticket>(this, std::move(account), response->address());
}

void Logins::Release(const std::string& account_id) {
  absl::MutexLock lock(&mutex_);
  const auto it = sessions_.find(account_id);
  if (it != sessions_.end() && --it->second == 0) sessions_.erase(it);
}

}  // namespace posthouse::gateway
