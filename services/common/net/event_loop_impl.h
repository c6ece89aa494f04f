// The implementation of EventLoop, for common/net only.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <thread>
#include <utility>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"
#include "services/common/net/event_loop.h"

namespace posthouse::net {

struct EventLoop::Impl {
  using Clock = std::chrono::steady_clock;
  using Work = absl::AnyInvocable<void()>;

  Impl() : guard(asio::make_work_guard(io)), timer(io) {}

  // One Asio timer serves all deadlines. Most of them are cancelled before they are due;
  // these cost two map operations and no system call.
  void Arm();
  void OnTimer();

  asio::io_context io{1};
  asio::executor_work_guard<asio::io_context::executor_type> guard;
  asio::steady_timer timer;  // loop thread only
  std::thread thread;
  std::atomic<int64_t> prod_posted_nanos{0};  // 0: no prod outstanding
  // Where reads land before they are copied out: idle connections own no buffer.
  std::unique_ptr<char[]> scratch{new char[kScratchBytes]};
  static constexpr size_t kScratchBytes = 64 * 1024;

  absl::Mutex mutex;
  uint64_t last_id ABSL_GUARDED_BY(mutex) = 0;
  std::map<std::pair<Clock::time_point, uint64_t>, Work> timers ABSL_GUARDED_BY(mutex);
  absl::flat_hash_map<uint64_t, Clock::time_point> due ABSL_GUARDED_BY(mutex);
  Clock::time_point armed_for ABSL_GUARDED_BY(mutex) = Clock::time_point::max();
};

}  // namespace posthouse::net
