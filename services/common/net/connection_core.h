// ConnectionCore: the socket of a connection and the coroutines that wait for it. For
// common/net only.
#pragma once

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <utility>

#include <asio/ip/tcp.hpp>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/common/net/connection.h"
#include "services/common/net/event_loop_impl.h"
#include "services/common/net/tls_impl.h"

namespace posthouse::net {

// The socket and its waiters. Shared with other threads and with callbacks that run
// after the connection has gone; used on the loop's thread only.
struct ConnectionCore : std::enable_shared_from_this<ConnectionCore> {
  using Clock = std::chrono::steady_clock;

  // One direction. `armed`: Asio has a wait pending. A wait that timed out stays armed
  // and serves the next wait: cancelling it would cancel the other direction's, too.
  struct Side {
    std::coroutine_handle<> waiting;
    absl::Status result;
    bool armed = false;
    Clock::time_point deadline;
    uint64_t timer = 0;  // 0: none; may be set for an earlier deadline than `deadline`
    Clock::time_point timer_due;
  };

  ConnectionCore(EventLoop& event_loop, asio::ip::tcp::socket s) : loop(event_loop), socket(std::move(s)) {}

  bool WaitBegins(Side& side);
  void Suspend(Side& side, std::coroutine_handle<> handle, Clock::time_point deadline);
  void Complete(Side& side, absl::Status status);
  void SetTimer(Side& side);
  void Interrupt();
  // The listener drains, and it is this connection's turn.
  void Drain();
  void CloseNow();

  EventLoop& loop;
  asio::ip::tcp::socket socket;
  Side read, write;
  bool interrupted = false;
  bool draining = false;
  bool closed = false;
  SslPtr ssl;
};

// Suspends until the side is ready or has failed, or its deadline has passed.
struct ReadinessAwaiter {
  ConnectionCore& core;
  ConnectionCore::Side& side;
  ConnectionCore::Clock::time_point deadline;
  bool await_ready() const { return !core.WaitBegins(side); }
  void await_suspend(std::coroutine_handle<> handle) const { core.Suspend(side, handle, deadline); }
  absl::Status await_resume() const { return std::move(side.result); }
};

// What every call on a closed connection answers.
inline absl::Status ClosedHere() { return absl::UnavailableError("connection is closed"); }

}  // namespace posthouse::net
