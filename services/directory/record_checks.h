// What the deciders of all records check and fill in: parts of record_edit.h and account_edit.h.
// Threads: stateless. Every error is kInvalidArgument, kNotFound or kAborted, and names the field or record.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "posthouse/directory/v1/directory.pb.h"
#include "services/common/ids/ids.h"
#include "services/common/time/proto_time.h"
#include "services/directory/index.h"
#include "services/directory/record_edit.h"

namespace posthouse::directory {

// kInvalidArgument: no state that this binary knows; a name with control characters.
absl::Status CheckStatus(v1::Status status);
absl::Status CheckDisplayName(absl::string_view name);
// kAborted: `given` is not the stored revision. 0 is any.
absl::Status CheckRevision(uint64_t given, uint64_t stored);
// A new address: its domain exists, is no other name of another domain, and belongs to
// `tenant` ("": any). Folded.
absl::StatusOr<Address> CheckNewAddress(const Index& index, const std::string& text, const TenantId& tenant);

// kNotFound, with the name.
absl::Status NoSuchAccount(absl::string_view name);
absl::Status NoSuchAlias(absl::string_view name);
// The same for what the index does not have; or kFailedPrecondition, when its record may be among the
// damaged ones, with what to do.
absl::Status MissingTenant(const Index& index, const TenantId& tenant);
absl::Status MissingDomain(const Index& index, absl::string_view domain);
absl::Status MissingAccount(const Index& index, const Address& address);
absl::Status MissingAlias(const Index& index, const Address& address);
// The index has it, but its row became unreadable since the start.
absl::Status DamagedSinceStart(absl::string_view what);

// What records keep of a time.
inline absl::Time WholeSeconds(absl::Time time) { return absl::FromUnixSeconds(absl::ToUnixSeconds(time)); }

// The fields that every stored record has: of a new record ...
template <typename Record>
void Stamp(Record* record, const EditStamp& stamp) {
  if (record->status() == v1::STATUS_UNSPECIFIED) record->set_status(v1::STATUS_ACTIVE);
  ToProto(WholeSeconds(stamp.now), record->mutable_created());
  record->set_revision(stamp.revision);
}
// ... and of one that takes the place of `stored`.
template <typename Record>
void Stamp(Record* record, const EditStamp& stamp, const Record& stored) {
  if (record->status() == v1::STATUS_UNSPECIFIED) record->set_status(stored.status());
  *record->mutable_created() = stored.created();
  record->set_revision(stamp.revision);
}

}  // namespace posthouse::directory
