// ActiveItem: an item while somebody works on it: loaded, with what was found out
// and not yet committed. See dispatcher.h for who does what to it.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "services/common/async/sync.h"
#include "services/queue/dsn/report.h"
#include "services/queue/spool/item_record.h"
#include "services/queue/spool/spool.h"

namespace posthouse::queue {

// Something the sender is to be told, in the commit that makes it true.
struct Notice {
  int index = 0;  // of the recipient
  dsn::Action action = dsn::Action::kFailed;
};

// A finished report: an item of its own.
struct ReportItem {
  std::shared_ptr<ItemRecord> record;
  Body body;
};

// What the record has and the store has not.
struct Unsaved {
  LedgerDelta ledger;
  std::set<int> changed;
  std::vector<Notice> notices;      // to be written
  std::vector<ReportItem> reports;  // to be committed
  bool urgent = false;              // a remote host has taken something: commit now
  bool any() const { return !changed.empty() || !notices.empty() || !reports.empty(); }
};

struct ActiveItem {
  ActiveItem(std::shared_ptr<ItemRecord> r, std::shared_ptr<const std::string> m)
      : stored_due(r->due()), record(std::move(r)), memory(std::move(m)), queue_id(record->queue_id()) {}

  AsyncMutex save;    // one commit of this item at a time
  absl::Mutex mutex;  // short; never across an await
  // Of the row t/ in the store. Changed under `save`.
  absl::Time stored_due ABSL_GUARDED_BY(mutex);
  const std::shared_ptr<ItemRecord> record;  // its content is guarded by `mutex`
  Unsaved unsaved ABSL_GUARDED_BY(mutex);
  bool settled ABSL_GUARDED_BY(mutex) = false;      // committed as done
  const std::shared_ptr<const std::string> memory;  // the message, when it is at hand
  const QueueId queue_id;
};

}  // namespace posthouse::queue
