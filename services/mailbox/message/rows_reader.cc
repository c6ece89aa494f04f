#include "services/mailbox/message/rows_reader.h"

#include <algorithm>
#include <utility>

#include "services/common/status/status.h"

namespace posthouse::mailbox {
namespace {

// A page row costs about a quarter of a point read.
constexpr uint64_t kDense = 4;

using Values = std::vector<std::optional<std::string>>;

Task<absl::StatusOr<Values>> ReadTogether(store::Store& store, store::Partition partition, const char* prefix,
                                          std::string (*key_of)(Uid), const std::vector<Uid>& uids) {
  std::vector<std::optional<std::string>> out(uids.size());
  if (uids.empty()) co_return out;
  store::ReadRequest request;
  request.partition = partition;
  const uint64_t span = uint64_t{uids.back().value()} - uids.front().value() + 1;
  if (uids.size() < 8 || span > kDense * uids.size()) {
    for (const Uid uid : uids) request.keys.push_back(key_of(uid));
    PH_CO_ASSIGN_OR_RETURN(store::ReadResult read, co_await store.Read(std::move(request)));
    co_return std::move(read.values);
  }
  request.prefix = prefix;
  request.after = key_of(Uid(uids.front().value() - 1));
  size_t next = 0;
  const std::string end = key_of(uids.back());
  while (next < uids.size()) {
    request.limit = std::min<uint64_t>(store::kMaxPageRows, span);
    PH_CO_ASSIGN_OR_RETURN(store::ReadResult read, co_await store.Read(request));
    for (store::Row& row : read.page) {
      while (next < uids.size() && key_of(uids[next]) < row.key) ++next;
      if (next < uids.size() && key_of(uids[next]) == row.key) out[next++] = std::move(row.value);
    }
    if (!read.more || read.page.back().key >= end) break;
    request.after = read.page.back().key;
  }
  co_return out;
}

}  // namespace

Task<absl::StatusOr<Values>> ReadRows(store::Store& store, store::Partition partition, const char* prefix,
                                      std::string (*key_of)(Uid), const std::vector<Uid>& uids,
                                      std::vector<absl::Status>* damaged) {
  damaged->clear();
  absl::StatusOr<Values> together = co_await ReadTogether(store, partition, prefix, key_of, uids);
  if (!absl::IsDataLoss(together.status())) co_return together;
  Values out(uids.size());
  for (size_t i = 0; i < uids.size(); ++i) {
    store::ReadRequest request;
    request.partition = partition;
    request.keys = {key_of(uids[i])};
    absl::StatusOr<store::ReadResult> read = co_await store.Read(std::move(request));
    damaged->push_back(read.status());
    if (read.ok()) {
      out[i] = std::move(read->values[0]);
    } else if (!absl::IsDataLoss(read.status())) {
      co_return read.status();
    }
  }
  co_return out;
}

}  // namespace posthouse::mailbox
