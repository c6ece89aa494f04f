#include "services/common/net/event_loop.h"

#include <algorithm>
#include <csignal>
#include <vector>

#include <asio/post.hpp>

#include "services/common/net/event_loop_impl.h"

namespace posthouse::net {
namespace {

int64_t NowNanos() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

}  // namespace

EventLoop::EventLoop() : impl_(std::make_unique<Impl>()) {
  // OpenSSL writes to sockets without MSG_NOSIGNAL; a peer that left must not end the process.
  std::signal(SIGPIPE, SIG_IGN);
  impl_->thread = std::thread([this] {
    const Executor::Scope scope(this);
    impl_->io.run();
  });
}

EventLoop::~EventLoop() { Stop(); }

void EventLoop::Post(absl::AnyInvocable<void()> work) { asio::post(impl_->io, std::move(work)); }

uint64_t EventLoop::PostAfter(absl::Duration delay, absl::AnyInvocable<void()> work) {
  // A century for "never": time_point arithmetic must not overflow.
  const absl::Duration bounded = std::clamp(delay, absl::ZeroDuration(), absl::Hours(24 * 36500));
  const Impl::Clock::time_point when = Impl::Clock::now() + absl::ToChronoNanoseconds(bounded);
  bool earlier;
  uint64_t id;
  {
    absl::MutexLock lock(&impl_->mutex);
    id = ++impl_->last_id;
    impl_->timers.emplace(std::make_pair(when, id), std::move(work));
    impl_->due[id] = when;
    earlier = when < impl_->armed_for;
  }
  if (earlier) {
    if (Executor::Current() == this) {
      impl_->Arm();
    } else {
      asio::post(impl_->io, [impl = impl_.get()] { impl->Arm(); });
    }
  }
  return id;
}

bool EventLoop::CancelTimer(uint64_t id) {
  Impl::Work work;  // destroyed outside the lock
  absl::MutexLock lock(&impl_->mutex);
  const auto it = impl_->due.find(id);
  if (it == impl_->due.end()) return false;
  const auto entry = impl_->timers.find({it->second, id});
  work = std::move(entry->second);
  impl_->timers.erase(entry);
  impl_->due.erase(it);
  return true;
}

void EventLoop::Impl::Arm() {
  {
    absl::MutexLock lock(&mutex);
    if (timers.empty()) return;
    const Clock::time_point first = timers.begin()->first.first;
    if (first >= armed_for) return;
    armed_for = first;
    timer.expires_at(first);
  }
  timer.async_wait([this](const asio::error_code& error) {
    if (!error) OnTimer();
  });
}

void EventLoop::Impl::OnTimer() {
  std::vector<Work> ready;
  {
    absl::MutexLock lock(&mutex);
    armed_for = Clock::time_point::max();
    const Clock::time_point now = Clock::now();
    while (!timers.empty() && timers.begin()->first.first <= now) {
      due.erase(timers.begin()->first.second);
      ready.push_back(std::move(timers.begin()->second));
      timers.erase(timers.begin());
    }
  }
  for (Work& work : ready) work();
  Arm();
}

void EventLoop::Stop() {
  if (!impl_->thread.joinable()) return;
  impl_->guard.reset();
  impl_->io.stop();
  impl_->thread.join();
}

absl::Duration EventLoop::Stalled() {
  const int64_t posted = impl_->prod_posted_nanos.load();
  if (posted != 0) return absl::Nanoseconds(NowNanos() - posted);
  impl_->prod_posted_nanos.store(NowNanos());
  Post([impl = impl_.get()] { impl->prod_posted_nanos.store(0); });
  return absl::ZeroDuration();
}

EventLoops::EventLoops(int threads) {
  for (int i = 0; i < std::max(threads, 1); ++i) loops_.push_back(std::make_unique<EventLoop>());
}

EventLoops::~EventLoops() { Stop(); }

EventLoop& EventLoops::Next() { return *loops_[next_.fetch_add(1, std::memory_order_relaxed) % loops_.size()]; }

bool EventLoops::Alive(absl::Duration within) {
  bool alive = true;
  for (const auto& loop : loops_) alive = loop->Stalled() <= within && alive;
  return alive;
}

void EventLoops::Stop() {
  for (const auto& loop : loops_) loop->Stop();
}

}  // namespace posthouse::net
