#include "services/queue/spool/hold.h"

#include <string>
#include <utility>
#include <vector>

#include "services/common/async/when_all.h"
#include "services/common/status/status.h"
#include "services/common/time/proto_time.h"
#include "services/queue/spool/item_record.h"

namespace posthouse::queue {
namespace {

constexpr size_t kPage = 256;

// False: nothing of the item waits, or it is held.
bool Hold(ItemRecord* record, absl::Duration delay_warning_after, Change* change) {
  const absl::Time old_due = record->due();
  std::vector<int> changed;
  for (int i = 0; i < record->item.recipients_size(); ++i) {
    v1::ItemRecipient* recipient = record->item.mutable_recipients(i);
    if (!IsWaiting(*recipient) || FromProto(recipient->next_attempt()) == kHeldUntil) continue;
    ToProto(kHeldUntil, recipient->mutable_next_attempt());
    changed.push_back(i);
  }
  if (changed.empty()) return false;
  RefreshNextAttempt(&record->item);
  AddUpdate(record, old_due, WakeTime(record->item, delay_warning_after), changed, change);
  return true;
}

}  // namespace

Task<absl::StatusOr<uint64_t>> HoldAll(Spool& spool, absl::Duration delay_warning_after) {
  uint64_t held = 0;
  std::string after;
  while (true) {
    PH_CO_ASSIGN_OR_RETURN(ItemPage page, co_await spool.ReadItems(/*done=*/false, after, kPage));
    std::vector<Task<absl::Status>> commits;
    for (ItemRecord& record : page.items) {
      Change change;
      if (Hold(&record, delay_warning_after, &change)) commits.push_back(spool.Commit(std::move(change)));
    }
    for (const absl::Status& status : co_await WhenAll(std::move(commits))) {
      PH_CO_RETURN_IF_ERROR(status);
      ++held;
    }
    if (!page.more) co_return held;
    after = page.last_id;
  }
}

}  // namespace posthouse::queue
