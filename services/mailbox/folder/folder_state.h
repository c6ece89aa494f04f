// FolderState: what is in memory of a folder; FolderDraft: one commit to it in the making.
//
// Values without I/O. The deciders (folder_deciders.h) read the one and fill the other;
// FolderModel (folder_model.h) loads the state, turns the draft into rows, and applies it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "posthouse/mailbox/v1/store.pb.h"
#include "services/common/store/guarded_partition.h"
#include "services/mailbox/folder/folder_types.h"

namespace posthouse::mailbox {

struct FolderState {
  bool exists = false;  // the partition has a head
  Head head;
  std::vector<std::string> keywords;  // names by number, head.keywords of them
  std::optional<FolderIndex> index;   // nullopt: not loaded
};

// What a decider does with a keyword that the folder does not know yet.
enum class NewKeyword {
  kMake,      // kOutOfRange when the folder has no number left
  kMayDrop,   // leave it out when the folder has no number left; counted and logged
  kNeverMake  // leave it out
};

// A row of the change log in the making.
struct DraftedLogRow {
  Modseq modseq;
  bool additions = false;    // only of added messages
  std::vector<Uid> changed;  // ascending, as are those
  std::vector<Uid> expunged;
};

class FolderDraft : public store::Draft {
 public:
  // Messages and new keywords of one change: with its log rows, its dedupe row and the head they
  // stay below the store's 1,000 mutations. Of changes that do not fit one commit together, the
  // later ones go with the next.
  static constexpr size_t kMaxChangeRows = 990;

  Head head;  // as it will be

  // ---- limits, set by FolderModel::Begin
  uint32_t keyword_limit = 512;
  uint64_t log_entries = 100'000;  // rows that the change log keeps

  // A message as the index has it and this draft has changed it; nullopt: expunged here.
  std::optional<MessageFlags> Find(const FolderState& state, const MessageMeta& meta) const;
  using store::Draft::Find;

  // The next UID of the folder, which must have one left.
  Uid TakeUid();
  // A modseq for one change alone: no other change of this commit has it.
  Modseq TakeModseq();
  // A modseq for added messages. Additions that follow each other share it.
  Modseq TakeModseqForAdditions();

  // Each adds the row and counts it in `head`.
  void AddMessage(Uid uid, v1::MessageRow row);
  // `row` has the new flags, keywords and modseq; `had` is the message before.
  void ChangeFlags(const MessageFlags& had, v1::MessageRow row);
  void Expunge(const MessageFlags& had, uint64_t size_bytes);

  // Numbers of keywords and which of them are new. Add nothing to the draft; TakeKeywords does.
  struct KeywordPlan {
    std::string bits;                // MessageRow.keywords
    std::vector<std::string> added;  // in the order of their numbers
    size_t dropped = 0;              // names left out although they should be made
  };
  // `room`: new keywords that this change may make, of kMaxChangeRows.
  absl::StatusOr<KeywordPlan> PlanKeywords(const FolderState& state, const std::vector<std::string>& names,
                                           NewKeyword unknown, size_t room) const;
  void TakeKeywords(const KeywordPlan& plan);

  // Rows of the cache partition that go with this commit.
  void AddCacheRows(std::vector<store::Mutation> rows);

  // ---- for FolderModel
  // The newest log row, which proves this commit. Makes an empty one when nothing was changed.
  store::Row SealLog();
  const std::vector<std::pair<Uid, v1::MessageRow>>& added() const { return added_; }
  const absl::flat_hash_map<Uid, MessageFlags>& flags() const { return flags_; }
  const absl::flat_hash_set<Uid>& expunged() const { return expunged_; }
  const std::vector<std::string>& new_keywords() const { return new_keywords_; }
  size_t dropped_keywords() const { return dropped_keywords_; }
  std::vector<store::Mutation> TakeCacheRows() { return std::move(cache_rows_); }

 private:
  void BeginLogRow(bool additions);
  std::string EncodeLogRow() const;
  void TrimLog();

  std::optional<DraftedLogRow> log_;                   // the newest; it becomes a mutation when the next one begins
  std::vector<std::pair<Uid, v1::MessageRow>> added_;  // ascending UIDs
  absl::flat_hash_map<Uid, MessageFlags> flags_;
  absl::flat_hash_set<Uid> expunged_;
  std::vector<std::string> new_keywords_;
  size_t dropped_keywords_ = 0;
  std::vector<store::Mutation> cache_rows_;
};

}  // namespace posthouse::mailbox
