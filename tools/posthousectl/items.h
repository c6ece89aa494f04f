// How a queued or done message is shown: `queue list`, `queue show` and `trace`.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace posthouse::queue::v1 {
class Item;
}

namespace posthouse::ctl {

// Row of a table and its head.
std::vector<std::string> ItemHead();
std::vector<std::string> ItemRow(const queue::v1::Item& item, absl::Time now);

// Everything known about one message, over several lines: who sent it when, what became
// of each recipient, and every attempt that is remembered.
std::string DescribeItem(const queue::v1::Item& item, absl::Time now);

}  // namespace posthouse::ctl
