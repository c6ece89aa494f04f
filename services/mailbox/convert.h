// Between the mailbox's types and its protos.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "services/mailbox/account.h"
#include "services/mailbox/folder.h"

namespace posthouse::mailbox::v1 {
class Folder;
class FolderState;
class MessageRows;
}  // namespace posthouse::mailbox::v1

namespace posthouse::mailbox {

void ToProto(const FolderSnapshot& state, uint32_t keyword_limit, v1::FolderState* out);
void ToProto(const FolderInfo& info, v1::Folder* out);  // without state
// uid, modseq, flags and keywords.
void ToProto(const std::vector<MessageMeta>& messages, const std::vector<std::string>& keyword_bits,
             v1::MessageRows* out);
// What of `asked` below `uid_next` is not in `present`.
UidSet Missing(const UidSet& asked, const UidSet& present, uint32_t uid_next);

}  // namespace posthouse::mailbox
