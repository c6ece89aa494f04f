// The end of a service's listeners.
#pragma once

#include <vector>

#include "absl/time/time.h"
#include "services/common/net/connection.h"

namespace posthouse::net {

// Drains all of them side by side, so that a slow session of one takes nothing from the
// grace of the others. Blocks for at most about `grace`; not on an event loop. `loop` is
// where the drains run.
void DrainAll(EventLoop& loop, const std::vector<Listener*>& listeners, absl::Duration grace);

}  // namespace posthouse::net
