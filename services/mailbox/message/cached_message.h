// Derives what is cached of a message (cache_rows.h) from its parsed form. No I/O.
#pragma once

#include "absl/strings/string_view.h"
#include "services/common/ids/ids.h"
#include "services/mailbox/rows/cache_rows.h"

namespace posthouse::message {
struct Message;
}

namespace posthouse::mailbox {

// How much of a message's beginning BuildCachedMessage() wants at most: more than the header
// fields that are kept.
inline constexpr size_t kFirstBytes = 256 * 1024;

// `head` is the message's beginning, as far as it is in memory.
CachedMessage BuildCachedMessage(const message::Message& message, absl::string_view head, const ObjectId& blob);

}  // namespace posthouse::mailbox
