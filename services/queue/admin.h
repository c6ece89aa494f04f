// Admin: the methods of QueueAdminService.
// Threads: any.
#pragma once

#include <functional>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "posthouse/queue/v1/queue.pb.h"
#include "services/common/async/task.h"
#include "services/queue/schedule/dispatcher.h"
#include "services/queue/spool/spool.h"

namespace posthouse::queue {

class Admin {
 public:
  // All of them outlive it.
  Admin(Spool& spool, ItemOperations& operations, Clock clock, std::function<absl::Duration()> oldest)
      : spool_(spool), operations_(operations), clock_(std::move(clock)), oldest_(std::move(oldest)) {}

  Task<absl::StatusOr<v1::GetItemResponse>> GetItem(v1::GetItemRequest request);
  // Oldest first. A call looks at a bounded number of items, so a page may be shorter than
  // `page_size` and still have a next one.
  Task<absl::StatusOr<v1::ListItemsResponse>> ListItems(v1::ListItemsRequest request);
  // Newest first; items in the queue and done ones.
  Task<absl::StatusOr<v1::FindItemsResponse>> FindItems(v1::FindItemsRequest request);
  Task<absl::StatusOr<v1::RetryItemsResponse>> RetryItems(v1::RetryItemsRequest request);
  Task<absl::StatusOr<v1::DeleteItemResponse>> DeleteItem(v1::DeleteItemRequest request);
  Task<absl::StatusOr<v1::GetStatsResponse>> GetStats(v1::GetStatsRequest request);
  // Reads the whole due index.
  Task<absl::StatusOr<v1::ListDestinationsResponse>> ListDestinations(v1::ListDestinationsRequest request);

 private:
  Task<absl::StatusOr<uint32_t>> RetryHeld();
  // What is known of the blocked sites, by site.
  absl::flat_hash_map<Destination, v1::Block> Blocks();
  // Tells of each waiting recipient whether its destination is blocked.
  void MarkBlocked(const absl::flat_hash_map<Destination, v1::Block>& blocks, v1::Item* item);
  Task<absl::Status> FindBetween(bool done, std::string after, QueueId end, size_t limit,
                                 const v1::FindItemsRequest& request, std::vector<v1::Item>* found);

  Spool& spool_;
  ItemOperations& operations_;
  const Clock clock_;
  const std::function<absl::Duration()> oldest_;
};

}  // namespace posthouse::queue
