// MessageReader: reads stored messages for FETCH and SEARCH: derived rows, which it rebuilds from
// the message when they are missing, and sections, by range reads of the body.
//
// Memory: a page of rows, or at most kWholeBytes of a body. Threads: one task at a
// time; several readers of one folder may run at once.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/common/async/task.h"
#include "services/common/ids/ids.h"
#include "services/common/uid_set/uid_set.h"
#include "services/mail_formats/message/part_table.h"
#include "services/mailbox/folder/folder.h"
#include "services/mailbox/folder/mailbox_deps.h"
#include "services/mailbox/rows/cache_rows.h"

namespace posthouse::mailbox::v1 {
class MessageRow;
class Section;
}  // namespace posthouse::mailbox::v1

namespace posthouse::mailbox {

// Which rows of each message to read.
struct RowSelection {
  bool row = false;        // the m/ row
  bool envelope = false;   // ENVELOPE and preview
  bool structure = false;  // BODYSTRUCTURE, BODY and the part table
  bool header = false;     // cached header fields and the day of Date:
};

// A message as it was read, with the parts that were selected.
struct StoredMessage {
  MessageMeta meta;
  std::string keyword_bits;
  bool gone = false;  // expunged since it was selected
  // kDataLoss: something that was asked for is damaged. The other messages of the page are whole.
  absl::Status damaged;
  // m/ row
  ObjectId blob;
  std::string thread_id;
  int64_t save_date = 0;
  // derived; only the rows that were selected
  CachedMessage cached;
};

class MessageReader {
 public:
  static constexpr size_t kPage = 512;
  static constexpr uint64_t kWholeBytes = 64 * 1024;   // bodies up to this are read once, whole
  static constexpr uint64_t kRangeBytes = 256 * 1024;  // others in ranges of this
  static constexpr uint64_t kInMemoryBytes = 1 << 20;  // filtered sections up to this

  MessageReader(MailboxDeps& deps, std::shared_ptr<Folder> folder);

  // The next messages of `uids` above `after`, at most kPage; empty: no more.
  Task<absl::StatusOr<std::vector<StoredMessage>>> Next(const UidSet& uids, Uid after, RowSelection wanted);

  // Bytes [offset, offset + length) of the message, as far as it goes.
  Task<absl::StatusOr<std::string>> Read(const StoredMessage& message, uint64_t offset, uint64_t length);

  struct SectionInfo {
    bool nil = false;
    uint64_t total_bytes = 0;
  };
  using Emit = std::function<Task<absl::Status>(std::string bytes)>;
  // Calls `begin` with the section's size, then emits its bytes in pieces of at most kRangeBytes.
  // `message` was read with row and structure (see NeedsStructure).
  Task<absl::Status> ReadSection(const StoredMessage& message, const v1::Section& section,
                                 const std::function<void(SectionInfo)>& begin, const Emit& emit);
  // Whether a section can be answered from cached header fields alone, or without
  // the part table.
  static bool FromCachedHeader(const v1::Section& section);
  static bool NeedsStructure(const v1::Section& section);

  const std::shared_ptr<Folder>& folder() const { return folder_; }

 private:
  Task<absl::Status> LoadRows(std::vector<StoredMessage>& messages);
  Task<absl::Status> LoadDerived(std::vector<StoredMessage>& messages, const RowSelection& wanted);
  // Builds the cached rows from the message. `keep`: stores them, too.
  Task<absl::StatusOr<CachedMessage>> Rebuild(StoredMessage& message, bool keep);
  Task<absl::Status> EmitString(std::string bytes, const v1::Section& section,
                                const std::function<void(SectionInfo)>& begin, const Emit& emit);
  Task<absl::Status> EmitRange(const StoredMessage& message, message::ByteRange range, const v1::Section& section,
                               const std::function<void(SectionInfo)>& begin, const Emit& emit);
  Task<absl::Status> EmitFiltered(const StoredMessage& message, message::ByteRange where, const v1::Section& section,
                                  const std::function<void(SectionInfo)>& begin, const Emit& emit);

  MailboxDeps& deps_;
  const std::shared_ptr<Folder> folder_;
  const store::Partition partition_;
  const store::Partition cache_partition_;
  // The last small body, for several sections of one message.
  ObjectId whole_blob_;
  std::string whole_;
};

}  // namespace posthouse::mailbox
