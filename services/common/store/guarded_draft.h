// What a decider of a GuardedPartition works with: the rows that were read for it, and the
// draft of the commit that it adds to. Values without I/O; tests of deciders make their own.
// The whole picture: guarded_partition.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "services/common/store/store.h"

namespace posthouse::store {

// What a decider answers.
enum class Verdict {
  kCommit,    // commit what this decider added to the draft
  kNeedRows,  // read what Draft::Need() named, with the head of the same instant, and ask again
  kDone,      // nothing to change; what the decider saw is the answer
};
class Draft;

// Rows read at one instant, together with the head that the state shows, for all deciders
// of a commit. Rows that an earlier decider set or removed are as that decider left them.
class FetchedRows {
 public:
  // Null: the row was not read. Else its value, or nullopt when there is no such row.
  const std::optional<std::string>* Find(absl::string_view key) const;
  // The value; "" when the row is absent or was not read.
  absl::string_view Value(absl::string_view key) const;
  // By the primitive, and by tests of deciders.
  void Put(std::string key, std::optional<std::string> value) { rows_[std::move(key)] = std::move(value); }
  void Overlay(const Draft* draft) { draft_ = draft; }

 private:
  friend class GuardedCore;
  absl::flat_hash_map<std::string, std::optional<std::string>> rows_;
  const Draft* draft_ = nullptr;
};

// One commit in the making. A model derives its own draft, which adds the head to be.
class Draft {
 public:
  virtual ~Draft() = default;
  void Set(std::string key, std::string value) { Put(std::move(key), std::move(value)); }
  void Remove(std::string key) { Put(std::move(key), std::nullopt); }
  void Put(std::string key, std::optional<std::string> value);
  // Preconditions beside the head. When one does not hold, the decider runs again and finds
  // the row in FetchedRows. Guard only rows that no decider of this commit has changed.
  void Guard(std::string key, std::optional<std::string> value) {
    guards_.push_back({std::move(key), std::move(value)});
  }
  void GuardAbsent(std::string key) { Guard(std::move(key), std::nullopt); }
  // Names rows to read. `return draft.Need({...});`
  Verdict Need(std::vector<std::string> keys);
  // Rows of another partition, committed at the same time; a failure costs nothing but them.
  void Beside(CommitRequest request) { beside_.push_back(std::move(request)); }
  // A finished blob of the partition's tenant that must be durable with this commit.
  void NeedBlob(std::string name) { needs_blobs_.push_back(std::move(name)); }
  const std::vector<std::string>& needs_blobs() const { return needs_blobs_; }
  // The store has no room for this change as it was drafted before. The decider may draft
  // less, which is then written with the reserve (ChangeOptions::use_reserve).
  bool store_is_full() const { return full_; }
  void SetStoreIsFull() { full_ = true; }  // by the primitive, and by tests of deciders
  // Random, one for each commit; it makes the log row (or the head) differ from any other's.
  uint64_t nonce() const { return nonce_; }
  // The mutation of `key` in this draft; null: none.
  const Mutation* Find(absl::string_view key) const;
  const std::vector<Mutation>& mutations() const { return mutations_; }
  const std::vector<Precondition>& guards() const { return guards_; }
  const std::vector<std::string>& needed() const { return needed_; }
  size_t bytes() const { return bytes_; }  // of the mutations

 private:
  friend class GuardedCore;
  std::vector<Mutation> mutations_;
  absl::flat_hash_map<std::string, size_t> index_;  // key -> place in mutations_
  std::vector<Precondition> guards_;
  std::vector<std::string> needed_;
  std::vector<CommitRequest> beside_;
  std::vector<std::string> needs_blobs_;
  size_t bytes_ = 0;
  uint64_t nonce_ = 0;
  bool full_ = false;
};

// What Model::Seal makes of a draft.
struct SealedDraft {
  std::string head;  // the new head row, different from every earlier one; unused by kCompareRow
  // The log row, which holds the nonce. kCompareRow needs one, and kHead with a log. Without a
  // log the head of a kHead holds the nonce; if another writer replaces that head before an
  // unknown outcome is found out, the outcome stays unknown.
  std::optional<Row> proof;
  std::string cancelled;  // kCompareRow: what takes the proof row's place when the change is given up
};
}  // namespace posthouse::store
