// DueWindow: the nearest part of the due index, in memory.
//
// Rows t/ are on disk in the order in which they become due. The window has read
// them up to cursor(); what lies beyond is read when there is room, so memory is
// bounded and a start over a million messages reads one page. Rows up to the
// cursor are in the window, taken by somebody, or were dropped on purpose (their
// destination is blocked); Rescan() finds the dropped ones again.
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
  // Whether a page should be read now: what is due at `now` has not all been seen,
  // or less than half of the room is used.
  bool WantsPage(absl::Time now) const;
  // The page read after cursor() (as it was then: a page that a Rescan() or an
  // eviction overtook is read again, and false is returned).
  bool Loaded(const std::string& after, DuePage page);

  // A row that was just committed. Beyond the cursor it is left to the disk.
  void Add(DueEntry entry);
  void Remove(absl::Time due, const QueueId& queue_id);

  // Entries due at `now` or to be looked at for another reason, at most `limit`.
  std::vector<DueEntry> PopDue(absl::Time now, size_t limit);
  // When the next entry of the window is due; InfiniteFuture when it is empty.
  absl::Time NextDue() const;

  // Begins again at the first row, with nothing: whatever the window holds is a row up
  // to the cursor, else an eviction would move the cursor over rows not seen yet.
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
