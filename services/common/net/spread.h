// SpreadOver: when each of many things happens, so that they do not happen at once.
// Threads: stateless.
#pragma once

#include <cstddef>
#include <vector>

#include "absl/random/bit_gen_ref.h"
#include "absl/time/time.h"

namespace posthouse::net {

// `count` ascending times from now, evenly over [0, over): one in each `count`th of it, at a random place there. All
// zero when `over` is not above zero.
std::vector<absl::Duration> SpreadOver(size_t count, absl::Duration over, absl::BitGenRef random);

}  // namespace posthouse::net
