// Intake: what an Enqueue call must be, and the item made of it. Pure.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/queue/spool/item_record.h"

namespace posthouse::queue {

// The contract of queue.proto; kInvalidArgument names the field.
absl::Status CheckHeader(const v1::EnqueueRequest::Header& header);

// The item, without id and body. `header`'s envelope is moved from.
std::shared_ptr<ItemRecord> NewItemRecord(v1::EnqueueRequest::Header* header, absl::Time now,
                                          absl::Duration expire_after);

// The Message-ID field's value as far as `bytes` (the message's front) shows it,
// unfolded and cut at 500 bytes; "" when there is none.
std::string MessageIdOf(absl::string_view bytes);

}  // namespace posthouse::queue
