// A ledger: the small partition that tests of GuardedPartition change. Tests only.
//
//   H               "<sequence> <count> <epoch> <owner> <nonce>"
//   e/<id>          "<position>": positions count from 0 in the order of commits
//   q/<sequence>    "<nonce> <id> <id> ...": what one commit added; the newest kLogRows
//
// A linear history shows in the rows: every position below `count` has one entry.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "services/common/async/task.h"
#include "services/common/status/status.h"
#include "services/common/store/guarded_partition.h"
#include "services/common/store/store.h"

namespace posthouse::store {

struct LedgerHead {
  uint64_t sequence = 0;
  uint64_t count = 0;
  uint64_t epoch = 0;
  std::string owner = "-";

  std::string Encode(uint64_t nonce) const {
    return absl::StrCat(sequence, " ", count, " ", epoch, " ", owner, " ", nonce);
  }
  static absl::StatusOr<LedgerHead> Decode(const std::string& row) {
    const std::vector<std::string> parts = absl::StrSplit(row, ' ');
    LedgerHead head;
    if (parts.size() != 5 || !absl::SimpleAtoi(parts[0], &head.sequence) || !absl::SimpleAtoi(parts[1], &head.count) ||
        !absl::SimpleAtoi(parts[2], &head.epoch)) {
      return absl::DataLossError("damaged head");
    }
    head.owner = parts[3];
    return head;
  }
};

struct LedgerState {
  LedgerHead head;
  std::optional<std::vector<std::string>> entries;  // by position, when LedgerModel::kEntries was asked for
};

struct LedgerDraft : Draft {
  LedgerHead head;
  std::vector<std::string> added;
  bool claims = false;
};

class LedgerModel : public GuardedModel<LedgerState, LedgerDraft> {
 public:
  static constexpr unsigned kEntries = 1;
  static constexpr uint64_t kLogRows = 16;
  static std::string EntryKey(const std::string& id) { return "e/" + id; }
  static std::string LogKey(uint64_t sequence) { return absl::StrFormat("q/%012d", sequence); }

  // With an `owner`, a head of another owner is refused once this one has claimed it.
  LedgerModel(Store& store, Partition partition, std::string owner = "")
      : store_(&store), partition_(std::move(partition)), owner_(std::move(owner)) {}

  Task<absl::StatusOr<Loaded<LedgerState>>> Load(unsigned parts) {
    ++loads;
    Loaded<LedgerState> loaded;
    std::map<uint64_t, std::string> entries;
    ReadRequest request{.partition = partition_, .keys = {"H"}};
    if ((parts & kEntries) != 0) {
      request.prefix = "e/";
      request.limit = 50;
    }
    for (bool first = true, more = true; more; first = false) {
      PH_CO_ASSIGN_OR_RETURN(const ReadResult read, co_await store_->Read(request));
      if (!first && read.values[0] != loaded.head) co_return absl::AbortedError("the ledger changed");
      loaded.head = read.values[0];
      for (const Row& row : read.page) {
        uint64_t position = 0;
        if (!absl::SimpleAtoi(row.value, &position)) co_return absl::DataLossError("damaged entry");
        entries[position] = row.key.substr(2);
        request.after = row.key;
      }
      more = read.more;
    }
    if (loaded.head.has_value()) {
      PH_CO_ASSIGN_OR_RETURN(loaded.state.head, LedgerHead::Decode(*loaded.head));
    }
    if (claimed_ && loaded.state.head.owner != owner_) co_return absl::FailedPreconditionError("fenced");
    if ((parts & kEntries) != 0) {
      loaded.state.entries.emplace();
      for (const auto& [position, id] : entries) {
        if (position != loaded.state.entries->size()) co_return absl::DataLossError("a position is missing");
        loaded.state.entries->push_back(id);
      }
    }
    co_return loaded;
  }
  bool Has(const LedgerState& state, unsigned parts) const { return parts == 0 || state.entries.has_value(); }
  void Begin(const LedgerState& state, LedgerDraft& draft) const { draft.head = state.head; }
  absl::StatusOr<SealedDraft> Seal(const LedgerState&, LedgerDraft& draft) {
    ++draft.head.sequence;
    if (draft.head.sequence > kLogRows) draft.Remove(LogKey(draft.head.sequence - kLogRows));
    SealedDraft sealed;
    sealed.head = draft.head.Encode(draft.nonce());
    // An owned head proves itself; one that any writer replaces needs the log row.
    if (owner_.empty()) {
      std::string log = absl::StrCat(draft.nonce());
      for (const std::string& id : draft.added) absl::StrAppend(&log, " ", id);
      sealed.proof = Row{LogKey(draft.head.sequence), log};
    }
    return sealed;
  }
  void Apply(LedgerState& state, LedgerDraft& draft) {
    state.head = draft.head;
    if (draft.claims) claimed_ = true;
    if (!state.entries.has_value()) return;
    state.entries->insert(state.entries->end(), draft.added.begin(), draft.added.end());
  }
  void Committed(const LedgerDraft& draft) { committed += draft.added.size(); }
  std::string LogPosition(const LedgerState& state) const { return LogKey(state.head.sequence); }
  absl::StatusOr<bool> Patch(LedgerState& state, const std::string& head, const std::vector<Row>& log) {
    for (const Row& row : log) {
      if (row.key != LogKey(state.head.sequence + 1)) return false;
      std::vector<std::string> parts = absl::StrSplit(row.value, ' ');
      ++state.head.sequence;
      if (state.entries.has_value()) state.entries->insert(state.entries->end(), parts.begin() + 1, parts.end());
    }
    const uint64_t sequence = state.head.sequence;
    PH_ASSIGN_OR_RETURN(state.head, LedgerHead::Decode(head));
    ++patches;
    return state.head.sequence == sequence && (!state.entries.has_value() || state.entries->size() == state.head.count);
  }

  const std::string& owner() const { return owner_; }
  int loads = 0;
  int patches = 0;
  size_t committed = 0;  // entries of commits that landed, as this object knows

 private:
  Store* store_;
  Partition partition_;
  std::string owner_;
  bool claimed_ = false;
};

using Ledger = GuardedPartition<LedgerModel>;

// Adds `id` once; `position` is where it is, also when it was there before. A decider.
inline auto AddEntry(std::string id, uint64_t* position) {
  return [id = std::move(id), position](const LedgerState&, const FetchedRows& rows,
                                        LedgerDraft& draft) -> absl::StatusOr<Verdict> {
    const std::string key = LedgerModel::EntryKey(id);
    if (const std::optional<std::string>* row = rows.Find(key); row != nullptr && row->has_value()) {
      if (!absl::SimpleAtoi(**row, position)) return absl::DataLossError("damaged entry");
      return Verdict::kDone;
    }
    *position = draft.head.count++;
    draft.GuardAbsent(key);
    draft.Set(key, absl::StrCat(*position));
    draft.added.push_back(id);
    return Verdict::kCommit;
  };
}

}  // namespace posthouse::store
