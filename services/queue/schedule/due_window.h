// DueWindow: the nearest part of the due index, in memory.
//
// Rows t/ are on disk in the order in which they become due. The window has read the
// rows up to cursor(); it reads the rows beyond when there is room, so memory is bounded
// and a start over a million messages reads one page. A row up to the cursor is in the
// window, or its item is claimed, or it was dropped because its destination is blocked.
// Rescan() finds the dropped rows again.
//
// Pure logic with the time passed in. Threads: guarded by its owner.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "services/queue/spool/spool.h"

namespace posthouse::queue {

class DueWindow {
 public:
  explicit DueWindow(size_t capacity) : capacity_(capacity) {}

  // The key after which the next page is to be read.
  const std::string& cursor() const { return cursor_; }
  // Whether a page should be read now: rows that are due at `now` may lie beyond the
  // cursor, or less than half of the room is used.
  bool WantsPage(absl::Time now) const;
  // Takes the page that was read after `after`. False, and nothing is taken, when the
  // cursor has moved since (by a Rescan() or an eviction): read again.
  bool Loaded(const std::string& after, DuePage page);

  // A row that was just committed. The window ignores it when it lies beyond the cursor.
  void Add(DueEntry entry);
  void Remove(absl::Time due, const QueueId& queue_id);

  // Takes out the entries that are due at `now`, at most `limit`.
  std::vector<DueEntry> PopDue(absl::Time now, size_t limit);
  // When the next entry of the window is due; InfiniteFuture when it is empty.
  absl::Time NextDue() const;

  // Begins again at the first row, with an empty window. (Every entry must be a row up to
  // the cursor, else an eviction would move the cursor over rows that were not read.)
  void Rescan();
  size_t size() const { return entries_.size(); }
  bool complete() const { return complete_; }

 private:
  struct Order {
    bool operator()(const DueEntry& a, const DueEntry& b) const {
      return std::tie(a.due, a.queue_id) < std::tie(b.due, b.queue_id);
    }
  };
  bool Seen(const DueEntry& entry) const;
  void Evict();

  const size_t capacity_;
  std::set<DueEntry, Order> entries_;
  std::string cursor_;
  bool complete_ = false;
};

}  // namespace posthouse::queue
