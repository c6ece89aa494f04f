#include "services/common/net/drain.h"

#include <algorithm>
#include <utility>

#include "services/common/async/task.h"
#include "services/common/async/when_all.h"
#include "services/common/log/log.h"

namespace posthouse::net {
namespace {

// A login of a client that comes back costs the directory and the mailbox a few milliseconds each.
constexpr absl::Duration kPerSession = absl::Milliseconds(10);

Task<bool> Drain(Listener* listener, absl::Duration grace, absl::Duration spread) {
  co_await listener->Drain(grace, spread);
  co_return true;  // WhenAll() needs a result
}

Task<void> Run(EventLoop& loop, const std::vector<Listener*>& listeners, absl::Duration grace, absl::Duration spread) {
  co_await SwitchTo(loop);
  std::vector<Task<bool>> drains;
  for (Listener* listener : listeners) drains.push_back(Drain(listener, grace, spread));
  co_await WhenAll(std::move(drains));
}

}  // namespace

absl::Duration DrainSpread(size_t sessions, absl::Duration grace, absl::Duration spread) {
  return std::min({kPerSession * static_cast<double>(sessions), spread, grace / 2});
}

void DrainAll(EventLoop& loop, absl::string_view service, const std::vector<Listener*>& listeners, absl::Duration grace,
              absl::Duration spread) {
  size_t sessions = 0;
  for (const Listener* listener : listeners) sessions += listener->open();
  const absl::Duration used = DrainSpread(sessions, grace, spread);
  SyncWait(Run(loop, listeners, grace, used));
  uint64_t cut = 0;
  for (const Listener* listener : listeners) cut += listener->stats().cut;
  LOG_EVENT(kInfo, "sessions_drained")
      .Str("of", service)
      .Int("sessions", static_cast<int64_t>(sessions))
      .Int("cut", static_cast<int64_t>(cut))
      .Seconds("spread", used);
}

}  // namespace posthouse::net
