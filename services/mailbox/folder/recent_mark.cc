#include "services/mailbox/folder/recent_mark.h"

#include <algorithm>
#include <utility>

#include "posthouse/mailbox/v1/store.pb.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"

namespace posthouse::mailbox {
namespace {

constexpr int kTries = 5;  // against other processes

}  // namespace

Task<absl::Status> RecentMark::Load() {
  if (loaded_) co_return absl::OkStatus();
  store::ReadRequest request;
  request.partition = partition_;
  request.keys = {RecentKey()};
  PH_CO_ASSIGN_OR_RETURN(store::ReadResult read, co_await store_.Read(std::move(request)));
  row_ = std::move(read.values[0]);
  if (row_.has_value()) {
    // A damaged row costs no mail: the messages are \Recent once more.
    const absl::StatusOr<v1::RecentRow> row = DecodeRow<v1::RecentRow>(*row_);
    log::LogIfError(row.status(), "reading which messages were recent");
    if (row.ok()) told_ = std::max(told_, Uid(row->told()));
  }
  loaded_ = true;
  co_return absl::OkStatus();
}

Task<absl::StatusOr<Uid>> RecentMark::Told() {
  const AsyncMutex::Guard guard = co_await mutex_.Lock();
  PH_CO_RETURN_IF_ERROR(co_await Load());
  co_return told_;
}

Task<absl::StatusOr<Uid>> RecentMark::Claim(Uid uid) {
  const AsyncMutex::Guard guard = co_await mutex_.Lock();
  for (int tries = 0;; ++tries) {
    PH_CO_RETURN_IF_ERROR(co_await Load());
    const Uid before = told_;
    if (uid <= before) co_return before;
    v1::RecentRow row;
    row.set_told(uid.value());
    std::string encoded = EncodeRow(row);
    store::CommitRequest commit;
    commit.partition = partition_;
    commit.preconditions = {{RecentKey(), row_}};
    commit.mutations = {{RecentKey(), encoded}};
    const absl::Status status = co_await store_.Commit(std::move(commit));
    if (absl::IsAborted(status) && tries + 1 < kTries) {
      loaded_ = false;
      continue;
    }
    told_ = uid;
    if (status.ok()) {
      row_ = std::move(encoded);
    } else {
      // The row may be either; memory goes on from here.
      loaded_ = false;
      log::LogIfError(status, "writing which messages were recent");
    }
    co_return before;
  }
}

}  // namespace posthouse::mailbox
