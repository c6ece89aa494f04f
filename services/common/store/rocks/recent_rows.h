// RecentRows: the changes of the last batches. With them the committer knows whether
// a value that was read before a request joined the queue is still the value.
//
//   seen_batch   the newest batch that was readable when the value was read
//   Find(key)    the row's value now, when a remembered batch touched it
//   Covers(n)    every batch after n is remembered, so a value seen at n is still right
//                unless Find() has another
//
// It keeps the requests themselves, not copies. Threads: the committer's only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "services/common/store/rocks/commit_op.h"

namespace posthouse::store {

class RecentRows {
 public:
  explicit RecentRows(size_t max_bytes) : max_bytes_(max_bytes) {}

  // Null: not remembered. Else the value, or nothing when the row was removed.
  const std::optional<std::string>* Find(absl::string_view key) const;
  bool Covers(uint64_t seen_batch) const { return seen_batch >= floor_; }

  // Remembers a row of the batch being assembled. `row` must stay in place until
  // Keep() or Forget() takes its batch.
  void Note(const EncodedRow& row);
  // Takes over the requests of a written batch, and forgets the oldest batches.
  void Keep(uint64_t batch, std::vector<std::unique_ptr<CommitOp>> ops);
  // Forgets everything: values seen before `batch` are not covered.
  void Forget(uint64_t batch);

 private:
  struct Batch {
    uint64_t number;
    size_t bytes;
    std::vector<std::unique_ptr<CommitOp>> ops;
  };
  void EvictOldest();

  const size_t max_bytes_;
  uint64_t floor_ = 0;
  size_t bytes_ = 0;
  std::deque<Batch> batches_;
  // Keys and values point into `batches_`, or into the batch being assembled.
  absl::flat_hash_map<absl::string_view, const std::optional<std::string>*> values_;
};

}  // namespace posthouse::store
