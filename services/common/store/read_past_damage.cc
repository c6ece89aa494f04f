#include "services/common/store/read_past_damage.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace posthouse::store {
namespace {

// More octets would only name the end of a range more exactly.
constexpr size_t kMaxOctets = 64;

// Finds the least key with readable rows behind it.
class EndOfDamage {
 public:
  // Reading `request`, of one row, fails.
  EndOfDamage(Store& store, ReadRequest request)
      : store_(store), request_(std::move(request)), low_(std::max(request_.after, request_.prefix)) {}

  Task<std::optional<std::string>> Find() {
    std::string common = request_.prefix;
    // From the failing key on in growing steps: most damage is short.
    for (size_t length = low_.size(); length > request_.prefix.size(); --length) {
      std::string end = PrefixEnd(low_.substr(0, length));
      if (!end.starts_with(request_.prefix) || end.empty()) continue;
      if (co_await Readable(end)) {
        high_ = std::move(end);
        common = low_.substr(0, length - 1);
        break;
      }
      low_ = std::move(end);
      length = std::min(length, low_.size());
    }
    for (size_t octets = 0; octets < kMaxOctets; ++octets) {
      int bad = -1, good = 256;
      while (good - bad > 1) {
        const int middle = (bad + good) / 2;
        std::string probe = common + static_cast<char>(middle);
        if (co_await Readable(probe)) {
          good = middle;
          high_ = std::move(probe);
        } else {
          bad = middle;
        }
      }
      if (good == 256 || bad < 0) break;  // no end is nearer
      common += static_cast<char>(bad);
    }
    co_return high_;
  }

 private:
  Task<bool> Readable(std::string key) {
    if (key <= low_) co_return false;
    if (high_.has_value() && key >= *high_) co_return true;
    request_.after = std::move(key);
    co_return !absl::IsDataLoss((co_await store_.Read(request_)).status());
  }

  Store& store_;
  ReadRequest request_;
  std::string low_;                  // nothing behind it can be read
  std::optional<std::string> high_;  // something can
};

}  // namespace

Task<absl::StatusOr<ReadResult>> ReadPastDamage(Store& store, ReadRequest request,
                                                std::function<void(const LostKeys&)> lost) {
  const size_t limit = request.limit;
  while (true) {
    absl::StatusOr<ReadResult> read = co_await store.Read(request);
    if (!absl::IsDataLoss(read.status())) co_return read;
    if (request.limit > 1) {
      request.limit = 1;  // up to the damaged rows
      continue;
    }
    EndOfDamage end(store, request);
    std::optional<std::string> next = co_await end.Find();
    lost({std::max(request.after, request.prefix), next, read.status()});
    if (!next.has_value()) co_return ReadResult();
    request.after = *std::move(next);
    request.limit = limit;
  }
}

}  // namespace posthouse::store
