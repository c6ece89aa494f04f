// The deciders of accounts (record_edit.h says what a decider is): made, changed, deleted,
// brought back, erased.
//
//   account row a/ ──delete──▶ KEPT (row g/) ──grace over──▶ ERASING ──mail gone──▶ ERASED ──14 days──▶ nothing
//        ▲                        │
//        └───────undelete─────────┘
//
// A deletion frees the address at once: the next account with it has another id. The mailbox
// store asks for the step to ERASING, so a commit here decides between undelete and erasure.
//
// Threads: stateless. Nothing here does I/O.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "posthouse/directory/v1/directory.pb.h"
#include "posthouse/directory/v1/store.pb.h"
#include "services/common/ids/ids.h"
#include "services/directory/homes.h"
#include "services/directory/index.h"
#include "services/directory/record_edit.h"

namespace posthouse::directory {

// How long the record of an erased account is kept. The queue gives up a message long before.
inline constexpr absl::Duration kTombstone = absl::Hours(24 * 14);

// The checks that need no index: made before the password is hashed.
absl::Status CheckAccount(const v1::Account& account);

// An account whose own record is damaged, as far as other rows name it.
struct LostAccount {
  AccountId account_id;
  bool has_password = false;
};

// `hash`: a stored form of the password, "" for none. An account without a home gets one. `lost`:
// this writes the record of an account anew, whose password may stay and whose mail lies in its home.
absl::StatusOr<RecordEdit> DecideCreateAccount(const Index& index, const EditStamp& stamp, const Homes& homes,
                                               AccountId account_id, const std::string& hash, v1::Account* account,
                                               const LostAccount* lost = nullptr);
// `stored`: the account's row. Another home needs `mail_stays_behind`, since nothing moves the
// mail, and raises placement_epoch, by which mailbox stores notice it.
absl::StatusOr<RecordEdit> DecideUpdateAccount(const v1::Account& stored, const EditStamp& stamp, const Homes& homes,
                                               bool mail_stays_behind, v1::Account* account);
// `hash` as in DecideCreateAccount(): without one nobody can log in.
absl::StatusOr<RecordEdit> DecideSetPassword(v1::Account stored, const EditStamp& stamp, const std::string& hash);
// The same password in another form: watchers learn nothing.
RecordEdit DecideRehash(const AccountInfo& account, const EditStamp& stamp, const std::string& hash);

// The alias postmaster@ of the account's domain, when the account is its only target: it goes
// with the account.
std::optional<Address> PostmasterOf(const Index& index, const AccountInfo& account);

// `record`: the rows of the account. Completed to the record that is stored.
RecordEdit DecideDeleteAccount(const EditStamp& stamp, absl::Duration grace, v1::DeletedAccountRecord* record);
// The account that was deleted last with the address and can be brought back, else the last one.
absl::StatusOr<AccountId> FindDeleted(const Index& index, const std::string& address);
absl::StatusOr<RecordEdit> DecideUndeleteAccount(const Index& index, const EditStamp& stamp,
                                                 v1::DeletedAccountRecord record, v1::Account* account);
// Ends the grace time.
RecordEdit DecideEraseNow(const EditStamp& stamp, v1::DeletedAccountRecord record);
// KEPT -> ERASING, ERASING -> ERASED. No mutations: it is so already.
absl::StatusOr<RecordEdit> DecideBeginErasure(const EditStamp& stamp, v1::DeletedAccountRecord record);
absl::StatusOr<RecordEdit> DecideEndErasure(const EditStamp& stamp, const v1::ReportErasureRequest::Done& done,
                                            v1::DeletedAccountRecord record);
// Adds to `edit`, which is in the tenant's partition, the removal of at most 100 tombstones that are old enough.
void ForgetErased(const Index& index, const TenantId& tenant, absl::Time now, RecordEdit* edit);

}  // namespace posthouse::directory
