// What callers give to a Folder and get from it. Values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "services/common/ids/ids.h"
#include "services/common/uid_set/uid_set.h"
#include "services/mailbox/rows/folder_index.h"
#include "services/mailbox/rows/head.h"

namespace posthouse::mailbox {

struct CachedMessage;  // cache_rows.h

// Names a folder: its partition, and the account whose usage it counts for.
struct FolderRef {
  TenantId tenant;
  AccountId account_id;
  FolderId folder_id;
};

// The head with the names of its keywords.
struct FolderSnapshot {
  FolderId folder_id;
  Head head;
  std::vector<std::string> keywords;  // by number
};

// All UIDs of a folder at one instant: what SELECT needs.
struct UidsView {
  FolderSnapshot state;
  UidSet uids;
  Uid first_unseen;  // empty: none
};

// The part of a message that changes.
struct MessageFlags {
  Uid uid;
  Modseq modseq;
  uint32_t flags = 0;
  std::string keyword_bits;
  friend bool operator==(const MessageFlags&, const MessageFlags&) = default;
};

// A message to be appended.
struct NewMessage {
  uint32_t flags = 0;
  std::vector<std::string> keywords;
  int64_t internal_date = 0;  // seconds since 1970
  int zone = 0;               // minutes east of UTC
  uint64_t size_bytes = 0;
  ObjectId blob;                                // the body is written
  std::string thread_id;                        // message::ThreadId; may be empty
  std::string dedupe_key;                       // d/ or a/ key that makes a repetition a no-op; "": none
  std::shared_ptr<const CachedMessage> cached;  // null: built when first read
};

// Where the message is.
struct AppendResult {
  Uid uid;
  bool duplicate = false;  // nothing stored: dedupe_key was there, with this UID
  friend bool operator==(const AppendResult&, const AppendResult&) = default;
};

// One STORE.
struct FlagChange {
  enum class Mode { kReplace, kAdd, kRemove };
  Mode mode = Mode::kReplace;
  uint32_t flags = 0;
  std::vector<std::string> keywords;
  std::optional<Modseq> unchanged_since;  // RFC 7162 §3.1.3
  bool only_changed = false;              // report only the messages that changed
  // A part of the work: messages above this UID, and no more after about so many.
  Uid after;
  size_t max_messages = SIZE_MAX;
};

// What a STORE did.
struct FlagResult {
  std::vector<MessageFlags> messages;  // as this change left them, ascending UIDs
  UidSet modified;                     // failed unchanged_since
  // The modseqs that this change took, ascending: no other change has one of them, also
  // when both were in one commit.
  std::vector<Modseq> own_modseqs;
  Uid continue_after;  // not empty: messages above it are still to be done
  FolderSnapshot state;
};

// What an EXPUNGE removed.
struct ExpungeResult {
  UidSet expunged;
  bool more = false;  // stopped at `max_ranges`
  FolderSnapshot state;
};

// What a copy takes from a source message.
struct CopyItem {
  Uid uid;
  std::string row;                                // m/ row as stored
  std::vector<std::string> keywords;              // by name: the target numbers them anew
  std::vector<std::optional<std::string>> cache;  // e/, s/, h/ rows
};

// One commit of a copy or move, in the target.
struct CopyBatch {
  std::vector<std::pair<Uid, Uid>> uids;  // source, target
  Uid covered_to;                         // source UIDs up to here are settled
  bool last = false;
};

// One batch of a move that is under way.
struct MoveIntent {
  std::string operation_id;
  FolderId to_folder_id;
  UidSet uids;
  uint32_t batch = 0;
  bool last = false;
};

// What changed in a folder after a modseq.
struct FolderChanges {
  FolderSnapshot state;
  std::vector<MessageFlags> messages;  // new and changed
  UidSet vanished;                     // when asked from UID 0
  bool full = false;                   // the log does not reach back: `messages` is all there is
  bool more = false;                   // messages above the last one follow
};

}  // namespace posthouse::mailbox
