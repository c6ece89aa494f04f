// What a person types after `trace`, as questions to the queue.
#pragma once

#include <vector>

#include "absl/strings/string_view.h"
#include "posthouse/queue/v1/queue.pb.h"

namespace posthouse::ctl {

// 26 characters of a queue id are one; 32 hex digits are a trace id; `<...>` is a
// Message-ID or, since people write addresses so too, an address; anything else with
// an "@" may be either as well; the rest is a Message-ID. Every question that fits is
// asked.
std::vector<queue::v1::FindItemsRequest> QueriesFor(absl::string_view what);

}  // namespace posthouse::ctl
