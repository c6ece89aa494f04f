// AppendWithinQuota: what Append and Deliver have in common: a received message becomes a
// message of a folder when the account's quota has room for it.
// Threads: any.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "services/common/async/task.h"
#include "services/mailbox/folder/mailboxes.h"
#include "services/mailbox/message/body_receiver.h"

namespace posthouse::mailbox {

// How an append ended.
struct AppendOutcome {
  absl::StatusOr<AppendResult> result;
  bool over_quota = false;  // `result` is kResourceExhausted because of the quota, not of the disk
  bool never_fits = false;  // and the message is larger than the whole quota
  // A commit was tried. Unless `result` says duplicate, a row may name the body, also after an
  // error: an open commit may still land when a full disk has room again.
  bool tried = false;
};

// The parts of a new message that come from its body.
NewMessage MessageOf(const ReceivedMessage& received);

// A repetition of what was stored while there was room is answered as a duplicate, also when
// there is none now.
Task<AppendOutcome> AppendWithinQuota(Mailboxes& mailboxes, std::shared_ptr<Account> account,
                                      std::shared_ptr<Folder> folder, Quota quota, NewMessage message);

}  // namespace posthouse::mailbox
