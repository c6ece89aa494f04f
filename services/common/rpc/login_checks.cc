#include "services/common/rpc/login_checks.h"

#include <algorithm>
#include <utility>

#include "posthouse/directory/v1/directory.grpc.pb.h"
#include "services/common/ip_address/ip_address.h"
#include "services/common/rpc/client.h"
#include "services/common/utf8/utf8.h"

namespace posthouse::rpc {

struct LoginChecks::Directory {
  std::unique_ptr<directory::v1::DirectoryService::Stub> stub;
};

LoginChecks::LoginChecks(std::shared_ptr<grpc::Channel> directory, const LoginCheckOptions& options)
    : directory_(directory == nullptr ? nullptr
                                      : new Directory{directory::v1::DirectoryService::NewStub(std::move(directory))}),
      options_(options),
      gate_(options.max_in_flight, options.max_waiting) {}

LoginChecks::~LoginChecks() = default;

Task<absl::StatusOr<directory::v1::AuthenticateResponse>> LoginChecks::Check(PasswordLogin login) {
  if (directory_ == nullptr) co_return absl::UnavailableError("no directory is configured");
  // A proto string is UTF-8, and so is every name and password of the directory.
  if (!IsUtf8(login.username) || !IsUtf8(login.password)) {
    co_return absl::UnauthenticatedError("the user name or the password is not valid UTF-8");
  }
  if (!co_await gate_.Enter(ClientOf(login.client_address)))
    co_return absl::ResourceExhaustedError("too many logins at once");
  directory::v1::AuthenticateRequest request;
  request.set_username(std::move(login.username));
  request.set_password(std::move(login.password));
  request.set_protocol(std::move(login.protocol));
  request.set_client_address(std::move(login.client_address));
  request.set_tls(login.tls);
  CallOptions options;
  options.deadline = options_.timeout;
  options.trace = login.trace;
  const auto start = [this](auto* context, auto* req, auto* resp, auto done) {
    directory_->stub->async()->Authenticate(context, req, resp, std::move(done));
  };
  absl::StatusOr<directory::v1::AuthenticateResponse> response =
      co_await Call<directory::v1::AuthenticateResponse>(options, std::move(request), start);
  gate_.Leave();
  co_return response;
}

absl::Duration GuessDelay(const absl::Status& login, int earlier_failures, absl::Duration first) {
  if (!absl::IsUnauthenticated(login) && !absl::IsResourceExhausted(login)) return absl::ZeroDuration();
  return first * (1 << std::clamp(earlier_failures, 0, 3));
}

}  // namespace posthouse::rpc
