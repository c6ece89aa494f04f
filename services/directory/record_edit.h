// RecordEdit: one change of the directory, decided and not yet stored; and the
// functions that decide on tenants, domains and aliases; account_edit.h has those of accounts.
//
// A decider is pure. It looks at the index (what exists), at the request and at the
// rows given to it, and returns the rows to write and the names to report, or an error
// that names the field and what is allowed: kInvalidArgument (wrong and will stay
// wrong), kNotFound, kAlreadyExists, kFailedPrecondition (other records are in the
// way), kAborted (the caller edited an older revision of the record).
//
// A decider that takes a record by pointer completes it to what is stored.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "posthouse/directory/v1/directory.pb.h"
#include "services/common/ids/ids.h"
#include "services/common/store/store.h"
#include "services/directory/index.h"

namespace google::protobuf {
class MessageLite;
}

namespace posthouse::directory {

struct RecordEdit {
  store::Partition partition;  // one commit is in one partition
  std::vector<store::Mutation> mutations;
  std::vector<v1::Change> changes;                  // for watchers
  std::vector<std::function<void(Index&)>> follow;  // brings the index up to date, once stored

  void Put(std::string key, const google::protobuf::MessageLite& record);
  void Erase(std::string key);
  void Note(v1::Change::Kind kind, std::string name, const AccountId& account = AccountId());
  // Everything that `other` does, in the same commit; both are in one partition.
  void Add(RecordEdit other);
  void Follow(std::function<void(Index&)> step) { follow.push_back(std::move(step)); }
};

// The revision that the edit will have, and the time now.
struct EditStamp {
  uint64_t revision = 0;
  absl::Time now;
};

// ---- tenants and domains
absl::StatusOr<RecordEdit> DecideCreateTenant(const Index& index, const EditStamp& stamp, v1::Tenant* tenant);
absl::StatusOr<RecordEdit> DecideUpdateTenant(const Index& index, const EditStamp& stamp, v1::Tenant* tenant);
absl::StatusOr<RecordEdit> DecideCreateDomain(const Index& index, const EditStamp& stamp, v1::Domain* domain);
absl::StatusOr<RecordEdit> DecideUpdateDomain(const Index& index, const EditStamp& stamp, v1::Domain* domain);
// `addresses_go`: its accounts and aliases are no obstacle: the caller deletes them first.
absl::StatusOr<RecordEdit> DecideDeleteDomain(const Index& index, absl::string_view domain, bool addresses_go = false);

// ---- aliases
absl::StatusOr<RecordEdit> DecideCreateAlias(const Index& index, const EditStamp& stamp, v1::Alias* alias);
// After NormalizeAlias(); `stored`: the alias's row.
absl::StatusOr<RecordEdit> DecideUpdateAlias(const v1::Alias& stored, const EditStamp& stamp, v1::Alias* alias);
absl::StatusOr<RecordEdit> DecideDeleteAlias(const Index& index, const Address& address);
// Checks `alias` and normalises its address and targets; sets its tenant.
absl::Status NormalizeAlias(const Index& index, v1::Alias* alias);

}  // namespace posthouse::directory
