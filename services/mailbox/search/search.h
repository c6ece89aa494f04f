// Search: the program of RFC 9051 §6.4.4 over one folder.
//
// In three steps, each for the messages that the one before could not decide: what
// is in memory (flags, dates, sizes, UIDs), what is stored of the header, and the
// decoded text, read in ranges and given up as soon as it is decided.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "services/common/async/task.h"
#include "services/mailbox/folder/folder.h"
#include "services/mailbox/folder/mailbox_deps.h"

namespace posthouse::mailbox::v1 {
class SearchRequest;
class SearchResponse;
}  // namespace posthouse::mailbox::v1

namespace posthouse::mailbox {

// kInvalidArgument: a key this server does not know, or too large a program;
// kCancelled when `cancelled` says so.
Task<absl::Status> SearchMessages(MailboxDeps& deps, std::shared_ptr<Folder> folder, const v1::SearchRequest& request,
                                  const std::function<bool()>& cancelled, v1::SearchResponse* response);

}  // namespace posthouse::mailbox
