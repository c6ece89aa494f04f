#include "services/gateway/imap/selected.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/uid_set/uid_set_proto.h"
#include "services/mail_formats/imap/response.h"

namespace posthouse::gateway {

static_assert(static_cast<uint32_t>(mail::FLAG_SEEN) == imap::kSeen &&
              static_cast<uint32_t>(mail::FLAG_ANSWERED) == imap::kAnswered &&
              static_cast<uint32_t>(mail::FLAG_FLAGGED) == imap::kFlagged &&
              static_cast<uint32_t>(mail::FLAG_DELETED) == imap::kDeleted &&
              static_cast<uint32_t>(mail::FLAG_DRAFT) == imap::kDraft);

Selected::Selected(bool read_only, const mail::ListUidsResponse& uids)
    : folder_id_(uids.state().folder_id()),
      read_only_(read_only),
      uid_validity_(uids.state().uid_validity()),
      modseq_(uids.state().highest_modseq()),
      first_new_(uids.state().uid_next()) {
  AddRecent(Uid(uids.recent_after()), Uid(uids.state().uid_next()));
  map_.Assign(UidSetFromProto(uids.uids()));
  announced_ = map_.max_uid();
  TakeState(uids.state());
  flags_changed_ = false;
}

// The mailbox service has given this session the UIDs above `after` to tell about first.
void Selected::AddRecent(Uid after, Uid uid_next) {
  if (uint64_t{after.value()} + 1 >= uid_next.value()) return;
  recent_ = recent_.Union(UidSet({{after.Next().value(), uid_next.value() - 1}}));
}

uint32_t Selected::recent() const {
  uint32_t count = 0;
  for (const UidSet::Range& range : recent_.ranges()) {
    count += map_.CountFrom(Uid(range.first)) - (range.last == UINT32_MAX ? 0 : map_.CountFrom(Uid(range.last).Next()));
  }
  return count;
}

void Selected::TakeState(const mail::FolderState& state) {
  uid_next_ = std::max(uid_next_, Uid(state.uid_next()));
  keywords_full_ = state.keyword_limit() > 0 && static_cast<uint32_t>(state.keywords_size()) >= state.keyword_limit();
  if (std::equal(keywords_.begin(), keywords_.end(), state.keywords().begin(), state.keywords().end())) return;
  keywords_.assign(state.keywords().begin(), state.keywords().end());
  flags_changed_ = true;
}

void Selected::AppendNewKeywords(const mail::FolderState& state, std::string* out) {
  TakeState(state);
  if (!flags_changed_) return;
  flags_changed_ = false;
  AppendFlagsLines(*out);
}

void Selected::AppendFlagsLines(std::string& out) const {
  constexpr uint32_t kAll = imap::kAnswered | imap::kFlagged | imap::kDeleted | imap::kSeen | imap::kDraft;
  std::vector<absl::string_view> names;
  for (const std::string& keyword : keywords_) {
    if (!keyword.empty()) names.push_back(keyword);
  }
  out += "* FLAGS ";
  imap::AppendFlagList(out, kAll, names);
  out += "\r\n* OK [PERMANENTFLAGS ";
  if (read_only_) {
    out += "()";
  } else {
    if (!keywords_full_) names.push_back("\\*");
    imap::AppendFlagList(out, kAll, names);
  }
  out += "] Permanent flags\r\n";
}

void Selected::AppendFlags(std::string& out, Uid uid, uint32_t flags, absl::string_view keyword_bits) const {
  std::vector<absl::string_view> names;
  for (size_t byte = 0; byte < keyword_bits.size(); ++byte) {
    const auto bits = static_cast<unsigned char>(keyword_bits[byte]);
    for (size_t bit = 0; bit < 8 && (bits >> bit) != 0; ++bit) {
      const size_t n = byte * 8 + bit;
      if ((bits >> bit & 1) != 0 && n < keywords_.size() && !keywords_[n].empty()) names.push_back(keywords_[n]);
    }
  }
  if (recent_.Contains(uid)) names.push_back("\\Recent");
  out += "FLAGS ";
  imap::AppendFlagList(out, flags, names);
}

bool Selected::WasReported(Uid uid, Modseq modseq) const {
  const auto found = reported_.find(modseq);
  return found != reported_.end() && found->second.Contains(uid);
}

void Selected::ApplyChanges(mail::GetChangesResponse changes) {
  TakeState(changes.state());
  AddRecent(Uid(changes.recent_after()), Uid(changes.state().uid_next()));
  const mail::MessageRows& rows = changes.rows();
  UidSet present;  // of a full answer
  const Uid known_max = map_.max_uid();
  for (int i = 0; i < rows.uid_size(); ++i) {
    const Uid uid(rows.uid(i));
    if (changes.full()) present.Add(uid);
    if (uid > known_max && map_.SequenceOf(uid) == 0) {
      if (uid < first_new_) continue;  // a removed message that SELECT did not list
      map_.Append(uid, uid);
      exists_changed_ = true;
      continue;
    }
    const Modseq modseq(i < rows.modseq_size() ? rows.modseq(i) : 0);
    if (modseq <= modseq_ || WasReported(uid, modseq) || map_.SequenceOf(uid) == 0) continue;
    changed_.push_back({uid, i < rows.flags_size() ? rows.flags(i) : 0, modseq,
                        i < rows.keywords_size() ? rows.keywords(i) : std::string()});
  }
  if (changes.full()) {
    AddExpunged(map_.uids().Minus(present));
  } else {
    AddExpunged(UidSetFromProto(changes.vanished()));
  }
  MoveTo(Modseq(changes.state().highest_modseq()));
}

void Selected::AddExpunged(const UidSet& uids) {
  const UidSet ours = map_.uids().Intersect(uids);
  if (!ours.empty()) expunged_ = expunged_.Union(ours);
}

void Selected::ApplyOwnExpunge(const UidSet& uids, const mail::FolderState& state) {
  AddExpunged(uids);
  if (uids.empty()) return;
  // Only one modseq is not known to be ours, so it is that of the expunge.
  const Modseq highest(state.highest_modseq());
  if (highest.value() == modseq_.value() + own_.size() + 1) MoveTo(highest);
}

// True when the client knows the name of every keyword of a row.
bool Selected::NamesAll(absl::string_view keyword_bits) const {
  for (size_t byte = keywords_.size() / 8; byte < keyword_bits.size(); ++byte) {
    const size_t known = byte == keywords_.size() / 8 ? keywords_.size() % 8 : 0;
    if ((static_cast<unsigned char>(keyword_bits[byte]) >> known) != 0) return false;
  }
  return true;
}

bool Selected::OthersChanged(const mail::StoreFlagsResponse& response) const {
  size_t ours = own_.size();
  for (const uint64_t modseq : response.own_modseq()) ours += Modseq(modseq) > modseq_ ? 1 : 0;
  return response.state().highest_modseq() > modseq_.value() + ours;
}

void Selected::MarkReported(const mail::MessageRows& rows) {
  for (int i = 0; i < rows.uid_size() && i < rows.modseq_size(); ++i) {
    const Modseq modseq(rows.modseq(i));
    if (modseq <= modseq_) continue;
    // The client does not know a keyword that another session has just made: report the row again.
    if (i < rows.keywords_size() && !NamesAll(rows.keywords(i))) continue;
    reported_[modseq].Add(Uid(rows.uid(i)));
  }
}

void Selected::ApplyOwnStore(const mail::StoreFlagsResponse& response) {
  MarkReported(response.rows());
  for (const uint64_t modseq : response.own_modseq()) {
    if (Modseq(modseq) > modseq_) own_.insert(Modseq(modseq));
  }
  // If all changes between the view and the state are ours, the view is up to date.
  const Modseq highest(response.state().highest_modseq());
  if (!own_.empty() && highest.value() == modseq_.value() + own_.size()) MoveTo(highest);
}

// The view has all changes up to `modseq`.
void Selected::MoveTo(Modseq modseq) {
  modseq_ = std::max(modseq_, modseq);
  reported_.clear();
  own_.clear();
}

bool Selected::AppendExpunges(std::string& out, const Dialect& dialect, size_t limit) {
  if (expunged_.empty()) return false;
  if (exists_changed_) {
    // A message that came and went since the last EXISTS has no number yet for the client.
    const UidSet unknown = expunged_.Intersect(UidSet({{announced_.Next().value(), UINT32_MAX}}));
    map_.Remove(unknown);
    expunged_ = expunged_.Minus(unknown);
    if (expunged_.empty()) return false;
  }
  if (dialect.qresync) {
    absl::StrAppend(&out, "* VANISHED ", expunged_.ToString(), "\r\n");
    map_.Remove(expunged_);
    expunged_ = UidSet();
    return false;
  }
  // From the highest number down: the numbers below stay what they are.
  const size_t batch = std::max<size_t>(limit / 16, 1);
  std::vector<UidSet::Range> left = expunged_.ranges();
  std::vector<UidSet::Range> written;
  size_t count = 0;
  while (!left.empty() && count < batch) {
    UidSet::Range& top = left.back();
    const uint32_t take = static_cast<uint32_t>(std::min<size_t>(batch - count, top.last - top.first + size_t{1}));
    const UidSet::Range part{top.last - take + 1, top.last};
    for (uint32_t i = 0; i < take; ++i) {
      absl::StrAppend(&out, "* ", map_.SequenceOf(Uid(part.last - i)), " EXPUNGE\r\n");
    }
    written.push_back(part);
    count += take;
    if (part.first == top.first) {
      left.pop_back();
    } else {
      top.last = part.first - 1;
    }
  }
  map_.Remove(UidSet(std::move(written)));
  expunged_ = UidSet(std::move(left));
  return !expunged_.empty();
}

bool Selected::AppendUpdates(std::string& out, const Dialect& dialect, size_t limit) {
  if (exists_changed_) {
    absl::StrAppend(&out, "* ", map_.size(), " EXISTS\r\n* ", recent(), " RECENT\r\n");
    exists_changed_ = false;
    announced_ = map_.max_uid();
  }
  if (flags_changed_) {
    AppendFlagsLines(out);
    flags_changed_ = false;
  }
  const size_t start = out.size();
  for (; next_row_ < changed_.size(); ++next_row_) {
    if (out.size() - start >= limit) return true;
    const ChangedRow& row = changed_[next_row_];
    const uint32_t sequence = map_.SequenceOf(row.uid);
    if (sequence == 0) continue;
    absl::StrAppend(&out, "* ", sequence, " FETCH (");
    if (dialect.qresync) absl::StrAppend(&out, "UID ", row.uid.value(), " ");
    AppendFlags(out, row.uid, row.flags, row.keywords);
    if (dialect.condstore) absl::StrAppend(&out, " MODSEQ (", row.modseq.value(), ")");
    out += ")\r\n";
  }
  changed_ = std::vector<ChangedRow>();
  next_row_ = 0;
  return false;
}

}  // namespace posthouse::gateway
