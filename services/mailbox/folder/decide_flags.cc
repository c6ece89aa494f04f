// DecideFlags: STORE for one batch of messages. Every change takes a modseq of its own, also
// when several share a commit: a session recognises its own change by it.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "services/common/status/status.h"
#include "services/mailbox/folder/folder_deciders.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"

namespace posthouse::mailbox {
namespace {

using Mode = FlagChange::Mode;

// Leaves room for messages: a change of more keywords is refused.
constexpr size_t kMaxNewKeywords = FolderDraft::kMaxChangeRows - 100;

// Keyword bits have no trailing zero byte.
std::string MergeBits(Mode mode, const std::string& had, const std::string& given) {
  if (mode == Mode::kReplace) return given;
  std::string out = had;
  if (mode == Mode::kAdd) out.resize(std::max(had.size(), given.size()));
  for (size_t i = 0; i < std::min(out.size(), given.size()); ++i) {
    out[i] = static_cast<char>(mode == Mode::kAdd ? out[i] | given[i] : out[i] & ~given[i]);
  }
  while (!out.empty() && out.back() == 0) out.pop_back();
  return out;
}

uint32_t MergeFlags(Mode mode, uint32_t had, uint32_t given) {
  if (mode == Mode::kReplace) return given;
  return mode == Mode::kAdd ? had | given : had & ~given;
}

}  // namespace

absl::StatusOr<store::Verdict> DecideFlags(const FolderState& state, const store::FetchedRows& rows, FolderDraft& draft,
                                           const UidSet& uids, Uid after, const FlagChange& change,
                                           BatchAnswer& answer) {
  answer = {};
  // A keyword that the folder does not know need not be made to be taken away.
  const NewKeyword unknown = change.mode == Mode::kRemove ? NewKeyword::kNeverMake : NewKeyword::kMake;
  PH_ASSIGN_OR_RETURN(const FolderDraft::KeywordPlan keywords,
                      draft.PlanKeywords(state, change.keywords, unknown, kMaxNewKeywords));
  const size_t batch = std::min(kBatchMessages, FolderDraft::kMaxChangeRows - keywords.added.size());
  struct NewFlags {
    MessageFlags had;
    size_t place;  // in answer.messages
  };
  std::vector<NewFlags> changes;
  std::vector<std::string> keys;
  std::vector<MessageMeta> chosen = state.index->Select(uids, after, batch + 1);
  answer.more = chosen.size() > batch;
  if (answer.more) chosen.pop_back();
  for (const MessageMeta& meta : chosen) {
    answer.last_uid = meta.uid;
    const std::optional<MessageFlags> had = draft.Find(state, meta);
    if (!had.has_value()) continue;
    MessageFlags next = *had;
    if (change.unchanged_since.has_value() && had->modseq > *change.unchanged_since) {
      answer.modified.Add(meta.uid);
    } else {
      next.flags = MergeFlags(change.mode, had->flags, change.flags);
      next.keyword_bits = MergeBits(change.mode, had->keyword_bits, keywords.bits);
    }
    const bool changed = next != *had;
    if (changed) {
      changes.push_back({*had, answer.messages.size()});
      keys.push_back(MessageKey(meta.uid));
    }
    if (changed || !change.only_changed) answer.messages.push_back(std::move(next));
  }
  if (changes.empty()) return store::Verdict::kDone;
  if (std::any_of(keys.begin(), keys.end(), [&](const std::string& key) { return rows.Find(key) == nullptr; })) {
    return draft.Need(std::move(keys));
  }
  std::vector<v1::MessageRow> stored;
  for (size_t i = 0; i < changes.size(); ++i) {
    const absl::StatusOr<v1::MessageRow> row = DecodeRow<v1::MessageRow>(rows.Value(keys[i]));
    if (!row.ok()) return Annotate(row.status(), absl::StrCat("message ", changes[i].had.uid.value()));
    stored.push_back(*row);
  }
  draft.TakeKeywords(keywords);
  answer.own_modseq = draft.TakeModseq();
  for (size_t i = 0; i < changes.size(); ++i) {
    MessageFlags& next = answer.messages[changes[i].place];
    next.modseq = answer.own_modseq;
    stored[i].set_modseq(next.modseq.value());
    stored[i].set_flags(next.flags);
    stored[i].set_keywords(next.keyword_bits);
    draft.ChangeFlags(changes[i].had, std::move(stored[i]));
  }
  return store::Verdict::kCommit;
}

}  // namespace posthouse::mailbox
