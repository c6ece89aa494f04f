#include "services/common/store/rocks/encoded_read.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/common/store/rocks/key_encoding.h"
#include "services/common/store/rocks/point_read.h"

namespace posthouse::store {
namespace {

constexpr size_t kInlineKeys = 128;
constexpr size_t kInlinePage = 256;

absl::string_view View(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

}  // namespace

EncodedRead::EncodedRead(const ReadRequest& request)
    : limit_(request.limit), partition_(PartitionPrefix(request.partition)) {
  for (const std::string& key : request.keys) keys_.push_back(absl::StrCat(partition_, key));
  if (limit_ == 0) return;
  const bool from_prefix = request.after < request.prefix || request.after.empty();
  start_ = from_prefix ? absl::StrCat(partition_, request.prefix)
                       : absl::StrCat(partition_, request.after, absl::string_view("\0", 1));
  end_ = PrefixEnd(absl::StrCat(partition_, request.prefix));
}

bool EncodedRead::small() const { return keys_.size() <= kInlineKeys && limit_ <= kInlinePage; }

rocksdb::Status EncodedRead::Run(rocksdb::DB& db, rocksdb::ReadOptions options) {
  result_ = {};
  // One key, one MultiGet and one iterator each see one instant by themselves.
  const rocksdb::Snapshot* snapshot = nullptr;
  if (limit_ > 0 && !keys_.empty()) options.snapshot = snapshot = db.GetSnapshot();
  rocksdb::Status status = ReadKeys(db, options);
  if (status.ok() && limit_ > 0) status = ReadPage(db, options);
  if (snapshot != nullptr) db.ReleaseSnapshot(snapshot);
  return status;
}

rocksdb::Status EncodedRead::ReadKeys(rocksdb::DB& db, const rocksdb::ReadOptions& options) {
  const size_t count = keys_.size();
  result_.values.resize(count);
  if (count == 0) return rocksdb::Status::OK();
  std::vector<rocksdb::PinnableSlice> values;
  std::vector<rocksdb::Status> statuses;
  GetKeys(db, options, db.DefaultColumnFamily(), keys_, &values, &statuses);
  for (size_t i = 0; i < count; ++i) {
    if (statuses[i].IsNotFound()) continue;
    if (!statuses[i].ok()) return statuses[i];
    result_.values[i].emplace(values[i].data(), values[i].size());
  }
  return rocksdb::Status::OK();
}

rocksdb::Status EncodedRead::ReadPage(rocksdb::DB& db, rocksdb::ReadOptions options) {
  const rocksdb::Slice upper(end_);
  options.iterate_upper_bound = &upper;
  const std::unique_ptr<rocksdb::Iterator> it(db.NewIterator(options));
  for (it->Seek(start_); it->Valid(); it->Next()) {
    if (result_.page.size() == limit_) {
      result_.more = true;
      break;
    }
    const absl::string_view key = View(it->key()).substr(partition_.size());
    result_.page.push_back({std::string(key), it->value().ToString()});
  }
  // The rows before a damaged block are read; the next page tells of the damage.
  if (it->status().IsCorruption() && !result_.page.empty()) {
    result_.more = true;
    return rocksdb::Status::OK();
  }
  return it->status();
}

EncodedList::EncodedList(const std::string& tenant, const std::string& prefix, const std::string& after, size_t limit)
    : limit_(limit) {
  const std::string tenant_prefix = TenantPrefix(tenant);
  start_ = after < prefix || after.empty() ? absl::StrCat(tenant_prefix, prefix)
                                           : PrefixEnd(PartitionPrefix({tenant, after}));
  end_ = PrefixEnd(absl::StrCat(tenant_prefix, prefix));
}

rocksdb::Status EncodedList::Run(rocksdb::DB& db, rocksdb::ReadOptions options) {
  found_.clear();
  const rocksdb::Slice upper(end_);
  options.iterate_upper_bound = &upper;
  const std::unique_ptr<rocksdb::Iterator> it(db.NewIterator(options));
  // One seek a partition: its rows are skipped.
  for (it->Seek(start_); it->Valid() && found_.size() < limit_; it->Seek(PrefixEnd(PartitionPrefix(found_.back())))) {
    std::optional<Partition> partition = PartitionOfRowKey(View(it->key()));
    if (!partition.has_value()) return rocksdb::Status::Corruption("malformed row key");
    found_.push_back(*std::move(partition));
  }
  return it->status();
}

}  // namespace posthouse::store
