#include "services/queue/spool/spool_batch.h"

#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "services/queue/spool/key_schema.h"

namespace posthouse::queue {
namespace {

// Room for the head row.
constexpr size_t kMaxBatchMutations = store::kMaxMutations - 1;
constexpr size_t kMaxBatchBytes = store::kMaxCommitBytes - 64 * 1024;

size_t BytesOf(const Change& change) {
  size_t bytes = change.idempotency_key.size() + 16;
  for (const store::Mutation& m : change.mutations) bytes += m.key.size() + (m.value ? m.value->size() : 0);
  return bytes;
}

class Merger {
 public:
  explicit Merger(store::CommitRequest* request) : request_(request) {}
  void Add(const store::Mutation& mutation) {
    const auto [it, fresh] = index_.try_emplace(mutation.key, request_->mutations.size());
    if (fresh) {
      request_->mutations.push_back(mutation);
    } else {
      request_->mutations[it->second].value = mutation.value;
    }
  }

 private:
  store::CommitRequest* const request_;
  absl::flat_hash_map<std::string, size_t> index_;
};

}  // namespace

std::vector<PendingChange> TakeBatch(std::deque<PendingChange>* pending) {
  std::vector<PendingChange> batch;
  size_t mutations = 0;
  size_t bytes = 0;
  absl::flat_hash_set<std::string> keys;
  while (!pending->empty() && batch.size() < kMaxBatchChanges) {
    const Change& next = pending->front().change;
    mutations += next.mutations.size();
    bytes += BytesOf(next);
    if (!batch.empty() && (mutations > kMaxBatchMutations || bytes > kMaxBatchBytes)) break;
    if (!next.idempotency_key.empty() && !keys.insert(next.idempotency_key).second) break;
    batch.push_back(std::move(pending->front()));
    pending->pop_front();
  }
  return batch;
}

v1::Head NextHead(v1::Head head, const std::vector<PendingChange>& batch, uint64_t sequence) {
  LedgerDelta sum;
  for (const PendingChange& p : batch) sum += p.change.ledger;
  head.set_sequence(sequence);
  head.set_accepted(head.accepted() + static_cast<uint64_t>(sum.accepted));
  head.set_delivered(head.delivered() + static_cast<uint64_t>(sum.delivered));
  head.set_relayed(head.relayed() + static_cast<uint64_t>(sum.relayed));
  head.set_failed(head.failed() + static_cast<uint64_t>(sum.failed));
  head.set_expired(head.expired() + static_cast<uint64_t>(sum.expired));
  head.set_deleted(head.deleted() + static_cast<uint64_t>(sum.deleted));
  head.set_items(head.items() + static_cast<uint64_t>(sum.items));
  return head;
}

store::CommitRequest ToRequest(const store::Partition& partition, const std::string& head_key,
                               const std::string& old_head, const std::string& new_head,
                               const std::vector<PendingChange>& batch) {
  store::CommitRequest request{.partition = partition};
  request.preconditions.push_back({head_key, old_head});
  request.mutations.push_back({head_key, new_head});
  if (batch.size() == 1) {
    const Change& only = batch[0].change;
    request.mutations.insert(request.mutations.end(), only.mutations.begin(), only.mutations.end());
  }
  Merger merger(&request);
  for (const PendingChange& p : batch) {
    for (const std::string& blob : p.change.needs_blobs) request.needs_blobs.push_back({kStoreTenant, blob});
    if (!p.change.idempotency_key.empty()) {
      request.preconditions.push_back({IdempotencyRowKey(p.change.idempotency_key), std::nullopt});
    }
    if (batch.size() == 1) break;
    for (const store::Mutation& m : p.change.mutations) merger.Add(m);
  }
  return request;
}

store::CommitRequest ToRemovals(const store::Partition& partition, const std::string& head_key,
                                const std::string& old_head, const std::vector<PendingChange>& batch) {
  store::CommitRequest request{.partition = partition};
  request.preconditions.push_back({head_key, old_head});
  Merger merger(&request);
  for (const PendingChange& p : batch) {
    for (const store::Mutation& m : p.change.mutations) {
      if (!m.value.has_value()) merger.Add(m);
    }
  }
  return request;
}

}  // namespace posthouse::queue
