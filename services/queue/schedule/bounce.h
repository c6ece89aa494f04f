// Bounce: makes reports (dsn/) and the items that carry them. Pure; threads: stateless.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "services/queue/schedule/active_item.h"
#include "services/queue/spool/item_record.h"

namespace posthouse::queue {

struct BounceOptions {
  std::string hostname;
  absl::Duration expire_after = absl::Hours(24 * 5);
  // A message up to this size is returned whole when the sender asked for it (RET=FULL).
  uint64_t max_return_bytes = 50000;
};

// How many bytes of the message a report returns; 0: its header only.
uint64_t ReturnBytes(const v1::Item& item, const std::vector<Notice>& notices, const BounceOptions& options);

// The report on `notices`; `content` is the message (when `full`) or its first bytes.
dsn::Report MakeReport(const v1::Item& item, const std::vector<Notice>& notices, std::string content, bool full,
                       const QueueId& queue_id, absl::Time now, const BounceOptions& options);

// The report as an item to the message's sender, with the null reverse-path
// (RFC 3461 §6.1, RFC 5321 §4.5.5).
std::shared_ptr<ItemRecord> NewReportRecord(const v1::Item& item, const dsn::Composed& composed, const Body& body,
                                            absl::Time now, const BounceOptions& options);

}  // namespace posthouse::queue
