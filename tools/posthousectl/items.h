// How a queued or done message is shown: `queue list`, `queue show` and `trace`; and what ingress refused: `trace`.
// Threads: stateless.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace posthouse::ingress::v1 {
class Refusal;
}
namespace posthouse::queue::v1 {
class DestinationState;
class Item;
}  // namespace posthouse::queue::v1

namespace posthouse::ctl {

// A row of the table of `queue list`, and the head of that table.
std::vector<std::string> ItemHead();
std::vector<std::string> ItemRow(const queue::v1::Item& item, absl::Time now);

// Several lines on one message: who sent it and when, the state of each recipient, and every attempt that the queue
// remembers.
std::string DescribeItem(const queue::v1::Item& item, absl::Time now);
// Several lines on what ingress refused: what and why, from whom to whom, and the reply.
std::string DescribeRefusal(const ingress::v1::Refusal& refusal);

// A row of the table of `queue destinations`, and the head of that table.
std::vector<std::string> DestinationHead();
std::vector<std::string> DestinationRow(const queue::v1::DestinationState& state, absl::Time now);

}  // namespace posthouse::ctl
