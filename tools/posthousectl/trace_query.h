// Turns what a person types after `trace` into queries to the queue and to ingress.
// Threads: stateless.
#pragma once

#include <vector>

#include "absl/strings/string_view.h"
#include "posthouse/ingress/v1/ingress.pb.h"
#include "posthouse/queue/v1/queue.pb.h"

namespace posthouse::ctl {

// Returns every query that fits `what`; their results are to be merged. 26 letters and digits are a queue id, 32 hex
// digits a trace id, each with one query. Other text is a Message-ID, with or without angle brackets; if it has an "@"
// it is also an address, which gives two queries.
std::vector<queue::v1::FindItemsRequest> QueriesFor(absl::string_view what);

// What ingress may have refused: 32 hex digits are a trace id, text with an "@" is an address, an IP address is a
// client's. Other text gives no query: ingress remembers neither queue ids nor Message-IDs.
std::vector<ingress::v1::FindRefusalsRequest> RefusalQueriesFor(absl::string_view what);

}  // namespace posthouse::ctl
