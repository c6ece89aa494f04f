#include "services/common/net/connection_core.h"

#include <openssl/err.h>
#include <sys/socket.h>

namespace posthouse::net {

// False: the result is known already.
bool ConnectionCore::WaitBegins(Side& side) {
  if (closed) {
    side.result = ClosedHere();
    return false;
  }
  if (&side == &read && interrupted) {
    interrupted = false;
    side.result = absl::CancelledError("read interrupted");
    return false;
  }
  return true;
}

void ConnectionCore::Suspend(Side& side, std::coroutine_handle<> handle, Clock::time_point deadline) {
  side.waiting = handle;
  side.deadline = deadline;
  if (!side.armed) {
    side.armed = true;
    const auto type = &side == &read ? asio::socket_base::wait_read : asio::socket_base::wait_write;
    socket.async_wait(type, [self = shared_from_this(), &side](const asio::error_code& error) {
      side.armed = false;
      if (error && self->closed) return;  // CloseNow() has resumed the waiter
      // Readiness with an error: the next system call reports it.
      self->Complete(side, absl::OkStatus());
    });
  }
  SetTimer(side);
}

void ConnectionCore::Complete(Side& side, absl::Status status) {
  if (!side.waiting) return;
  side.result = std::move(status);
  std::exchange(side.waiting, {}).resume();
}

// Keeps a timer that is set for an earlier time: when it fires, it checks the present deadline.
void ConnectionCore::SetTimer(Side& side) {
  if (side.deadline == Clock::time_point::max()) return;
  if (side.timer != 0 && side.timer_due <= side.deadline) return;
  if (side.timer != 0) loop.CancelTimer(side.timer);
  side.timer_due = side.deadline;
  const absl::Duration delay = absl::FromChrono(side.deadline - Clock::now());
  side.timer = loop.PostAfter(delay, [weak = weak_from_this(), &side] {
    const std::shared_ptr<ConnectionCore> self = weak.lock();
    if (self == nullptr) return;
    side.timer = 0;
    if (!side.waiting) return;
    if (Clock::now() >= side.deadline) {
      self->Complete(side, absl::DeadlineExceededError("timed out waiting for the peer"));
    } else {
      self->SetTimer(side);
    }
  });
}

void ConnectionCore::Interrupt() {
  if (closed) return;
  if (read.waiting) {
    Complete(read, absl::CancelledError("read interrupted"));
  } else {
    interrupted = true;
  }
}

void ConnectionCore::Drain() {
  draining = true;
  Interrupt();
}

void ConnectionCore::CloseNow() {
  if (closed) return;
  closed = true;
  const int fd = socket.native_handle();
  if (ssl != nullptr) {
    ERR_clear_error();
    if (SSL_is_init_finished(ssl.get())) SSL_shutdown(ssl.get());  // close_notify, if it can be sent now
  }
  // Half-close and read what the peer has sent: closing with unread input would send a
  // reset, which can destroy the last reply on its way.
  ::shutdown(fd, SHUT_WR);
  char* const scratch = loop.impl().scratch.get();
  for (int i = 0; i < 16 && ::recv(fd, scratch, EventLoop::Impl::kScratchBytes, MSG_DONTWAIT) > 0; ++i) {
  }
  asio::error_code ignored;
  socket.close(ignored);
  for (Side* side : {&read, &write}) {
    if (side->timer != 0) loop.CancelTimer(std::exchange(side->timer, 0));
    Complete(*side, ClosedHere());
  }
}

}  // namespace posthouse::net
