#include "services/common/store/rocks/recent_rows.h"

#include <utility>

namespace posthouse::store {

const std::optional<std::string>* RecentRows::Find(absl::string_view key) const {
  const auto it = values_.find(key);
  return it == values_.end() ? nullptr : it->second;
}

void RecentRows::Note(const EncodedRow& row) {
  // Erased first: the map's key must be a view of the newest holder.
  const auto it = values_.find(row.key);
  if (it != values_.end()) values_.erase(it);
  values_.emplace(row.key, &row.value);
}

void RecentRows::Keep(uint64_t batch, std::vector<std::unique_ptr<CommitOp>> ops) {
  size_t bytes = 0;
  for (const auto& op : ops) bytes += op->bytes;
  bytes_ += bytes;
  batches_.push_back({batch, bytes, std::move(ops)});
  while (bytes_ > max_bytes_) EvictOldest();
}

void RecentRows::Forget(uint64_t batch) {
  values_.clear();
  batches_.clear();
  bytes_ = 0;
  floor_ = batch;
}

void RecentRows::EvictOldest() {
  Batch oldest = std::move(batches_.front());
  batches_.pop_front();
  for (const auto& op : oldest.ops) {
    for (const EncodedRow& row : op->rows) {
      const auto it = values_.find(row.key);
      if (it != values_.end() && it->second == &row.value) values_.erase(it);
    }
  }
  bytes_ -= oldest.bytes;
  floor_ = oldest.number;
}

}  // namespace posthouse::store
