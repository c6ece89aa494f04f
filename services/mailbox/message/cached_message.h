// BuildCachedMessage: derives a CachedMessage (cache_rows.h) from the parsed message. No I/O.
#pragma once

#include "absl/strings/string_view.h"
#include "services/common/ids/ids.h"
#include "services/mailbox/rows/cache_rows.h"

namespace posthouse::message {
struct Message;
}

namespace posthouse::mailbox {

// BuildCachedMessage() uses at most this much of the message's beginning: more than all the header
// fields that it keeps.
inline constexpr size_t kFirstBytes = 256 * 1024;

// `head` is the beginning of the message, at least the header fields or kFirstBytes of it.
CachedMessage BuildCachedMessage(const message::Message& message, absl::string_view head, const ObjectId& blob);

}  // namespace posthouse::mailbox
