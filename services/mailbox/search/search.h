// Search: the program of RFC 9051 §6.4.4 over one folder.
//
// It looks at a message in three steps and stops at the first that decides: flags, dates, sizes
// and UIDs in memory; the cached header fields; the decoded text, which it reads in ranges.
//
// Threads: any; it takes CPU for long, so the caller is on a pool (grpc_service.h).
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

// Answers at most kMaxRanges ranges (mailbox_proto.h); the response says when there are more.
// kInvalidArgument: an unknown key, or too large a program. kCancelled: `cancelled` said so.
Task<absl::Status> SearchMessages(MailboxDeps& deps, std::shared_ptr<Folder> folder, const v1::SearchRequest& request,
                                  const std::function<bool()>& cancelled, v1::SearchResponse* response);

}  // namespace posthouse::mailbox
