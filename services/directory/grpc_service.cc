#include "services/directory/grpc_service.h"

#include <utility>

#include "absl/time/clock.h"
#include "posthouse/directory/v1/directory.grpc.pb.h"
#include "services/common/log/log.h"
#include "services/common/rpc/audit.h"
#include "services/common/rpc/server_calls.h"
#include "services/common/status/status.h"
#include "services/directory/admin.h"
#include "services/directory/authenticator.h"
#include "services/directory/lookup.h"
#include "services/directory/metrics.h"
#include "services/directory/repository.h"

namespace posthouse::directory {
namespace {

// The proto promises one at least every 15 s.
constexpr absl::Duration kHeartbeat = absl::Seconds(10);
constexpr size_t kWatchBatch = 500;
// How long a caller without the change stream may use an answer.
constexpr int64_t kLookupTtlSeconds = 30;

void FillAccountRef(const AccountInfo& account, common::v1::AccountRef* ref) {
  ref->set_tenant(account.tenant.value());
  ref->set_account_id(account.account_id.value());
  ref->set_home(account.home.value());
  ref->set_quota_bytes(account.limits.storage_bytes);
  ref->set_quota_messages(account.limits.messages);
  ref->set_placement_epoch(account.placement_epoch);
}

v1::LookupAddressResponse::Outcome ToProto(LookupAnswer::Outcome outcome) {
  switch (outcome) {
    case LookupAnswer::Outcome::kFound:
      return v1::LookupAddressResponse::OUTCOME_FOUND;
    case LookupAnswer::Outcome::kNoSuchAddress:
      return v1::LookupAddressResponse::OUTCOME_NO_SUCH_ADDRESS;
    case LookupAnswer::Outcome::kNotLocal:
      return v1::LookupAddressResponse::OUTCOME_NOT_LOCAL;
    case LookupAnswer::Outcome::kSuspended:
      return v1::LookupAddressResponse::OUTCOME_SUSPENDED;
    case LookupAnswer::Outcome::kTooDeep:
      return v1::LookupAddressResponse::OUTCOME_TOO_DEEP;
    case LookupAnswer::Outcome::kTooMany:
      return v1::LookupAddressResponse::OUTCOME_TOO_MANY;
  }
  return v1::LookupAddressResponse::OUTCOME_UNSPECIFIED;
}

class DirectoryRpc final : public v1::DirectoryService::CallbackService {
 public:
  DirectoryRpc(rpc::ServerRunner& runner, Repository& repository, Admin& admin, Authenticator& authenticator,
               Metrics& metrics, std::string hostname)
      : runner_(runner),
        repository_(repository),
        admin_(admin),
        authenticator_(authenticator),
        metrics_(metrics),
        hostname_(std::move(hostname)) {}

  grpc::ServerUnaryReactor* LookupAddress(grpc::CallbackServerContext* context, const v1::LookupAddressRequest* request,
                                          v1::LookupAddressResponse* response) override {
    return rpc::Unary(runner_, context, request, response, [this](auto& call) { return DoLookup(call); });
  }
  grpc::ServerUnaryReactor* Authenticate(grpc::CallbackServerContext* context, const v1::AuthenticateRequest* request,
                                         v1::AuthenticateResponse* response) override {
    return rpc::Unary(runner_, context, request, response, [this](auto& call) { return DoAuthenticate(call); });
  }
  grpc::ServerUnaryReactor* GetAccount(grpc::CallbackServerContext* context, const v1::GetAccountRequest* request,
                                       v1::GetAccountResponse* response) override {
    return rpc::Unary(runner_, context, request, response, [this](auto& call) { return DoGetAccount(call); });
  }
  grpc::ServerUnaryReactor* ListDeletedAccounts(grpc::CallbackServerContext* context,
                                                const v1::ListDeletedAccountsRequest* request,
                                                v1::ListDeletedAccountsResponse* response) override {
    return rpc::Unary(runner_, context, request, response, [this](auto& call) { return DoListDeleted(call); });
  }
  grpc::ServerUnaryReactor* ReportErasure(grpc::CallbackServerContext* context, const v1::ReportErasureRequest* request,
                                          v1::ReportErasureResponse* response) override {
    return rpc::Unary(runner_, context, request, response, [this](auto& call) { return DoReportErasure(call); });
  }
  grpc::ServerWriteReactor<v1::WatchResponse>* Watch(grpc::CallbackServerContext* context,
                                                     const v1::WatchRequest* request) override {
    return rpc::ServerStreaming<v1::WatchResponse>(runner_, context, request,
                                                   [this](auto& call) { return DoWatch(call); });
  }

 private:
  Task<absl::Status> DoLookup(rpc::UnaryCall<v1::LookupAddressRequest, v1::LookupAddressResponse>& call) {
    // Read the revision first: a change in between then makes the answer look older, never newer.
    const uint64_t revision = repository_.feed().revision();
    const absl::StatusOr<LookupAnswer> answer =
        repository_.Read([&](const Index& index) { return Lookup(index, call.request().address(), hostname_); });
    if (!answer.ok()) {
      metrics_.lookups_failed.Add();
      co_return answer.status();
    }
    v1::LookupAddressResponse& response = call.response();
    response.set_outcome(ToProto(answer->outcome));
    response.set_tenant(answer->tenant.value());
    response.set_revision(revision);
    response.mutable_ttl()->set_seconds(kLookupTtlSeconds);
    for (const std::string& name : answer->depends_on) response.add_depends_on(name);
    for (const LookupTarget& target : answer->targets) {
      v1::LookupAddressResponse::Target* out = response.add_targets();
      out->set_address(target.address.ToString());
      out->set_detail(target.detail);
      if (!target.account) continue;
      FillAccountRef(*target.account, out->mutable_account());
      target.account->limits.To(out->mutable_limits());
    }
    Count(answer->outcome);
    if (!answer->detail.empty()) {
      response.set_detail(answer->detail);
      LOG_EVENT(kWarning, "alias_over_limit")
          .Str("address", call.request().address())
          .Str("reason", answer->detail)
          .Trace(call.info().trace.trace_id);
    }
    co_return absl::OkStatus();
  }

  void Count(LookupAnswer::Outcome outcome) {
    switch (outcome) {
      case LookupAnswer::Outcome::kFound:
        metrics_.lookups_found.Add();
        break;
      case LookupAnswer::Outcome::kNoSuchAddress:
        metrics_.lookups_unknown.Add();
        break;
      case LookupAnswer::Outcome::kNotLocal:
        metrics_.lookups_foreign.Add();
        break;
      case LookupAnswer::Outcome::kSuspended:
        metrics_.lookups_suspended.Add();
        break;
      case LookupAnswer::Outcome::kTooDeep:
      case LookupAnswer::Outcome::kTooMany:
        metrics_.lookups_over_limit.Add();
        break;
    }
  }

  Task<absl::Status> DoAuthenticate(rpc::UnaryCall<v1::AuthenticateRequest, v1::AuthenticateResponse>& call) {
    const v1::AuthenticateRequest& request = call.request();
    if (!request.has_password()) {
      co_return absl::InvalidArgumentError("credential: only passwords are supported");
    }
    // Before the check, so that a change in between makes the answer look older, never newer.
    const uint64_t revision = repository_.feed().revision();
    const absl::StatusOr<AccountInfo> account =
        co_await authenticator_.Check(request.username(), request.password(), request.client_address(), absl::Now());
    // The service that asked logs a refused login with the name that was tried: one line is enough.
    log::Event(account.ok() ? log::Level::kInfo : log::Level::kDebug, "login_checked")
        .Str("protocol", request.protocol())
        .Str("client_address", request.client_address())
        .Str("account_id", account.ok() ? account->account_id.value() : "")
        .Bool("ok", account.ok())
        .Bool("tls", request.tls())
        .Str("code", absl::StatusCodeToString(account.status().code()))
        .Trace(call.info().trace.trace_id);
    if (!account.ok()) co_return account.status();
    v1::AuthenticateResponse& response = call.response();
    FillAccountRef(*account, response.mutable_account());
    response.set_address(account->address.ToString());
    account->limits.To(response.mutable_limits());
    response.set_credential_revision(account->credential_revision);
    response.set_revision(revision);
    for (std::string& address : repository_.Read([&](const Index& index) { return MaySendAs(index, *account); })) {
      response.add_may_send_as(std::move(address));
    }
    co_return absl::OkStatus();
  }

  Task<absl::Status> DoGetAccount(rpc::UnaryCall<v1::GetAccountRequest, v1::GetAccountResponse>& call) {
    PH_CO_ASSIGN_OR_RETURN(call.response(), co_await admin_.GetAccount(call.request()));
    co_return absl::OkStatus();
  }

  Task<absl::Status> DoListDeleted(
      rpc::UnaryCall<v1::ListDeletedAccountsRequest, v1::ListDeletedAccountsResponse>& call) {
    PH_CO_ASSIGN_OR_RETURN(call.response(), co_await admin_.ListDeletedAccounts(call.request()));
    co_return absl::OkStatus();
  }

  Task<absl::Status> DoReportErasure(rpc::UnaryCall<v1::ReportErasureRequest, v1::ReportErasureResponse>& call) {
    const v1::ReportErasureRequest& request = call.request();
    const absl::StatusOr<v1::ReportErasureResponse> response = co_await admin_.ReportErasure(request);
    LOG_EVENT(kInfo, "erasure_reported")
        .Str("account_id", request.account_id())
        .Bool("done", request.has_done())
        .Int("messages", static_cast<int64_t>(request.done().messages()))
        .Str("peer", call.info().peer)
        .Str("code", absl::StatusCodeToString(response.status().code()))
        .Trace(call.info().trace.trace_id);
    co_return response.status();
  }

  Task<absl::Status> DoWatch(rpc::WriterCall<v1::WatchRequest, v1::WatchResponse>& call) {
    absl::StatusOr<std::unique_ptr<ChangeFeed::Subscription>> subscribed =
        repository_.feed().Subscribe(call.request().after_revision(), call.request().only_new());
    if (!subscribed.ok()) co_return subscribed.status();
    // The callback has a reference too: it may run after this task has ended.
    const std::shared_ptr<ChangeFeed::Subscription> watcher = *std::move(subscribed);
    const std::weak_ptr<ChangeFeed::Subscription> weak = watcher;
    call.OnCancel([weak] {
      if (const auto alive = weak.lock()) alive->Stop();
    });
    v1::WatchResponse first;
    first.set_revision(watcher->position());
    PH_CO_RETURN_IF_ERROR(co_await call.Write(std::move(first)));
    while (!call.cancelled()) {
      PH_CO_ASSIGN_OR_RETURN(std::vector<v1::ChangeRecord> records, co_await watcher->Next(kWatchBatch, kHeartbeat));
      if (call.cancelled()) break;
      v1::WatchResponse response;
      for (v1::ChangeRecord& record : records) {
        for (v1::Change& change : *record.mutable_changes()) *response.add_changes() = std::move(change);
      }
      response.set_revision(watcher->position());
      PH_CO_RETURN_IF_ERROR(co_await call.Write(std::move(response)));
    }
    co_return absl::UnavailableError("this directory is stopping");
  }

  rpc::ServerRunner& runner_;
  Repository& repository_;
  Admin& admin_;
  Authenticator& authenticator_;
  Metrics& metrics_;
  const std::string hostname_;
};

// A unary method that calls the method of Admin with its name.
#define POSTHOUSE_ADMIN_METHOD(Name)                                                                     \
  grpc::ServerUnaryReactor* Name(grpc::CallbackServerContext* context, const v1::Name##Request* request, \
                                 v1::Name##Response* response) override {                                \
    return rpc::Unary(runner_, context, request, response,                                               \
                      [this](auto& call) { return Forward(call, #Name, admin_.Name(call.request())); }); \
  }

class DirectoryAdminRpc final : public v1::DirectoryAdminService::CallbackService {
 public:
  DirectoryAdminRpc(rpc::ServerRunner& runner, Admin& admin) : runner_(runner), admin_(admin) {}
  POSTHOUSE_ADMIN_METHOD(CreateTenant)
  POSTHOUSE_ADMIN_METHOD(UpdateTenant)
  POSTHOUSE_ADMIN_METHOD(ListTenants)
  POSTHOUSE_ADMIN_METHOD(CreateDomain)
  POSTHOUSE_ADMIN_METHOD(UpdateDomain)
  POSTHOUSE_ADMIN_METHOD(GetDomain)
  POSTHOUSE_ADMIN_METHOD(ListDomains)
  POSTHOUSE_ADMIN_METHOD(DeleteDomain)
  POSTHOUSE_ADMIN_METHOD(CreateAccount)
  POSTHOUSE_ADMIN_METHOD(UpdateAccount)
  POSTHOUSE_ADMIN_METHOD(ListAccounts)
  POSTHOUSE_ADMIN_METHOD(DeleteAccount)
  POSTHOUSE_ADMIN_METHOD(UndeleteAccount)
  POSTHOUSE_ADMIN_METHOD(SetPassword)
  POSTHOUSE_ADMIN_METHOD(CreateAlias)
  POSTHOUSE_ADMIN_METHOD(UpdateAlias)
  POSTHOUSE_ADMIN_METHOD(ListAliases)
  POSTHOUSE_ADMIN_METHOD(DeleteAlias)

 private:
  template <typename Call, typename Response>
  Task<absl::Status> Forward(Call& call, absl::string_view method, Task<absl::StatusOr<Response>> task) {
    absl::StatusOr<Response> response = co_await std::move(task);
    rpc::AuditAdminCall(method, call.request(), call.info().peer, call.info().trace.trace_id, response.status());
    if (!response.ok()) co_return response.status();
    call.response() = *std::move(response);
    co_return absl::OkStatus();
  }

  rpc::ServerRunner& runner_;
  Admin& admin_;
};

#undef POSTHOUSE_ADMIN_METHOD

}  // namespace

std::vector<std::shared_ptr<grpc::Service>> NewGrpcServices(rpc::ServerRunner& runner, Repository& repository,
                                                            Admin& admin, Authenticator& authenticator,
                                                            Metrics& metrics, std::string hostname) {
  std::vector<std::shared_ptr<grpc::Service>> services;
  services.push_back(
      std::make_shared<DirectoryRpc>(runner, repository, admin, authenticator, metrics, std::move(hostname)));
  services.push_back(std::make_shared<DirectoryAdminRpc>(runner, admin));
  return services;
}

}  // namespace posthouse::directory
