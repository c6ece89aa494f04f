#include "services/mailbox/folder/mailboxes.h"

#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "posthouse/common/v1/common.pb.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/mailbox/folder/mover.h"

namespace posthouse::mailbox {
namespace {

// Trim() asks every open folder for its size, so it runs once in this many opens.
constexpr uint64_t kTrimEvery = 256;
constexpr size_t kMaxIdBytes = 128;

// Ids become parts of partition names.
bool IsPlainId(absl::string_view id) {
  for (const char c : id) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '_' && c != '.') return false;
  }
  return id.size() <= kMaxIdBytes;
}

}  // namespace

Task<absl::StatusOr<std::shared_ptr<Account>>> Mailboxes::OpenAccount(TenantId tenant, AccountId account_id,
                                                                      uint64_t placement_epoch) {
  PH_CO_ASSIGN_OR_RETURN(const std::shared_ptr<Account> account,
                         co_await LoadAccount(std::move(tenant), std::move(account_id)));
  PH_CO_RETURN_IF_ERROR(co_await account->Admit(placement_epoch));
  if (account->TakeLeftovers()) {
    for (const FolderId& folder_id : account->Doomed()) {
      log::LogIfError(co_await DestroyFolder(account, folder_id), "dropping a deleted folder");
    }
  }
  co_return account;
}

Task<absl::StatusOr<std::shared_ptr<Account>>> Mailboxes::LoadAccount(TenantId tenant, AccountId account_id) {
  if (account_id.empty() || !IsPlainId(account_id.value()) || !IsPlainId(tenant.value())) {
    co_return absl::InvalidArgumentError("account: tenant and account_id have letters, digits, '-', '_' and '.' only");
  }
  std::shared_ptr<Account> account;
  {
    absl::MutexLock lock(&mutex_);
    std::shared_ptr<Account>& slot = accounts_[AccountName(tenant, account_id)];
    if (slot == nullptr) slot = std::make_shared<Account>(deps_, tenant, account_id);
    account = slot;
  }
  PH_CO_RETURN_IF_ERROR(co_await account->Load());
  co_return account;
}

std::shared_ptr<Folder> Mailboxes::Get(const Account& account, const FolderId& folder_id) {
  absl::MutexLock lock(&mutex_);
  const FolderName key(account.tenant(), folder_id);
  const auto it = folders_.find(key);
  if (it != folders_.end()) {
    by_age_.splice(by_age_.end(), by_age_, it->second.age);
    return it->second.folder;
  }
  Entry entry;
  entry.folder =
      std::make_shared<Folder>(deps_, FolderRef{account.tenant(), account.account_id(), folder_id}, account.usage());
  entry.age = by_age_.insert(by_age_.end(), key);
  return folders_.emplace(key, std::move(entry)).first->second.folder;
}

Task<absl::StatusOr<std::shared_ptr<Folder>>> Mailboxes::OpenFolder(std::shared_ptr<Account> account,
                                                                    FolderId folder_id) {
  if (!account->Has(folder_id)) co_return absl::NotFoundError("no such folder");
  std::shared_ptr<Folder> folder = Get(*account, folder_id);
  bool trim = false;
  {
    absl::MutexLock lock(&mutex_);
    trim = ++opens_ % kTrimEvery == 0;
  }
  if (trim) Trim();
  if (!folder->loaded()) PH_CO_RETURN_IF_ERROR((co_await folder->Snapshot()).status());
  if (folder->TakeRecoveryNeeded()) {
    const absl::Status recovered = co_await RecoverMoves(deps_, *this, account, folder);
    if (!recovered.ok()) {
      // No message is lost. The next OpenFolder tries again.
      folder->SetRecoveryNeeded();
      LOG_EVENT(kWarning, "move_recovery_failed").Str("folder_id", folder_id.value()).Err(recovered);
    }
  }
  co_return folder;
}

Task<absl::Status> Mailboxes::DestroyFolder(std::shared_ptr<Account> account, FolderId folder_id) {
  const std::shared_ptr<Folder> folder = Get(*account, folder_id);
  const absl::StatusOr<Usage::Amount> held = co_await folder->Destroy();
  {
    absl::MutexLock lock(&mutex_);
    const auto it = folders_.find(FolderName(account->tenant(), folder_id));
    if (it != folders_.end() && it->second.folder == folder) {
      by_age_.erase(it->second.age);
      folders_.erase(it);
    }
  }
  if (!held.ok()) co_return held.status();
  co_return co_await account->Destroyed(folder_id, *held);
}

Task<absl::Status> Mailboxes::CountUsage(std::shared_ptr<Account> account) {
  for (const FolderId& folder_id : account->FolderIds()) {
    if (account->usage()->Counted(folder_id)) continue;
    const absl::Status status = co_await Get(*account, folder_id)->CountUsage();
    // Deleted in between: nothing to count.
    if (!status.ok() && !absl::IsNotFound(status)) co_return status;
  }
  co_return absl::OkStatus();
}

Quota Mailboxes::QuotaOf(const common::v1::AccountRef& account) const {
  return {account.quota_bytes() != 0 ? account.quota_bytes() : deps_.settings.default_quota_bytes,
          account.quota_messages()};
}

void Mailboxes::Trim() {
  std::vector<std::shared_ptr<Folder>> closed;  // destroyed outside of the lock
  std::vector<std::shared_ptr<Account>> closed_accounts;
  absl::MutexLock lock(&mutex_);
  uint64_t bytes = 0;
  for (const auto& [key, entry] : folders_) bytes += entry.folder->MemoryBytes();
  auto it = by_age_.begin();
  while (it != by_age_.end() && bytes > deps_.settings.folder_cache_bytes) {
    const auto entry = folders_.find(*it);
    // Ours is the only reference, and new ones are made under this mutex only.
    if (entry->second.folder.use_count() > 1) {
      ++it;
      continue;
    }
    bytes -= std::min<uint64_t>(bytes, entry->second.folder->MemoryBytes());
    closed.push_back(std::move(entry->second.folder));
    folders_.erase(entry);
    it = by_age_.erase(it);
  }
  if (closed.empty() && accounts_.size() <= deps_.settings.max_open_accounts) return;
  closed.clear();
  // An account stays while one of its folders is open: they share its usage.
  absl::flat_hash_set<AccountName> with_folders;
  for (const auto& [key, entry] : folders_) with_folders.emplace(key.first, entry.folder->id().account_id);
  for (auto account = accounts_.begin(); account != accounts_.end();) {
    const auto current = account++;
    if (current->second.use_count() > 1 || with_folders.contains(current->first)) continue;
    closed_accounts.push_back(std::move(current->second));
    accounts_.erase(current);
  }
}

void Mailboxes::UpdateMetrics() {
  absl::MutexLock lock(&mutex_);
  uint64_t bytes = 0;
  for (const auto& [key, entry] : folders_) bytes += entry.folder->MemoryBytes();
  deps_.metrics.open_folders.Set(static_cast<double>(folders_.size()));
  deps_.metrics.open_folder_bytes.Set(static_cast<double>(bytes));
  deps_.metrics.open_accounts.Set(static_cast<double>(accounts_.size()));
}

}  // namespace posthouse::mailbox
