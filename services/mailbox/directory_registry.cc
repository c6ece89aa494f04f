#include "services/mailbox/directory_registry.h"

#include <utility>

#include "posthouse/directory/v1/directory.grpc.pb.h"
#include "services/common/ids/ids.h"
#include "services/common/rpc/channels.h"
#include "services/common/rpc/client.h"
#include "services/common/rpc/directory_changes.h"
#include "services/common/status/status.h"

namespace posthouse::mailbox {
namespace {

namespace dir = directory::v1;
using Stub = dir::DirectoryService::Stub;
using Async = dir::DirectoryService::StubInterface::async_interface;

constexpr absl::Duration kCall = absl::Seconds(5);

class DirectoryRegistry final : public AccountRegistry {
 public:
  DirectoryRegistry(const std::shared_ptr<grpc::Channel>& directory, Home shard, Executor& executor,
                    std::function<void()> changed)
      : stub_(dir::DirectoryService::NewStub(directory)),
        shard_(std::move(shard)),
        changed_(std::move(changed)),
        watcher_(directory, executor,
                 {.changed = [this](uint64_t, const dir::WatchResponse& response) { OnChanged(response); },
                  .lost =
                      [this] {
                        changes().Lost();
                        changed_();
                      },
                  .alive = [](uint64_t) {}}) {}

  void Close() override { watcher_.Stop(); }

  Task<absl::StatusOr<Placement>> Find(AccountId account) override {
    dir::GetAccountRequest request;
    request.set_account_id(account.value());
    PH_CO_ASSIGN_OR_RETURN(
        const dir::GetAccountResponse response,
        co_await (Call<dir::GetAccountRequest, dir::GetAccountResponse>(&Async::GetAccount, std::move(request))));
    const dir::Account& found = response.account();
    if (found.status() == dir::STATUS_DELETED) co_return absl::NotFoundError("the account is deleted");
    const Home home(found.home());
    co_return Placement{rpc::ServesHome(shard_, home), home, found.placement_epoch()};
  }

  Task<absl::StatusOr<std::vector<Erasure>>> DueErasures() override {
    std::vector<Erasure> out;
    dir::ListDeletedAccountsRequest request;
    request.set_due_only(true);
    request.mutable_page()->set_page_size(1000);
    while (true) {
      PH_CO_ASSIGN_OR_RETURN(const dir::ListDeletedAccountsResponse page,
                             co_await (Call<dir::ListDeletedAccountsRequest, dir::ListDeletedAccountsResponse>(
                                 &Async::ListDeletedAccounts, request)));
      for (const dir::DeletedAccount& deleted : page.accounts()) {
        const dir::Account& account = deleted.account();
        out.push_back({TenantId(account.tenant()), AccountId(account.account_id()),
                       rpc::ServesHome(shard_, Home(account.home()))});
      }
      if (page.page().next_page_token().empty()) break;
      request.mutable_page()->set_page_token(page.page().next_page_token());
    }
    co_return out;
  }

  Task<absl::Status> BeginErasure(AccountId account) override {
    dir::ReportErasureRequest request;
    request.set_account_id(account.value());
    co_return co_await Report(std::move(request));
  }

  Task<absl::Status> EndErasure(AccountId account, Erased erased) override {
    dir::ReportErasureRequest request;
    request.set_account_id(account.value());
    request.mutable_done()->set_folders(erased.folders);
    request.mutable_done()->set_messages(erased.messages);
    request.mutable_done()->set_bytes(erased.bytes);
    co_return co_await Report(std::move(request));
  }

 private:
  template <typename Request, typename Response>
  using Method = void (Async::*)(grpc::ClientContext*, const Request*, Response*, std::function<void(grpc::Status)>);

  template <typename Request, typename Response>
  Task<absl::StatusOr<Response>> Call(Method<Request, Response> method, Request request) {
    const auto start = [this, method](auto* context, auto* req, auto* resp, auto done) {
      (stub_->async()->*method)(context, req, resp, std::move(done));
    };
    co_return co_await rpc::Call<Response>(rpc::OptionsFor(kCall), std::move(request), start);
  }

  Task<absl::Status> Report(dir::ReportErasureRequest request) {
    co_return (co_await (Call<dir::ReportErasureRequest, dir::ReportErasureResponse>(&Async::ReportErasure,
                                                                                     std::move(request))))
        .status();
  }

  void OnChanged(const dir::WatchResponse& response) {
    bool accounts = false;
    for (const dir::Change& change : response.changes()) {
      if (change.kind() == dir::Change::KIND_UNSPECIFIED) changes().Lost();  // a newer kind
      if (change.kind() != dir::Change::KIND_ACCOUNT) continue;
      changes().Changed(AccountId(change.account_id()));
      accounts = true;
    }
    if (accounts) changed_();
  }

  const std::unique_ptr<Stub> stub_;
  const Home shard_;
  const std::function<void()> changed_;
  rpc::ChangeWatcher watcher_;  // the last member: its callbacks use the others
};

}  // namespace

std::unique_ptr<AccountRegistry> NewDirectoryRegistry(std::shared_ptr<grpc::Channel> directory, Home shard,
                                                      Executor& executor, std::function<void()> changed) {
  return std::make_unique<DirectoryRegistry>(directory, std::move(shard), executor, std::move(changed));
}

}  // namespace posthouse::mailbox
