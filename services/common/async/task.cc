#include "services/common/async/task.h"

#include <utility>

#include "services/common/status/status.h"

namespace posthouse {
namespace internal {

void ResumeOn(Executor* executor, std::coroutine_handle<> handle) {
  if (executor == nullptr) {
    handle.resume();
  } else {
    executor->Post([handle] { handle.resume(); });
  }
}

void OnAbandonedCallback() {
  if (!kAbandonedCallbackAborts) return;
  CheckFailed(__FILE__, __LINE__, "a callback of AwaitCallback() was destroyed and never called");
}

}  // namespace internal

void Spawn(Executor& executor, Task<void> task) {
  executor.Post([task = std::move(task)]() mutable { internal::RunDetached(std::move(task)); });
}

}  // namespace posthouse
