#include "services/queue/schedule/due_window.h"

#include <tuple>

#include "services/queue/spool/key_schema.h"

namespace posthouse::queue {

bool DueWindow::WantsPage(absl::Time now) const {
  if (complete_) return false;
  if (entries_.size() < capacity_ / 2) return true;
  const std::optional<DueKeyParts> at = ParseDueKey(cursor_);
  return entries_.size() < capacity_ && (!at.has_value() || at->due <= now);
}

bool DueWindow::Seen(const DueEntry& entry) const { return complete_ || DueKey(entry.due, entry.queue_id) <= cursor_; }

bool DueWindow::Loaded(const std::string& after, DuePage page) {
  if (after != cursor_ || complete_) return false;
  if (!page.last_key.empty()) cursor_ = page.last_key;
  complete_ = !page.more;
  for (DueEntry& entry : page.entries) entries_.insert(std::move(entry));
  Evict();
  return true;
}

void DueWindow::Add(DueEntry entry) {
  if (!Seen(entry)) return;
  entries_.insert(std::move(entry));
  Evict();
}

void DueWindow::Evict() {
  while (entries_.size() > capacity_) {
    entries_.erase(std::prev(entries_.end()));
    const DueEntry& last = *std::prev(entries_.end());
    cursor_ = DueKey(last.due, last.queue_id);
    complete_ = false;
  }
}

void DueWindow::Remove(absl::Time due, const QueueId& queue_id) {
  entries_.erase({.due = due, .queue_id = queue_id, .destination = {}, .wake = due});
}

std::vector<DueEntry> DueWindow::PopDue(absl::Time now, size_t limit) {
  std::vector<DueEntry> due;
  while (!entries_.empty() && entries_.begin()->due <= now && due.size() < limit) {
    due.push_back(std::move(entries_.extract(entries_.begin()).value()));
  }
  return due;
}

absl::Time DueWindow::NextDue() const { return entries_.empty() ? absl::InfiniteFuture() : entries_.begin()->due; }

void DueWindow::Rescan() {
  entries_.clear();
  cursor_.clear();
  complete_ = false;
}

}  // namespace posthouse::queue
