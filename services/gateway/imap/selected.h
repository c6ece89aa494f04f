// Selected: the mailbox a session has open, as its client sees it.
//
// The client's view changes only by what it was told: new messages by EXISTS,
// removed ones by EXPUNGE (or VANISHED), and those only when a command allows it
// (RFC 9051 §7.5.1). What the mailbox service reports goes in by Absorb(), what the
// client must hear comes out as bytes. Pure: no I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "services/common/uid_set/uid_set.h"
#include "services/gateway/imap/sequence_map.h"
#include "services/mail_formats/imap/scanner.h"
#include "services/mail_formats/imap/sequence_set.h"

namespace posthouse::mailbox::v1 {
class Folder;
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
  // How the client wants to hear of changes.
  struct Dialect {
    bool condstore = false;  // MODSEQ with every FETCH of flags (RFC 7162 §3.1)
    bool qresync = false;    // VANISHED for EXPUNGE, UID in FETCH (RFC 7162 §3.2.10)
  };

  Selected(bool read_only, const mail::ListUidsResponse& uids);

  const std::string& folder_id() const { return folder_id_; }
  bool read_only() const { return read_only_; }
  uint32_t uid_validity() const { return uid_validity_; }
  uint32_t uid_next() const { return uid_next_; }
  uint64_t modseq() const { return modseq_; }  // changes up to here are in the view
  const SequenceMap& map() const { return map_; }
  uint32_t recent() const { return map_.CountFrom(recent_from_); }
  bool IsRecent(uint32_t uid) const { return uid >= recent_from_; }
  uint32_t recent_from() const { return recent_from_; }
  const std::vector<std::string>& keywords() const { return keywords_; }
  bool keywords_full() const { return keywords_full_; }

  // `* FLAGS` and `* OK [PERMANENTFLAGS`.
  void AppendFlagsLines(std::string& out) const;

  // What happened after modseq(). Removed messages wait for AnnounceExpunges(),
  // others for AnnounceNext(). Call those until they have nothing more to say.
  void Absorb(mail::GetChangesResponse changes);
  // Removed messages that a command of this session reported, ahead of Absorb().
  void Expunged(const imap::NumberSet& uids);
  // As Expunged(uids); `state`, of the folder after it, moves modseq() on when nobody
  // else changed anything.
  void OwnExpunge(const imap::NumberSet& uids, const mail::FolderState& state);
  // The client was told `rows`, so Absorb() does not repeat them.
  void Told(const mail::MessageRows& rows);
  // Told() for STORE of this session; modseq() moves on when nobody else changed anything.
  void OwnStore(const mail::StoreFlagsResponse& response);
  // True when somebody else changed the folder, too, since modseq(): the client cannot
  // know from its own STORE what the flags are now.
  bool OthersChanged(const mail::StoreFlagsResponse& response) const;

  // Each writes at most about `limit` bytes; true: there is more.
  bool AnnounceExpunges(std::string& out, const Dialect& dialect, size_t limit);
  bool AnnounceNext(std::string& out, const Dialect& dialect, size_t limit);
  bool has_news() const { return !expunged_.empty() || exists_changed_ || next_row_ < changed_.size(); }
  bool has_expunges() const { return !expunged_.empty(); }

  // "FLAGS (...)" of a row as the client sees it, \Recent included.
  void AppendFlags(std::string& out, uint32_t uid, uint32_t flags, absl::string_view keyword_bits) const;
  // New keywords that a response brought.
  void SetKeywords(const mail::FolderState& state, std::string* out);

 private:
  struct ChangedRow {
    uint32_t uid;
    uint32_t flags;
    uint64_t modseq;
    std::string keywords;
  };
  bool WasTold(uint32_t uid, uint64_t modseq) const;
  void MoveTo(uint64_t modseq);
  bool NamesAll(absl::string_view keyword_bits) const;
  void TakeState(const mail::FolderState& state);

  const std::string folder_id_;
  const bool read_only_;
  const uint32_t uid_validity_;
  uint32_t uid_next_ = 0;
  uint64_t modseq_ = 0;
  SequenceMap map_;
  uint32_t recent_from_ = 0;
  std::vector<std::string> keywords_;
  bool keywords_full_ = false;
  bool flags_changed_ = false;
  bool exists_changed_ = false;
  imap::NumberSet expunged_;  // gone, not yet told
  std::vector<ChangedRow> changed_;
  size_t next_row_ = 0;
  // Above modseq_:
  absl::flat_hash_map<uint64_t, imap::NumberSet> told_;  // modseq to UIDs
  absl::flat_hash_set<uint64_t> own_;                    // modseqs that changes of this session took
};

}  // namespace posthouse::gateway
