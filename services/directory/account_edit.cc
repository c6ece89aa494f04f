#include "services/directory/account_edit.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "services/common/status/status.h"
#include "services/directory/key_schema.h"
#include "services/directory/record_checks.h"

namespace posthouse::directory {
namespace {

constexpr size_t kMaxHome = 64;
constexpr size_t kMaxForgotten = 100;
constexpr char kPostmaster[] = "postmaster";

RecordEdit Store(const Address& address, const v1::Account& account) {
  RecordEdit edit{.partition = TenantPartition(TenantId(account.tenant()))};
  edit.Put(AccountKey(address), account);
  edit.Note(v1::Change::KIND_ACCOUNT, account.address(), AccountId(account.account_id()));
  edit.Follow([account](Index& index) { index.PutAccount(account); });
  return edit;
}

v1::CredentialRecord Credential(const std::string& address, const std::string& hash, absl::Time now) {
  v1::CredentialRecord credential;
  credential.set_address(address);
  credential.set_password_hash(hash);
  ToProto(WholeSeconds(now), credential.mutable_changed());
  return credential;
}

v1::DeletedAccount::State StateOf(const v1::DeletedAccountRecord& record) { return record.deleted().state(); }

// Writes the record of a deleted account. Watchers learn nothing: who asks for it polls.
RecordEdit Store(const v1::DeletedAccountRecord& record) {
  const v1::Account& account = record.deleted().account();
  RecordEdit edit{.partition = TenantPartition(TenantId(account.tenant()))};
  edit.Put(DeletedKey(AccountId(account.account_id())), record);
  edit.Follow([deleted = record.deleted()](Index& index) { index.PutDeleted(deleted); });
  return edit;
}

}  // namespace

absl::Status CheckAccount(const v1::Account& account) {
  PH_RETURN_IF_ERROR(CheckDisplayName(account.display_name()));
  PH_RETURN_IF_ERROR(CheckStatus(account.status()));
  if (account.status() == v1::STATUS_DELETED) {
    return absl::InvalidArgumentError("status: an account becomes deleted by DeleteAccount only");
  }
  if (account.home().size() <= kMaxHome) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("home: at most ", kMaxHome, " octets"));
}

absl::StatusOr<RecordEdit> DecideCreateAccount(const Index& index, const EditStamp& stamp, const Homes& homes,
                                               AccountId account_id, const std::string& hash, v1::Account* account,
                                               const LostAccount* lost) {
  PH_ASSIGN_OR_RETURN(const Address address, CheckNewAddress(index, account->address(), TenantId(account->tenant())));
  if (index.HasAccount(address)) {
    return absl::AlreadyExistsError(absl::StrCat("account ", address.ToString(), " exists"));
  }
  if (index.FindAlias(address)) {
    return absl::AlreadyExistsError(absl::StrCat(address.ToString(), " is an alias; delete it first"));
  }
  if (index.AliasMayBeLost(address)) return MissingAlias(index, address);
  if (lost != nullptr && account->home().empty() && !homes.one()) {
    return absl::FailedPreconditionError(absl::StrCat("home: the damaged record of ", address.ToString(),
                                                      " said which mailbox store has the mail; name it"));
  }
  if (account->home().empty()) account->set_home(homes.Choose(index).value());
  PH_RETURN_IF_ERROR(homes.Check(Home(account->home())));
  account->set_placement_epoch(0);
  account->set_credential_revision(lost == nullptr ? 0 : stamp.revision);
  account->set_account_id(account_id.value());
  account->set_address(address.ToString());
  account->set_tenant(index.FindDomain(address.domain)->tenant());
  account->set_has_password(!hash.empty() || (lost != nullptr && lost->has_password));
  Stamp(account, stamp);
  RecordEdit edit = Store(address, *account);
  if (!hash.empty())
    edit.Put(CredentialKey(AccountId(account->account_id())), Credential(account->address(), hash, stamp.now));
  return edit;
}

absl::StatusOr<RecordEdit> DecideUpdateAccount(const v1::Account& stored, const EditStamp& stamp, const Homes& homes,
                                               bool mail_stays_behind, v1::Account* account) {
  PH_RETURN_IF_ERROR(CheckRevision(account->revision(), stored.revision()));
  if (!account->address().empty() && account->address() != stored.address()) {
    return absl::InvalidArgumentError("address: an account keeps its address");
  }
  if (account->home().empty()) account->set_home(stored.home());
  account->set_placement_epoch(stored.placement_epoch());
  if (account->home() != stored.home()) {
    PH_RETURN_IF_ERROR(homes.Check(Home(account->home())));
    if (!mail_stays_behind) {
      return absl::FailedPreconditionError(absl::StrCat("home: the mail of ", stored.address(), " would stay in \"",
                                                        stored.home(), "\"; set mail_stays_behind to accept that"));
    }
    account->set_placement_epoch(stored.placement_epoch() + 1);
  }
  account->set_address(stored.address());
  account->set_tenant(stored.tenant());
  account->set_has_password(stored.has_password());
  account->set_credential_revision(stored.credential_revision());
  Stamp(account, stamp, stored);
  PH_ASSIGN_OR_RETURN(const Address address, ParseAddress(stored.address()));
  return Store(address, *account);
}

absl::StatusOr<RecordEdit> DecideSetPassword(v1::Account stored, const EditStamp& stamp, const std::string& hash) {
  PH_ASSIGN_OR_RETURN(const Address address, ParseAddress(stored.address()));
  RecordEdit edit{.partition = TenantPartition(TenantId(stored.tenant()))};
  stored.set_has_password(!hash.empty());
  stored.set_credential_revision(stamp.revision);
  stored.set_revision(stamp.revision);
  edit.Put(AccountKey(address), stored);
  edit.Follow([stored](Index& index) { index.PutAccount(stored); });
  if (hash.empty()) {
    edit.Erase(CredentialKey(AccountId(stored.account_id())));
  } else {
    edit.Put(CredentialKey(AccountId(stored.account_id())), Credential(stored.address(), hash, stamp.now));
  }
  edit.Note(v1::Change::KIND_CREDENTIAL, stored.address(), AccountId(stored.account_id()));
  return edit;
}

RecordEdit DecideRehash(const AccountInfo& account, const EditStamp& stamp, const std::string& hash) {
  RecordEdit edit{.partition = TenantPartition(account.tenant)};
  edit.Put(CredentialKey(account.account_id), Credential(account.address.ToString(), hash, stamp.now));
  return edit;
}

// ---- deleting

std::optional<Address> PostmasterOf(const Index& index, const AccountInfo& account) {
  Address postmaster{kPostmaster, account.address.domain};
  const std::optional<AliasInfo> alias = index.FindAlias(postmaster);
  if (!alias || alias->targets.size() != 1 || alias->targets[0] != account.address.ToString()) return std::nullopt;
  return postmaster;
}

RecordEdit DecideDeleteAccount(const EditStamp& stamp, absl::Duration grace, v1::DeletedAccountRecord* record) {
  v1::DeletedAccount& deleted = *record->mutable_deleted();
  const v1::Account& account = deleted.account();
  deleted.set_state(v1::DeletedAccount::STATE_KEPT);
  ToProto(WholeSeconds(stamp.now), deleted.mutable_deleted());
  ToProto(WholeSeconds(stamp.now + grace), deleted.mutable_erase_after());
  deleted.set_postmaster(record->postmaster().address());
  RecordEdit edit = Store(*record);
  // Stored addresses are well-formed.
  const absl::StatusOr<Address> address = ParseAddress(account.address());
  PH_CHECK(address.ok());
  edit.Erase(AccountKey(*address));
  edit.Erase(CredentialKey(AccountId(account.account_id())));
  edit.Note(v1::Change::KIND_ACCOUNT, account.address(), AccountId(account.account_id()));
  edit.Follow([address = *address](Index& i) { i.EraseAccount(address); });
  if (!record->has_postmaster()) return edit;
  const Address postmaster{kPostmaster, address->domain};
  edit.Erase(AliasKey(postmaster));
  edit.Note(v1::Change::KIND_ALIAS, postmaster.ToString());
  edit.Follow([postmaster](Index& i) { i.EraseAlias(postmaster); });
  return edit;
}

absl::StatusOr<AccountId> FindDeleted(const Index& index, const std::string& address) {
  const AccountId* best = nullptr;
  const DeletedInfo* of_best = nullptr;
  for (const auto& [id, info] : index.deleted()) {
    if (info.address != address) continue;
    const bool kept = info.state == v1::DeletedAccount::STATE_KEPT;
    const bool best_kept = of_best != nullptr && of_best->state == v1::DeletedAccount::STATE_KEPT;
    if (best == nullptr || (kept && !best_kept) || (kept == best_kept && info.deleted >= of_best->deleted)) {
      best = &id;
      of_best = &info;
    }
  }
  if (best == nullptr && index.DeletedMayBeLost()) {
    return absl::FailedPreconditionError(
        absl::StrCat("records of deleted accounts are damaged, and that of ", address,
                     " may be among them; its mail is kept: 'posthousectl account add ", address,
                     " --account-id ID' brings it back (the log has the id: account_added)"));
  }
  if (best == nullptr) {
    return absl::NotFoundError(absl::StrCat("no account ", address, " was deleted, or its record is gone"));
  }
  return *best;
}

absl::StatusOr<RecordEdit> DecideUndeleteAccount(const Index& index, const EditStamp& stamp,
                                                 v1::DeletedAccountRecord record, v1::Account* account) {
  *account = record.deleted().account();
  if (StateOf(record) != v1::DeletedAccount::STATE_KEPT) {
    return absl::FailedPreconditionError(
        absl::StrCat("the mail of ", account->address(),
                     StateOf(record) == v1::DeletedAccount::STATE_ERASED ? " was erased" : " is being erased"));
  }
  const absl::StatusOr<Address> address = CheckNewAddress(index, account->address(), TenantId(account->tenant()));
  if (absl::IsNotFound(address.status())) {
    return absl::FailedPreconditionError(absl::StrCat(address.status().message(), ": add it first"));
  }
  if (!address.ok()) return address.status();
  if (index.HasAccount(*address)) {
    return absl::AlreadyExistsError(absl::StrCat("another account ", account->address(), " exists"));
  }
  if (index.FindAlias(*address)) {
    return absl::AlreadyExistsError(absl::StrCat(account->address(), " is an alias; delete it first"));
  }
  account->set_revision(stamp.revision);
  RecordEdit edit = Store(*address, *account);
  if (record.has_credential()) edit.Put(CredentialKey(AccountId(account->account_id())), record.credential());
  edit.Erase(DeletedKey(AccountId(account->account_id())));
  edit.Follow([id = AccountId(account->account_id())](Index& i) { i.EraseDeleted(id); });
  const Address postmaster{kPostmaster, address->domain};
  if (!record.has_postmaster() || index.FindAlias(postmaster) || index.HasAccount(postmaster)) return edit;
  record.mutable_postmaster()->set_revision(stamp.revision);
  edit.Put(AliasKey(postmaster), record.postmaster());
  edit.Note(v1::Change::KIND_ALIAS, postmaster.ToString());
  edit.Follow([alias = record.postmaster()](Index& i) { i.PutAlias(alias); });
  return edit;
}

// ---- erasing

RecordEdit DecideEraseNow(const EditStamp& stamp, v1::DeletedAccountRecord record) {
  ToProto(WholeSeconds(stamp.now), record.mutable_deleted()->mutable_erase_after());
  RecordEdit edit = Store(record);
  // Wakes the mailbox store.
  edit.Note(v1::Change::KIND_ACCOUNT, record.deleted().account().address(),
            AccountId(record.deleted().account().account_id()));
  return edit;
}

absl::StatusOr<RecordEdit> DecideBeginErasure(const EditStamp& stamp, v1::DeletedAccountRecord record) {
  if (StateOf(record) != v1::DeletedAccount::STATE_KEPT) return RecordEdit();
  if (absl::ToUnixSeconds(stamp.now) < record.deleted().erase_after().seconds()) {
    return absl::FailedPreconditionError("the grace time of the account has not ended");
  }
  record.mutable_deleted()->set_state(v1::DeletedAccount::STATE_ERASING);
  record.clear_credential();
  record.clear_postmaster();
  return Store(record);
}

absl::StatusOr<RecordEdit> DecideEndErasure(const EditStamp& stamp, const v1::ReportErasureRequest::Done& done,
                                            v1::DeletedAccountRecord record) {
  if (StateOf(record) == v1::DeletedAccount::STATE_ERASED) return RecordEdit();
  if (StateOf(record) != v1::DeletedAccount::STATE_ERASING) {
    return absl::FailedPreconditionError("the erasure of the account has not begun");
  }
  v1::DeletedAccount& deleted = *record.mutable_deleted();
  deleted.set_state(v1::DeletedAccount::STATE_ERASED);
  ToProto(WholeSeconds(stamp.now), deleted.mutable_erased());
  deleted.set_folders(done.folders());
  deleted.set_messages(done.messages());
  deleted.set_bytes(done.bytes());
  deleted.mutable_account()->clear_display_name();
  return Store(record);
}

void ForgetErased(const Index& index, const TenantId& tenant, absl::Time now, RecordEdit* edit) {
  size_t forgotten = 0;
  for (const auto& [id, info] : index.deleted()) {
    if (info.state != v1::DeletedAccount::STATE_ERASED || info.tenant != tenant || now - info.erased < kTombstone)
      continue;
    edit->Erase(DeletedKey(id));
    edit->Follow([erased = id](Index& i) { i.EraseDeleted(erased); });
    if (++forgotten == kMaxForgotten) return;
  }
}

}  // namespace posthouse::directory
