#include "services/gateway/testing/fake_directory.h"

#include <utility>

#include "absl/strings/match.h"

namespace posthouse::gateway {

grpc::Status FakeDirectory::Authenticate(grpc::ServerContext*, const directory::v1::AuthenticateRequest* request,
                                         directory::v1::AuthenticateResponse* response) {
  absl::MutexLock lock(&mutex_);
  ++logins_;
  const grpc::Status failure = std::exchange(next_, grpc::Status::OK);
  if (!failure.ok()) return failure;
  if (!absl::StartsWith(request->username(), "joe") || request->password() != "secret") {
    return {grpc::StatusCode::UNAUTHENTICATED, "wrong name or password"};
  }
  response->mutable_account()->set_tenant("t1");
  response->mutable_account()->set_account_id(account_id_);
  response->set_address("joe@a.example");
  return grpc::Status::OK;
}

void FakeDirectory::set_account_id(std::string account_id) {
  absl::MutexLock lock(&mutex_);
  account_id_ = std::move(account_id);
}

void FakeDirectory::FailNext(grpc::Status status) {
  absl::MutexLock lock(&mutex_);
  next_ = std::move(status);
}

int FakeDirectory::logins() const {
  absl::MutexLock lock(&mutex_);
  return logins_;
}

}  // namespace posthouse::gateway
