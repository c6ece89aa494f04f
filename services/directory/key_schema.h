// Keys of the directory's store. No other file builds or splits one.
//
// A domain belongs to one tenant, and an address to one domain. So names that are
// unique in the whole system (tenants, domains) live in the partition `sys`, and
// everything below a domain lives in its tenant's partition `dir/<tenant>`: each
// admin change is one commit in one partition, log row included.
//
// Partition {"", "sys"}
//   H                     PartitionHead
//   t/<tenant>            Tenant
//   d/<domain>            Domain; A-label form, so no '/' and no NUL
//   c/<revision:be64>     ChangeRecord
//
// Partition {tenant, "dir/<tenant>"}
//   H                     PartitionHead
//   a/<domain>/<local>    Account; `local` folded and unquoted
//   l/<domain>/<local>    Alias; never beside an account of the same address
//   p/<account id>        CredentialRecord; no row: no password
//   g/<account id>        DeletedAccountRecord: what the a/ and p/ rows were, and how far the erasure is
//   c/<revision:be64>     ChangeRecord
//
//   written    by Repository only: H, the log row and the rows of one change
//              together. H is compared and set (store::GuardedPartition), which
//              fences a writer whose place was taken
//   removed    with the account, alias or domain; log rows when kLogRows newer exist; g/ rows
//              when the account is undeleted, and with a later change kTombstoneDays after the erasure
//   read       all but p/ once at the start (Repository::Open); p/ at each login that the
//              cache does not answer; lists page over a/, l/, t/, d/
//   invariant  revisions ascend over all partitions and are never used twice
//
// Values are protobufs behind one byte, the schema of the row (kSchema).
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "services/common/ids/ids.h"
#include "services/common/store/store.h"
#include "services/mail_formats/address/address.h"

namespace google::protobuf {
class MessageLite;
}

namespace posthouse::directory {

inline constexpr char kSchema = 1;
// Log rows kept in a partition: what a watcher may have missed over a restart.
inline constexpr uint64_t kLogRows = 1000;

// The tenant that a new store has, and that a request without one means.
inline constexpr char kDefaultTenant[] = "default";

inline constexpr char kHeadKey[] = "H";
inline constexpr char kTenantPrefix[] = "t/";
inline constexpr char kDomainPrefix[] = "d/";
inline constexpr char kAccountPrefix[] = "a/";
inline constexpr char kAliasPrefix[] = "l/";
inline constexpr char kCredentialPrefix[] = "p/";
inline constexpr char kDeletedPrefix[] = "g/";
inline constexpr char kLogPrefix[] = "c/";

// The partitions.
store::Partition SystemPartition();
store::Partition TenantPartition(const TenantId& tenant);

// The keys, in the order of the table above.
std::string TenantKey(const TenantId& tenant);
std::string DomainKey(absl::string_view domain);
// `address` is folded.
std::string AccountKey(const Address& address);
std::string AliasKey(const Address& address);
// The rows of one domain.
std::string AccountsOfDomainPrefix(absl::string_view domain);
std::string AliasesOfDomainPrefix(absl::string_view domain);
std::string CredentialKey(const AccountId& account);
std::string DeletedKey(const AccountId& account);
std::string LogKey(uint64_t revision);

// A row: the tag of the schema, then the proto.
std::string Encode(const google::protobuf::MessageLite& message);
// kDataLoss: not such a row. kFailedPrecondition: a schema newer than this binary's.
absl::Status Decode(absl::string_view value, google::protobuf::MessageLite* message);

}  // namespace posthouse::directory
