// Between the mailbox's types and its protos.
// Threads: stateless.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "posthouse/common/v1/common.pb.h"
#include "services/common/uid_set/uid_set.h"
#include "services/mailbox/folder/account.h"
#include "services/mailbox/folder/folder.h"

namespace posthouse::mailbox::v1 {
class Folder;
class FolderState;
class MessageRows;
}  // namespace posthouse::mailbox::v1

namespace posthouse::mailbox {

// What one message holds at most, so that it stays below 1 MiB. A row is 18 bytes and
// its keyword bits, a range up to 14.
inline size_t MaxRows(uint32_t keywords_per_folder) { return 800'000 / (20 + keywords_per_folder / 8); }
inline constexpr size_t kMaxRanges = 50'000;

// Each fills `out` from the mailbox's value.
void ToProto(const FolderSnapshot& state, uint32_t keyword_limit, v1::FolderState* out);
void ToProto(const FolderInfo& info, v1::Folder* out);  // without state
// Ranges of `uids` above `after`, at most kMaxRanges; true: there are more.
bool ToProto(const UidSet& uids, Uid after, google::protobuf::RepeatedPtrField<common::v1::UidRange>* out);
// uid, modseq, flags and keywords.
void ToProto(const std::vector<MessageFlags>& messages, v1::MessageRows* out);
// The keywords of a request; kInvalidArgument: too many, an empty or a very long one.
absl::StatusOr<std::vector<std::string>> CheckKeywords(const google::protobuf::RepeatedPtrField<std::string>& keywords);
// The bits of v1::Flag that a client may set.
extern const uint32_t kAllFlags;
// What of `asked` below `uid_next` is not in `present`.
UidSet Missing(const UidSet& asked, const UidSet& present, Uid uid_next);

}  // namespace posthouse::mailbox
