// Copies and moves between folders.
//
// A copy is destination only: batches of Folder::kBatch messages, each one commit
// with a row under the operation id, so that a repeated request copies nothing twice.
// A move is, batch by batch:
//
//   step               crash after it means
//   1 source: intent   nothing moved; recovery does steps 2 and 3
//   2 target: copies   in both folders until recovery does step 3
//   3 source: expunge and intent removed, one commit   done
//
// so no message is ever in neither folder, and none stays in both. Recovery runs
// before a folder with an intent is first used, and over all folders at start. While
// a move runs it holds the source's move mutex: no message is moved to two places.
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

struct CopyOrder {
  UidSet uids;
  bool move = false;
  std::string operation_id;  // may be empty
  Quota quota;
};

struct CopyDone {
  uint32_t to_uid_validity = 0;
  std::vector<std::pair<uint32_t, uint32_t>> uids;  // source, target
  FolderSnapshot from_state;
};

Task<absl::StatusOr<CopyDone>> CopyMessages(Context& context, Mailboxes& mailboxes, std::shared_ptr<Account> account,
                                            std::shared_ptr<Folder> from, std::shared_ptr<Folder> to, CopyOrder order);

// Finishes the moves out of `from` that have an intent.
Task<absl::Status> RecoverMoves(Context& context, Mailboxes& mailboxes, std::shared_ptr<Account> account,
                                std::shared_ptr<Folder> from);

}  // namespace posthouse::mailbox
