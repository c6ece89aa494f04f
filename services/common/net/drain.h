// DrainAll: the end of a service's listeners.
#pragma once

#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/common/net/connection.h"

namespace posthouse::net {

// How long DrainAll() takes to give `sessions` their turns: 10 ms for each, at most `spread` and half of `grace`. The
// rest of the grace is for what a session does when its turn comes.
absl::Duration DrainSpread(size_t sessions, absl::Duration grace, absl::Duration spread);

// Drains all listeners side by side on `loop`: each has the whole `grace`. Their sessions end over DrainSpread(), so
// that the clients do not come back at once. Logs `sessions_drained` for `service`. Blocks for at most about `grace`,
// so do not call it on an event loop.
void DrainAll(EventLoop& loop, absl::string_view service, const std::vector<Listener*>& listeners, absl::Duration grace,
              absl::Duration spread = absl::ZeroDuration());

}  // namespace posthouse::net
