// WhenAll: runs several tasks at once and waits for all of them.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "services/common/async/task.h"

namespace posthouse {

namespace internal {
template <typename T>
Task<void> StoreAndCount(Task<T> task, std::optional<T>* slot, std::shared_ptr<absl::AnyInvocable<void()>> arrive) {
  slot->emplace(co_await std::move(task));
  (*arrive)();
}
}  // namespace internal

// Runs all tasks concurrently (each starts here, on the current executor) and
// returns their results in order when the last is done.
template <typename T>
Task<std::vector<T>> WhenAll(std::vector<Task<T>> tasks) {
  std::vector<std::optional<T>> slots(tasks.size());
  if (!tasks.empty()) {
    co_await AwaitCallback<bool>([&](absl::AnyInvocable<void(bool)> done) {
      auto left = std::make_shared<std::atomic<size_t>>(tasks.size());
      auto finish = std::make_shared<absl::AnyInvocable<void(bool)>>(std::move(done));
      auto arrive = std::make_shared<absl::AnyInvocable<void()>>([left, finish] {
        if (left->fetch_sub(1, std::memory_order_acq_rel) == 1) (*finish)(true);
      });
      for (size_t i = 0; i < slots.size(); ++i) {
        SpawnHere(internal::StoreAndCount(std::move(tasks[i]), &slots[i], arrive));
      }
    });
  }
  std::vector<T> results;
  results.reserve(slots.size());
  for (auto& slot : slots) results.push_back(*std::move(slot));
  co_return results;
}

}  // namespace posthouse
