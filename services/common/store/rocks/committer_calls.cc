// How the Committer answers its callers, also while the disk does not answer.
#include <algorithm>
#include <chrono>
#include <deque>
#include <memory>
#include <utility>

#include "services/common/async/thread_pool.h"
#include "services/common/log/log.h"
#include "services/common/store/rocks/committer.h"

namespace posthouse::store {

int64_t Committer::SteadyNanos() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

absl::Status Committer::Hung() { return absl::UnavailableError("the disk does not answer"); }

absl::Duration Committer::oldest_wait() const {
  const int64_t since = calling_since_nanos_.load(std::memory_order_relaxed);
  return since == 0 ? absl::ZeroDuration() : absl::Nanoseconds(SteadyNanos() - since);
}

void Committer::BeginCall(Ops& ops, bool writes) {
  absl::MutexLock lock(&mutex_);
  calling_ = &ops;
  call_writes_ = writes;
  calling_since_nanos_.store(SteadyNanos(), std::memory_order_relaxed);
}

void Committer::EndCall(Ops&) {
  absl::MutexLock lock(&mutex_);
  calling_ = nullptr;
  calling_since_nanos_.store(0, std::memory_order_relaxed);
  if (!std::exchange(hung_, false)) return;
  LOG_EVENT(kInfo, "store_disk_answers");
}

void Committer::WatchCalls() {
  // Often enough that an answer is at most a tenth late.
  const absl::Duration tick = std::max(options_.answer_within / 10, absl::Milliseconds(1));
  mutex_.Lock();
  while (!stopping_ || calling_ != nullptr) {
    watch_.WaitWithTimeout(&mutex_, tick);
    if (calling_ == nullptr || oldest_wait() < options_.answer_within) continue;
    Ready ready = Abandon();
    mutex_.Unlock();
    Resume(std::move(ready));
    mutex_.Lock();
  }
  mutex_.Unlock();
}

Committer::Ready Committer::Abandon() {
  Ready ready;
  if (!std::exchange(hung_, true)) {
    LOG_EVENT(kError, "store_disk_hangs").Seconds("seconds", oldest_wait());
  }
  for (const auto& op : *calling_) {
    if (op->wait == nullptr) continue;  // lazy
    // The op keeps its own status: it may be written, and then RecentRows must have it.
    op->abandoned = true;
    absl::Status answer = op->status;  // of one that is not in the batch
    if (!call_writes_) {
      answer = Hung();
      metrics_.unavailable.Add();
    } else if (answer.ok()) {
      answer = absl::DeadlineExceededError("the commit may or may not happen: the disk does not answer");
      metrics_.unknown.Add();
    }
    Answer(*op, answer, ready);
  }
  std::deque<std::unique_ptr<CommitOp>> lazy;
  for (auto& op : queue_) {
    if (op->wait == nullptr) {
      lazy.push_back(std::move(op));
      continue;
    }
    queued_bytes_ -= op->bytes;
    --waited_for_;
    metrics_.unavailable.Add();
    Answer(*op, Hung(), ready);
  }
  queue_ = std::move(lazy);
  return ready;
}

// Gives `status` to the caller, who is added to `ready` with the last op of a request.
void Committer::Answer(CommitOp& op, const absl::Status& status, Ready& ready) {
  *op.result = status;
  CommitWait* const wait = std::exchange(op.wait, nullptr);
  if (--wait->left > 0) return;
  auto group = ready.begin();
  while (group != ready.end() && group->first != wait->executor) ++group;
  if (group == ready.end()) group = ready.insert(ready.end(), {wait->executor, {}});
  group->second.push_back(wait->handle);
}

void Committer::Resume(Ready ready) {
  for (auto& [executor, handles] : ready) {
    if (handles.size() == 1 || dynamic_cast<ThreadPool*>(executor) != nullptr) {
      // Coroutines on a pool may block its threads, so each gets a turn of its own.
      for (const std::coroutine_handle<> handle : handles) executor->Post([handle] { handle.resume(); });
    } else {
      executor->Post([resume = std::move(handles)] {
        for (const std::coroutine_handle<> handle : resume) handle.resume();
      });
    }
  }
}

}  // namespace posthouse::store
