#include "services/mailbox/folder/recent_mark.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "posthouse/mailbox/v1/store.pb.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/store/guarded_partition.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"

namespace posthouse::mailbox {
namespace {

// A SELECT waits for its claim. After this time the mark moves in memory.
constexpr absl::Duration kPatience = absl::Seconds(5);

struct RecentState {
  Uid told;
};
struct RecentDraft : store::Draft {
  Uid told;
};

}  // namespace

class RecentModel : public store::GuardedModel<RecentState, RecentDraft> {
 public:
  RecentModel(store::Store& store, store::Partition partition) : store_(store), partition_(std::move(partition)) {}

  Task<absl::StatusOr<store::Loaded<RecentState>>> Load(unsigned /*parts*/) {
    store::ReadRequest request;
    request.partition = partition_;
    request.keys = {RecentKey()};
    PH_CO_ASSIGN_OR_RETURN(store::ReadResult read, co_await store_.Read(std::move(request)));
    store::Loaded<RecentState> loaded{{}, std::move(read.values[0])};
    if (loaded.head.has_value()) {
      // A damaged row costs no mail: the messages are \Recent once more.
      const absl::StatusOr<v1::RecentRow> row = DecodeRow<v1::RecentRow>(*loaded.head);
      log::LogIfError(row.status(), "reading which messages were recent");
      if (row.ok()) loaded.state.told = Uid(row->told());
    }
    co_return loaded;
  }
  void Begin(const RecentState& state, RecentDraft& draft) const { draft.told = state.told; }
  absl::StatusOr<store::SealedDraft> Seal(const RecentState& /*state*/, RecentDraft& draft) {
    v1::RecentRow row;
    row.set_told(draft.told.value());
    row.set_nonce(draft.nonce());
    return store::SealedDraft{EncodeRow(row), std::nullopt, ""};
  }
  void Apply(RecentState& state, RecentDraft& draft) { state.told = draft.told; }

 private:
  store::Store& store_;
  store::Partition partition_;
};

RecentMark::RecentMark(store::Store& store, store::Partition partition, Executor* executor)
    : store_(store), partition_(std::move(partition)), executor_(executor) {}
RecentMark::~RecentMark() = default;

std::shared_ptr<RecentMark::Row> RecentMark::row() {
  absl::MutexLock lock(&mutex_);
  if (row_ == nullptr) {
    store::GuardedOptions options;
    options.store = &store_;
    options.partition = partition_;
    options.head_key = RecentKey();
    options.executor = executor_;
    options.patience = kPatience;
    row_ = std::make_shared<Row>(std::move(options), RecentModel(store_, partition_));
  }
  return row_;
}

Uid RecentMark::Reserve(Uid written, Uid uid) {
  absl::MutexLock lock(&mutex_);
  const Uid before = std::max(reserved_, written);
  reserved_ = std::max(before, uid);
  return before;
}

Task<absl::StatusOr<Uid>> RecentMark::Told() {
  PH_CO_ASSIGN_OR_RETURN(const Uid told, co_await row()->Look([](const RecentState& state) { return state.told; }));
  co_return Reserve(told, Uid());
}

Task<absl::StatusOr<Uid>> RecentMark::Claim(Uid uid) {
  std::optional<Uid> before;
  const absl::Status status =
      co_await row()->Change([&](const RecentState& /*state*/, const store::FetchedRows& /*rows*/, RecentDraft& draft) {
        // When this runs again, another process has claimed up to draft.told; the rest of the
        // reservation is still this caller's.
        before = before.has_value() ? std::max(*before, draft.told) : Reserve(draft.told, uid);
        if (uid <= *before) return store::Verdict::kDone;
        draft.told = uid;
        return store::Verdict::kCommit;
      });
  if (!before.has_value()) co_return status;
  // The row may be either; the reservation holds in this process.
  log::LogIfError(status, "writing which messages were recent");
  co_return *before;
}

}  // namespace posthouse::mailbox
