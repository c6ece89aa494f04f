// ActiveItem: a loaded item while jobs or operators work on it, with the changes that are
// not committed yet. dispatcher.h says who changes it when.
// Threads: any, under the locks that the members name.
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

// One recipient's part in a report to the sender. The report is committed together with
// the state that it reports.
struct Notice {
  int index = 0;  // of the recipient
  dsn::Action action = dsn::Action::kFailed;
};

// A finished report: an item of its own.
struct ReportItem {
  std::shared_ptr<ItemRecord> record;
  Body body;
};

// Changes of the record that are not committed.
struct Unsaved {
  LedgerDelta ledger;
  std::set<int> changed;
  std::vector<Notice> notices;      // to be written
  std::vector<ReportItem> reports;  // to be committed
  bool urgent = false;              // a remote host has accepted the message: commit now
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
  const std::shared_ptr<const std::string> memory;  // the message; null: read it from the spool
  const QueueId queue_id;
};

}  // namespace posthouse::queue
