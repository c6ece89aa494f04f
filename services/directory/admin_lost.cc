// Admin: an account whose record is damaged is written anew, with the same id, so that its mail
// stays its own.
#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/store/read_past_damage.h"
#include "services/directory/account_edit.h"
#include "services/directory/admin.h"
#include "services/directory/key_schema.h"
#include "services/directory/record_checks.h"

namespace posthouse::directory {
namespace {

constexpr size_t kIdDigits = 32;

// Calls `take` with each row of the prefix that can be read.
template <typename Take>
Task<absl::Status> ForEachRow(store::Store& store, store::Partition partition, std::string prefix, Take take) {
  store::ReadRequest request;
  request.partition = std::move(partition);
  request.prefix = std::move(prefix);
  request.limit = store::kMaxPageRows;
  for (bool more = true; more;) {
    PH_CO_ASSIGN_OR_RETURN(const store::ReadResult page,
                           co_await store::ReadPastDamage(store, request, [](const store::LostKeys&) {}));
    for (const store::Row& row : page.page) take(row);
    more = page.more && !page.page.empty();
    if (more) request.after = page.page.back().key;
  }
  co_return absl::OkStatus();
}

bool IsId(const std::string& id) {
  return id.size() == kIdDigits && std::all_of(id.begin(), id.end(), [](char c) {
           return absl::ascii_isdigit(static_cast<unsigned char>(c)) || (c >= 'a' && c <= 'f');
         });
}

bool IsFree(const Index& index, const AccountId& id) {
  return !index.FindAccountById(id) && !index.deleted().contains(id);
}

}  // namespace

Task<bool> Admin::HasPassword(store::Partition partition, AccountId account) {
  store::ReadRequest read;
  read.partition = std::move(partition);
  read.keys.push_back(CredentialKey(account));
  const absl::StatusOr<store::ReadResult> result = co_await repository_.store().Read(std::move(read));
  v1::CredentialRecord credential;
  co_return result.ok() && result->values[0].has_value() && Decode(*result->values[0], &credential).ok();
}

Task<absl::StatusOr<std::optional<LostAccount>>> Admin::FindLost(const Index& index, Address address) {
  const v1::Domain* const domain = index.FindDomain(address.domain);
  if (domain == nullptr) co_return std::optional<LostAccount>();
  const store::Partition partition = TenantPartition(TenantId(domain->tenant()));
  const std::string name = address.ToString();
  AccountId id;
  PH_CO_RETURN_IF_ERROR(co_await ForEachRow(repository_.store(), partition, kLogPrefix, [&](const store::Row& row) {
    v1::ChangeRecord record;
    if (!Decode(row.value, &record).ok()) return;
    for (const v1::Change& change : record.changes()) {
      const bool of_account = change.kind() == v1::Change::KIND_ACCOUNT || change.kind() == v1::Change::KIND_CREDENTIAL;
      const AccountId of(change.account_id());
      if (of_account && change.name() == name && IsId(of.value()) && IsFree(index, of))
        id = of;  // the newest change counts
    }
  }));
  if (id.empty()) {
    const std::string prefix = kCredentialPrefix;
    int64_t newest = 0;
    PH_CO_RETURN_IF_ERROR(co_await ForEachRow(repository_.store(), partition, prefix, [&](const store::Row& row) {
      v1::CredentialRecord record;
      const AccountId of(row.key.substr(prefix.size()));
      if (!Decode(row.value, &record).ok() || record.address() != name || !IsFree(index, of)) return;
      if (!id.empty() && record.changed().seconds() < newest) return;
      newest = record.changed().seconds();
      id = of;
    }));
  }
  if (id.empty()) co_return std::optional<LostAccount>();
  co_return LostAccount{id, co_await HasPassword(partition, id)};
}

Task<absl::StatusOr<std::optional<LostAccount>>> Admin::WhichLost(const Index& index, Address address,
                                                                  std::string account_id) {
  std::optional<LostAccount> lost;
  if (account_id == "new") co_return lost;
  if (!account_id.empty()) {
    if (!IsId(account_id)) co_return absl::InvalidArgumentError("account_id: 32 hex digits in lower case, or \"new\"");
    const AccountId id(account_id);
    if (!IsFree(index, id)) {
      co_return absl::AlreadyExistsError(absl::StrCat("account_id: another account has the id ", account_id));
    }
    const v1::Domain* const domain = index.FindDomain(address.domain);
    if (domain == nullptr) co_return MissingDomain(index, address.domain);
    lost = LostAccount{id, co_await HasPassword(TenantPartition(TenantId(domain->tenant())), id)};
  } else if (index.AccountMayBeLost(address)) {
    PH_CO_ASSIGN_OR_RETURN(lost, co_await FindLost(index, address));
    if (!lost) {
      co_return absl::FailedPreconditionError(absl::StrCat(
          "the record of ", address.ToString(),
          " may be among the damaged ones, and no other row has its id: give the id, which the log has from "
          "its creation (account_added), with --account-id; or --account-id new for a new mailbox"));
    }
  }
  if (lost) {
    LOG_EVENT(kWarning, "directory_account_written_anew")
        .Str("address", address.ToString())
        .Str("account_id", lost->account_id.value());
  }
  co_return lost;
}

}  // namespace posthouse::directory
