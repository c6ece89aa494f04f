// Fetch: messages as columnar chunks, their sections as pieces.
// Threads: any; `sink` is called by one coroutine at a time. A message whose stored data is damaged is
// named in a chunk and does not end the fetch.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "services/common/async/task.h"
#include "services/mailbox/folder/folder.h"
#include "services/mailbox/folder/mailbox_deps.h"

namespace posthouse::mailbox::v1 {
class FetchRequest;
class FetchResponse;
}  // namespace posthouse::mailbox::v1

namespace posthouse::mailbox {

using FetchSink = std::function<Task<absl::Status>(v1::FetchResponse chunk)>;

// Sends the messages of `request` to `sink`, in UID order, in chunks of 64-256 KiB. Sets \Seen,
// durably, before the first chunk. An error of the sink ends the fetch.
Task<absl::Status> FetchMessages(MailboxDeps& deps, std::shared_ptr<Folder> folder, const v1::FetchRequest& request,
                                 FetchSink sink);

}  // namespace posthouse::mailbox
