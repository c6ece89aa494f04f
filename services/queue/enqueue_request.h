// EnqueueRequest: checks what an Enqueue call sends, and makes the item. Pure.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/queue/spool/item_record.h"

namespace posthouse::queue {

// kInvalidArgument with the field's name when the header breaks the contract of queue.proto; kOutOfRange when it has
// more recipients, or a larger envelope, than an item can have.
absl::Status CheckHeader(const v1::EnqueueRequest::Header& header);

// The item, without id and body. Moves the envelope out of `header`.
std::shared_ptr<ItemRecord> NewItemRecord(v1::EnqueueRequest::Header* header, absl::Time now,
                                          absl::Duration expire_after);

// The value of the Message-ID field in `bytes`, the first bytes of a message: unfolded, cut
// at 500 bytes; "" when there is none.
std::string MessageIdOf(absl::string_view bytes);

}  // namespace posthouse::queue
