#include "services/common/store/guarded_draft.h"

#include <iterator>

namespace posthouse::store {

const std::optional<std::string>* FetchedRows::Find(absl::string_view key) const {
  if (draft_ != nullptr) {
    if (const Mutation* drafted = draft_->Find(key); drafted != nullptr) return &drafted->value;
  }
  const auto row = rows_.find(key);
  return row == rows_.end() ? nullptr : &row->second;
}

absl::string_view FetchedRows::Value(absl::string_view key) const {
  const std::optional<std::string>* row = Find(key);
  return row != nullptr && row->has_value() ? absl::string_view(**row) : absl::string_view();
}

void Draft::Put(std::string key, std::optional<std::string> value) {
  bytes_ += key.size() + (value.has_value() ? value->size() : 0);
  const auto [place, added] = index_.try_emplace(key, mutations_.size());
  if (added) {
    mutations_.push_back({std::move(key), std::move(value)});
  } else {
    mutations_[place->second].value = std::move(value);
  }
}

Verdict Draft::Need(std::vector<std::string> keys) {
  std::move(keys.begin(), keys.end(), std::back_inserter(needed_));
  return Verdict::kNeedRows;
}

const Mutation* Draft::Find(absl::string_view key) const {
  const auto place = index_.find(key);
  return place == index_.end() ? nullptr : &mutations_[place->second];
}
}  // namespace posthouse::store
