// FakeDirectory: the logins of a directory that knows one account.
//
// Any user name that begins with "joe" and the password "secret" log in to it. Everything else of
// the service is UNIMPLEMENTED. Threads: any.
#pragma once

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "posthouse/directory/v1/directory.grpc.pb.h"

namespace posthouse::gateway {

class FakeDirectory final : public directory::v1::DirectoryService::Service {
 public:
  grpc::Status Authenticate(grpc::ServerContext* context, const directory::v1::AuthenticateRequest* request,
                            directory::v1::AuthenticateResponse* response) override;

  // The account that later logins get.
  void set_account_id(std::string account_id);
  // The next login fails with `status`, whatever its password.
  void FailNext(grpc::Status status);
  int logins() const;  // checked so far

 private:
  mutable absl::Mutex mutex_;
  std::string account_id_ ABSL_GUARDED_BY(mutex_) = "acc1";
  grpc::Status next_ ABSL_GUARDED_BY(mutex_);
  int logins_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace posthouse::gateway
