#include "services/common/net/drain.h"

#include <utility>

#include "services/common/async/task.h"
#include "services/common/async/when_all.h"

namespace posthouse::net {
namespace {

Task<bool> Drain(Listener* listener, absl::Duration grace) {
  co_await listener->Drain(grace);
  co_return true;  // WhenAll() needs a result
}

Task<void> Run(EventLoop& loop, const std::vector<Listener*>& listeners, absl::Duration grace) {
  co_await SwitchTo(loop);
  std::vector<Task<bool>> drains;
  for (Listener* listener : listeners) drains.push_back(Drain(listener, grace));
  co_await WhenAll(std::move(drains));
}

}  // namespace

void DrainAll(EventLoop& loop, const std::vector<Listener*>& listeners, absl::Duration grace) {
  SyncWait(Run(loop, listeners, grace));
}

}  // namespace posthouse::net
