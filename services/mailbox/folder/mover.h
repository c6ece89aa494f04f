// Copies and moves between folders.
//
// A copy changes the target only, in batches of Folder::kBatch messages. Each batch is one commit
// with a row under the operation id, so a repeated request copies no message twice. A move has
// three commits for each batch:
//
//   step               crash after it means
//   1 source: intent   nothing moved; recovery does steps 2 and 3
//   2 target: copies   in both folders until recovery does step 3
//   3 source: expunge and intent removed, one commit   done
//
// So every message is in one folder or in both, and none stays in both. Recovery runs at start,
// and before a folder with an intent is first used. A move holds the source's move mutex: no
// two moves of this process take the same message.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/async/task.h"
#include "services/common/uid_set/uid_set.h"
#include "services/mailbox/folder/folder.h"
#include "services/mailbox/folder/usage.h"

namespace posthouse::mailbox {

class Account;
class Mailboxes;

// What to copy or move.
struct CopyOrder {
  UidSet uids;
  bool move = false;
  std::string operation_id;  // may be empty
  // If some of `uids` do not exist when the first batch begins, nothing is copied. A message that is
  // expunged while a copy of several batches runs is left out.
  bool all = false;
  Quota quota;
};

// What was copied or moved.
struct CopyDone {
  UidValidity to_uid_validity;
  std::vector<std::pair<Uid, Uid>> uids;  // source, target
  FolderSnapshot from_state;
  bool gone = false;  // CopyOrder::all: some do not exist, nothing was copied
};

// Copies or moves the messages. kResourceExhausted: over quota, and nothing was copied; or the store is full.
// After any error but the first a repetition under the same operation id goes on where this call ended.
Task<absl::StatusOr<CopyDone>> CopyMessages(MailboxDeps& deps, Mailboxes& mailboxes, std::shared_ptr<Account> account,
                                            std::shared_ptr<Folder> from, std::shared_ptr<Folder> to, CopyOrder order);

// Finishes the moves out of `from` that have an intent.
Task<absl::Status> RecoverMoves(MailboxDeps& deps, Mailboxes& mailboxes, std::shared_ptr<Account> account,
                                std::shared_ptr<Folder> from);

}  // namespace posthouse::mailbox
