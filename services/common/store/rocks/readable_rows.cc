#include "services/common/store/rocks/readable_rows.h"

#include <algorithm>
#include <memory>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "services/common/store/rocks/key_encoding.h"
#include "services/common/store/rocks/rocks_status.h"

namespace posthouse::store {
namespace {

absl::string_view View(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

// One family of a database, read without the cache.
class Family {
 public:
  Family(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* family, const std::string& end)
      : db_(db), family_(family), end_(end), upper_(end_) {
    options_.fill_cache = false;
    options_.verify_checksums = true;
    if (!end_.empty()) options_.iterate_upper_bound = &upper_;
  }
  // A new iterator for each place: one that met damage keeps its error.
  std::unique_ptr<rocksdb::Iterator> From(const std::string& key) const {
    std::unique_ptr<rocksdb::Iterator> it(db_.NewIterator(options_, family_));
    it->Seek(key);
    return it;
  }
  // Whether a walk can go on at the first key from `key` on; the end is readable, too.
  bool ReadableFrom(const std::string& key) const {
    const std::unique_ptr<rocksdb::Iterator> it = From(key);
    return it->Valid() || it->status().ok();
  }

 private:
  rocksdb::DB& db_;
  rocksdb::ColumnFamilyHandle* const family_;
  const std::string end_;
  const rocksdb::Slice upper_;
  rocksdb::ReadOptions options_;
};

// The key in the middle of two, as fractions in base 256.
std::string Middle(const std::string& low, const std::string& high, size_t length) {
  std::string sum(length, 0);
  int carry = 0;
  for (size_t i = length; i-- > 0;) {
    const int digit = carry + (i < low.size() ? static_cast<unsigned char>(low[i]) : 0) +
                      (i < high.size() ? static_cast<unsigned char>(high[i]) : 0);
    sum[i] = static_cast<char>(digit & 0xff);
    carry = digit >> 8;
  }
  for (size_t i = 0; i < length; ++i) {
    const int digit = carry << 8 | static_cast<unsigned char>(sum[i]);
    sum[i] = static_cast<char>(digit >> 1);
    carry = digit & 1;
  }
  return sum;
}

// At the first readable key after the damage behind `last`; not valid when there is none.
std::unique_ptr<rocksdb::Iterator> SkipDamage(const Family& family, const std::string& last) {
  // Keys that differ only after this many bytes count as one.
  constexpr size_t kPrecision = 256;
  std::string low = absl::StrCat(last, absl::string_view("\0", 1));
  std::string high;
  // Away from `last` in growing steps, so that the nearest readable key is found.
  bool found = false;
  for (size_t length = low.size(); length > 0 && !found; --length) {
    high = PrefixEnd(low.substr(0, length));
    if (high.empty()) break;
    found = family.ReadableFrom(high);
    if (!found) low = high;
  }
  if (!found) {
    high = "\xff";  // after all keys
    if (!family.ReadableFrom(high)) return family.From(high);
  }
  const size_t length = std::max({low.size(), high.size(), kPrecision});
  while (true) {
    const std::string middle = Middle(low, high, length);
    if (middle <= low || middle >= high) break;
    (family.ReadableFrom(middle) ? high : low) = middle;
  }
  return family.From(high);
}

std::string Key(absl::string_view encoded, absl::string_view prefix) {
  return absl::CHexEscape(encoded.substr(std::min(encoded.size(), prefix.size())));
}

}  // namespace

absl::Status WalkReadable(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* family, const std::string& begin,
                          const std::string& end,
                          const std::function<absl::Status(absl::string_view key, absl::string_view value)>& row,
                          const std::function<void(const Unreadable&)>& lost) {
  const Family readable(db, family, end);
  std::string last;
  std::unique_ptr<rocksdb::Iterator> it = readable.From(begin);
  while (true) {
    for (; it->Valid(); it->Next()) {
      last = it->key().ToString();
      if (absl::Status status = row(last, View(it->value())); !status.ok()) return status;
    }
    if (it->status().ok()) return absl::OkStatus();
    if (!it->status().IsCorruption() && !it->status().IsIOError() && !it->status().IsPathNotFound()) {
      return FromRocks(it->status(), "reading");
    }
    Unreadable range{last, std::nullopt, it->status()};
    it = SkipDamage(readable, std::max(last, begin));
    if (it->Valid()) range.before = it->key().ToString();
    lost(range);
    if (!it->Valid()) return absl::OkStatus();
  }
}

namespace {

std::string Words(const std::string& first, const std::optional<std::string>& last, bool bodies, bool inclusive) {
  const absl::string_view from = inclusive ? "from " : "after ", to = inclusive ? " to " : " and before ";
  if (bodies) {
    return absl::StrCat("message bodies ", from, absl::CHexEscape(first), to,
                        last.has_value() ? absl::CHexEscape(*last) : "the end");
  }
  const std::optional<Partition> of_first = PartitionOfRowKey(first);
  const std::optional<Partition> of_last = last.has_value() ? PartitionOfRowKey(*last) : std::optional<Partition>();
  const auto position = [](const std::optional<Partition>& partition, const std::string& key) {
    return partition.has_value() ? absl::StrCat("row ", Key(key, PartitionPrefix(*partition)), " of ", partition->id)
                                 : absl::CHexEscape(key);
  };
  if (of_first.has_value() && of_first == of_last) {
    const std::string prefix = PartitionPrefix(*of_first);
    return absl::StrCat("rows of ", of_first->id, " ", from, Key(first, prefix), to, Key(*last, prefix));
  }
  return absl::StrCat("rows ", from, first.empty() ? "the start" : position(of_first, first), to,
                      last.has_value() ? position(of_last, *last) : "the end");
}

}  // namespace

std::string Describe(const Unreadable& range, bool bodies) {
  return Words(range.after, range.before, bodies, /*inclusive=*/false);
}

std::string DescribeInclusive(const std::string& first, const std::string& last, bool bodies) {
  return Words(first, last, bodies, /*inclusive=*/true);
}

}  // namespace posthouse::store
