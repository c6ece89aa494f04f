// Event loops: one thread and one Asio io_context each. Sessions and gRPC handlers run
// on them. Asio stays inside common/net.
//
// Threads: methods may be called from any thread unless they say otherwise.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include "services/common/async/executor.h"

namespace posthouse::net {

// One loop with its thread.
class EventLoop final : public Executor {
 public:
  EventLoop();
  ~EventLoop() override;  // Stop()s
  void Post(absl::AnyInvocable<void()> work) override;
  uint64_t PostAfter(absl::Duration delay, absl::AnyInvocable<void()> work) override;
  bool CancelTimer(uint64_t id) override;
  // Ends the thread after the work that runs now, and joins it. Idempotent.
  void Stop();
  // How long the oldest waiting work has waited: grows while code blocks this loop.
  // Each call posts work to measure with, so call it regularly (/livez does).
  absl::Duration Stalled();

  struct Impl;  // Asio, for common/net only
  Impl& impl() { return *impl_; }

 private:
  const std::unique_ptr<Impl> impl_;
};

// Connections that all listeners of a process may have open together, so that descriptors are left for its other work.
// Threads: any.
class ConnectionBudget {
 public:
  // Before the listeners start. Default: no limit.
  void SetMost(size_t most) { most_ = most; }
  size_t most() const { return most_; }
  size_t taken() const { return taken_; }
  // False: used up. Else call Return() when the connection has ended.
  bool Take() {
    if (taken_.fetch_add(1) < most_) return true;
    taken_.fetch_sub(1);
    return false;
  }
  void Return() { taken_.fetch_sub(1); }

 private:
  std::atomic<size_t> most_{SIZE_MAX};
  std::atomic<size_t> taken_{0};
};

// The process's loops. Next() returns them in turn.
class EventLoops {
 public:
  explicit EventLoops(int threads);
  ~EventLoops();
  EventLoop& Next();
  EventLoop& at(size_t i) { return *loops_[i]; }
  size_t size() const { return loops_.size(); }
  // True when no loop has been stalled for longer than `within`.
  bool Alive(absl::Duration within);
  void Stop();
  // Of the listeners on these loops. A connection that outlives the loops still returns what it took.
  const std::shared_ptr<ConnectionBudget>& connections() const { return connections_; }

 private:
  const std::shared_ptr<ConnectionBudget> connections_ = std::make_shared<ConnectionBudget>();
  std::vector<std::unique_ptr<EventLoop>> loops_;
  std::atomic<size_t> next_{0};
};

}  // namespace posthouse::net
