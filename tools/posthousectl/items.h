// How a queued or done message is shown: `queue list`, `queue show` and `trace`.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace posthouse::queue::v1 {
class Item;
}

namespace posthouse::ctl {

// A row of the table of `queue list`, and the head of that table.
std::vector<std::string> ItemHead();
std::vector<std::string> ItemRow(const queue::v1::Item& item, absl::Time now);

// Several lines on one message: who sent it and when, the state of each recipient, and every attempt that the queue
// remembers.
std::string DescribeItem(const queue::v1::Item& item, absl::Time now);

}  // namespace posthouse::ctl
