// DrainAll: the end of a service's listeners.
#pragma once

#include <vector>

#include "absl/time/time.h"
#include "services/common/net/connection.h"

namespace posthouse::net {

// Drains all listeners side by side on `loop`: each has the whole `grace`. Blocks for at
// most about `grace`, so do not call it on an event loop.
void DrainAll(EventLoop& loop, const std::vector<Listener*>& listeners, absl::Duration grace);

}  // namespace posthouse::net
