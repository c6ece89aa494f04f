// Selected: the mailbox that a session has open, as its client sees it.
//
// The view of the client changes only by responses: EXISTS adds messages, EXPUNGE or VANISHED
// removes them, and these only when a command allows it (RFC 9051 §7.5.1). So changes wait here
// between the mailbox service and the client:
//
//   GetChanges ─ ApplyChanges ────▶ ┌─────────────────────┐ ── AppendExpunges ▶ EXPUNGE, VANISHED
//   own STORE  ─ ApplyOwnStore ───▶ │ map(), the view      │
//   own EXPUNGE ApplyOwnExpunge ──▶ │ updates that wait    │ ── AppendUpdates ─▶ EXISTS, FLAGS, FETCH
//   own FETCH  ─ MarkReported ────▶ └─────────────────────┘
//
// Any input is allowed at any time. map() loses messages in AppendExpunges() alone, so sequence
// numbers stay what they are during a command. Where a command allows both, AppendExpunges()
// comes first: what AppendUpdates() writes counts by the new numbers.
//
// modseq() is the state that the view has reached. It moves with ApplyChanges(), and with a change
// of this session when no other session changed the folder in between; then there is nothing to read.
//
// A value without I/O; one session uses it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "services/common/ids/ids.h"
#include "services/common/uid_set/uid_set.h"
#include "services/gateway/imap/sequence_map.h"
#include "services/mail_formats/imap/scanner.h"
#include "services/mail_formats/imap/sequence_set.h"

namespace posthouse::mailbox::v1 {
class FolderState;
class GetChangesResponse;
class ListUidsResponse;
class MessageRows;
class StoreFlagsResponse;
}  // namespace posthouse::mailbox::v1

namespace posthouse::gateway {

namespace mail = ::posthouse::mailbox::v1;

class Selected {
 public:
  // The extensions that the client has enabled.
  struct Dialect {
    bool condstore = false;  // MODSEQ with every FETCH of flags (RFC 7162 §3.1)
    bool qresync = false;    // VANISHED for EXPUNGE, UID in FETCH (RFC 7162 §3.2.10)
  };

  Selected(bool read_only, const mail::ListUidsResponse& uids);

  const FolderId& folder_id() const { return folder_id_; }
  bool read_only() const { return read_only_; }
  UidValidity uid_validity() const { return uid_validity_; }
  Uid uid_next() const { return uid_next_; }
  Modseq modseq() const { return modseq_; }
  const SequenceMap& map() const { return map_; }
  // The messages that this session was told about before any other (RFC 3501 §2.3.2): \Recent.
  const UidSet& recent_uids() const { return recent_; }
  uint32_t recent() const;  // how many of them are in map()

  // ---- input

  // The changes after modseq().
  void ApplyChanges(mail::GetChangesResponse changes);
  // A STORE of this session.
  void ApplyOwnStore(const mail::StoreFlagsResponse& response);
  // An EXPUNGE or MOVE of this session removed `uids`; `state` is that of the folder after it.
  void ApplyOwnExpunge(const UidSet& uids, const mail::FolderState& state);
  // A response of this session has the flags of `rows`: ApplyChanges() does not report them again.
  void MarkReported(const mail::MessageRows& rows);
  // True when another session, too, has changed the folder since modseq(). Then the client cannot
  // tell from its own STORE what the flags are.
  bool OthersChanged(const mail::StoreFlagsResponse& response) const;

  // ---- output: each writes at most about `limit` bytes; true: there is more

  bool AppendExpunges(std::string& out, const Dialect& dialect, size_t limit);
  bool AppendUpdates(std::string& out, const Dialect& dialect, size_t limit);
  bool has_updates() const { return !expunged_.empty() || exists_changed_ || next_row_ < changed_.size(); }

  // `* FLAGS` and `* OK [PERMANENTFLAGS`.
  void AppendFlagsLines(std::string& out) const;
  // The same, if `state` has keywords that the client does not know.
  void AppendNewKeywords(const mail::FolderState& state, std::string* out);
  // "FLAGS (...)" of a row as the client sees it, \Recent included.
  void AppendFlags(std::string& out, Uid uid, uint32_t flags, absl::string_view keyword_bits) const;

 private:
  struct ChangedRow {
    Uid uid;
    uint32_t flags;
    Modseq modseq;
    std::string keywords;
  };
  void AddRecent(Uid after, Uid uid_next);
  void AddExpunged(const UidSet& uids);
  bool WasReported(Uid uid, Modseq modseq) const;
  void MoveTo(Modseq modseq);
  bool NamesAll(absl::string_view keyword_bits) const;
  void TakeState(const mail::FolderState& state);

  const FolderId folder_id_;
  const bool read_only_;
  const UidValidity uid_validity_;
  Uid uid_next_;
  Modseq modseq_;
  SequenceMap map_;
  const Uid first_new_;  // UIDs from here on came after SELECT
  UidSet recent_;
  std::vector<std::string> keywords_;
  bool keywords_full_ = false;  // no further keyword can be made
  bool flags_changed_ = false;
  bool exists_changed_ = false;
  Uid announced_;    // the highest UID in map_ when the client was last told EXISTS
  UidSet expunged_;  // in map_, and gone from the mailbox
  std::vector<ChangedRow> changed_;
  size_t next_row_ = 0;
  // Above modseq_:
  absl::flat_hash_map<Modseq, UidSet> reported_;
  absl::flat_hash_set<Modseq> own_;  // modseqs that changes of this session took
};

}  // namespace posthouse::gateway
