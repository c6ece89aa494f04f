#include "services/queue/spool/spool_model.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/common/status/status.h"
#include "services/queue/spool/key_schema.h"

namespace posthouse::queue {

absl::StatusOr<store::Verdict> DecideChange(const Change& change, const store::FetchedRows& rows, SpoolDraft& draft,
                                            std::optional<QueueId>* duplicate_of) {
  if (!change.idempotency_key.empty()) {
    std::string key = IdempotencyRowKey(change.idempotency_key);
    if (const std::optional<std::string>* known = rows.Find(key); known != nullptr && known->has_value()) {
      v1::IdempotencyRow row;
      PH_RETURN_IF_ERROR(DecodeValue(**known, &row));
      *duplicate_of = QueueId::FromText(row.queue_id());
      if (!duplicate_of->has_value()) return absl::DataLossError("an idempotency row has no queue id");
      return store::Verdict::kDone;
    }
    draft.GuardAbsent(std::move(key));
  }
  for (const store::Mutation& m : change.mutations) {
    if (draft.store_is_full() && !change.from_reserve && m.value.has_value()) continue;
    draft.Put(m.key, m.value);
  }
  for (const std::string& blob : change.needs_blobs) draft.NeedBlob(blob);
  draft.ledger += change.ledger;
  draft.drop_blobs.insert(draft.drop_blobs.end(), change.drop_blobs.begin(), change.drop_blobs.end());
  return store::Verdict::kCommit;
}

v1::Head NextHead(v1::Head head, const LedgerDelta& delta) {
  head.set_accepted(head.accepted() + static_cast<uint64_t>(delta.accepted));
  head.set_delivered(head.delivered() + static_cast<uint64_t>(delta.delivered));
  head.set_relayed(head.relayed() + static_cast<uint64_t>(delta.relayed));
  head.set_failed(head.failed() + static_cast<uint64_t>(delta.failed));
  head.set_expired(head.expired() + static_cast<uint64_t>(delta.expired));
  head.set_deleted(head.deleted() + static_cast<uint64_t>(delta.deleted));
  head.set_items(head.items() + static_cast<uint64_t>(delta.items));
  return head;
}

SpoolModel::SpoolModel(store::Store& store, store::Partition partition, uint64_t owner,
                       std::shared_ptr<LastHead> last_head, std::function<void(std::vector<std::string>)> dropped)
    : store_(&store),
      partition_(std::move(partition)),
      owner_(owner),
      last_head_(std::move(last_head)),
      dropped_(std::move(dropped)) {}

Task<absl::StatusOr<store::Loaded<v1::Head>>> SpoolModel::Load(unsigned) {
  store::ReadRequest request{.partition = partition_, .keys = {HeadKey()}};
  PH_CO_ASSIGN_OR_RETURN(store::ReadResult read, co_await store_->Read(std::move(request)));
  store::Loaded<v1::Head> loaded;
  loaded.head = std::move(read.values[0]);
  if (loaded.head.has_value()) {
    const absl::Status readable = DecodeValue(*loaded.head, &loaded.state);
    if (!readable.ok())
      co_return absl::FailedPreconditionError(absl::StrCat("head of the spool: ", readable.message()));
  }
  if (taken_over_ && (loaded.state.owner() != owner_ || loaded.state.epoch() != epoch_)) {
    co_return absl::FailedPreconditionError(absl::StrCat("fenced: another process has opened ", partition_.id));
  }
  sequence_ = std::max(sequence_, loaded.state.sequence());
  last_head_->Set(loaded.state);
  co_return loaded;
}

absl::StatusOr<store::SealedDraft> SpoolModel::Seal(const v1::Head& head, SpoolDraft& draft) {
  draft.head = NextHead(head, draft.ledger);
  if (!taken_over_) {
    draft.head.set_epoch(head.epoch() + 1);
    draft.head.set_owner(owner_);
  }
  draft.head.set_released_epoch(draft.release ? draft.head.epoch() : 0);
  draft.head.set_sequence(++sequence_);
  return store::SealedDraft{.head = EncodeValue(draft.head)};
}

void SpoolModel::Apply(v1::Head& head, SpoolDraft& draft) {
  head = std::move(draft.head);
  taken_over_ = true;
  epoch_ = head.epoch();
  last_head_->Set(head);
}

void SpoolModel::Committed(const SpoolDraft& draft) {
  if (!draft.drop_blobs.empty()) dropped_(draft.drop_blobs);
}

}  // namespace posthouse::queue
