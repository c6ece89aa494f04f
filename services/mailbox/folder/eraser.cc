#include "services/mailbox/folder/eraser.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "posthouse/mailbox/v1/store.pb.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"

namespace posthouse::mailbox {

absl::Status Eraser::Stopped() const {
  return stopped_ ? absl::CancelledError("the eraser was stopped") : absl::OkStatus();
}

Task<absl::StatusOr<uint64_t>> Eraser::Run() {
  PH_CO_ASSIGN_OR_RETURN(const std::vector<AccountRegistry::Erasure> due, co_await deps_.registry->DueErasures());
  uint64_t erased = 0;
  uint64_t failed = 0;
  absl::Status error;
  deps_.metrics.erasures_pending.Set(static_cast<double>(due.size()));
  for (const AccountRegistry::Erasure& one : due) {
    PH_CO_RETURN_IF_ERROR(Stopped());
    const absl::Status status = co_await Erase(one, erased);
    if (status.ok()) continue;
    ++failed;
    error = Annotate(status, absl::StrCat("account ", one.account.value()));
  }
  deps_.metrics.erasures_pending.Set(static_cast<double>(failed));
  PH_CO_RETURN_IF_ERROR(error);
  PH_CO_RETURN_IF_ERROR(co_await Forget());
  co_return erased;
}

Task<absl::Status> Eraser::Erase(AccountRegistry::Erasure due, uint64_t& erased) {
  PH_CO_ASSIGN_OR_RETURN(const std::shared_ptr<Account> account,
                         co_await mailboxes_.LoadAccount(due.tenant, due.account));
  // Mail that stayed behind when the account moved is erased, too, by the store that has it.
  if (!account->exists() && !due.ours) co_return absl::OkStatus();
  const absl::Status begun = co_await deps_.registry->BeginErasure(due.account);
  if (absl::IsFailedPrecondition(begun) || absl::IsNotFound(begun)) co_return absl::OkStatus();
  PH_CO_RETURN_IF_ERROR(begun);
  AccountRegistry::Erased counts;
  if (account->exists()) {
    if (account->standing().state != AccountState::kErased) {
      LOG_EVENT(kInfo, "account_erasure_began")
          .Str("account_id", due.account.value())
          .Str("tenant", due.tenant.value())
          .Int("folders", static_cast<int64_t>(account->FolderIds().size() + account->Doomed().size()));
      PH_CO_RETURN_IF_ERROR(co_await EraseFolders(account));
      v1::ErasedRow row;
      row.set_tenant(due.tenant.value());
      row.set_account_id(due.account.value());
      store::CommitRequest commit;
      commit.partition = SystemPartition();
      commit.mutations = {{ErasedKey(absl::ToUnixSeconds(deps_.clock()), due.tenant, due.account), EncodeRow(row)}};
      commit.use_reserve = true;
      PH_CO_RETURN_IF_ERROR(co_await deps_.store.Commit(std::move(commit)));
      PH_CO_RETURN_IF_ERROR(co_await account->FinishErasure());
      counts = account->standing().erased;
      ++erased;
      deps_.metrics.erased_accounts.Add();
      LOG_EVENT(kInfo, "account_erased")
          .Str("account_id", due.account.value())
          .Str("tenant", due.tenant.value())
          .Int("folders", static_cast<int64_t>(counts.folders))
          .Int("messages", static_cast<int64_t>(counts.messages))
          .Int("bytes", static_cast<int64_t>(counts.bytes));
    }
    counts = account->standing().erased;
  }
  if (!due.ours) co_return absl::OkStatus();
  co_return co_await deps_.registry->EndErasure(due.account, counts);
}

Task<absl::Status> Eraser::EraseFolders(std::shared_ptr<Account> account) {
  for (bool more = true; more;) {
    PH_CO_RETURN_IF_ERROR(Stopped());
    PH_CO_ASSIGN_OR_RETURN(more, co_await account->DoomFolders());
  }
  for (const FolderId& folder : account->Doomed()) {
    PH_CO_RETURN_IF_ERROR(Stopped());
    PH_CO_RETURN_IF_ERROR(co_await mailboxes_.DestroyFolder(account, folder));
  }
  co_return absl::OkStatus();
}

Task<absl::Status> Eraser::Forget() {
  const int64_t before = absl::ToUnixSeconds(deps_.clock() - kTombstone);
  store::ReadRequest request;
  request.partition = SystemPartition();
  request.prefix = kErasedPrefix;
  request.limit = store::kMaxPageRows;
  PH_CO_ASSIGN_OR_RETURN(const store::ReadResult read, co_await deps_.store.Read(std::move(request)));
  for (const store::Row& row : read.page) {
    PH_CO_RETURN_IF_ERROR(Stopped());
    PH_CO_ASSIGN_OR_RETURN(const int64_t since, SinceOfErasedKey(row.key));
    if (since >= before) break;  // the keys ascend in time
    PH_CO_ASSIGN_OR_RETURN(const v1::ErasedRow erased, DecodeRow<v1::ErasedRow>(row.value));
    const TenantId tenant(erased.tenant());
    const AccountId id(erased.account_id());
    PH_CO_ASSIGN_OR_RETURN(const std::shared_ptr<Account> account, co_await mailboxes_.LoadAccount(tenant, id));
    if (account->exists() && account->standing().state == AccountState::kErased) {
      PH_CO_RETURN_IF_ERROR(co_await deps_.store.Drop(AccountPartition(tenant, id)));
    }
    store::CommitRequest commit;
    commit.partition = SystemPartition();
    commit.mutations = {{row.key, std::nullopt}};
    PH_CO_RETURN_IF_ERROR(co_await deps_.store.Commit(std::move(commit)));
  }
  co_return absl::OkStatus();
}

}  // namespace posthouse::mailbox
