#include "services/common/store/guarded_core.h"

#include <algorithm>
#include <utility>

#include "absl/random/random.h"
#include "services/common/log/log.h"
#include "services/common/metrics/metrics.h"

namespace posthouse::store {
namespace {

constexpr absl::Duration kLongestPause = absl::Milliseconds(200);

uint64_t SystemRandom() {
  thread_local absl::BitGen generator;
  return absl::Uniform<uint64_t>(generator);
}

}  // namespace

GuardMetrics::GuardMetrics(metrics::Registry& registry, const std::string& kind)
    : commits(registry.AddCounter("posthouse_store_guarded_commits_total",
                                  "Commits that replaced a head, by kind of partition.", {{"kind", kind}})),
      conflicts(registry.AddCounter("posthouse_store_conflicts_total",
                                    "Commits refused because another writer was faster, by kind of partition.",
                                    {{"kind", kind}})),
      unknown(registry.AddCounter("posthouse_store_unknown_commits_total",
                                  "Commits whose outcome had to be found out, by kind of partition.",
                                  {{"kind", kind}})) {}
GuardedCore::GuardedCore(GuardedOptions options) : options_(std::move(options)), take_limit_(options_.max_batch) {}
GuardedCore::~GuardedCore() = default;

void GuardedCore::Enqueue(Request request) {
  if (options_.executor == nullptr) request.options.lazy = false;
  if (!request.options.deadline.has_value()) request.options.deadline = options_.clock() + options_.patience;
  absl::Status refused;
  bool start = false, arm = false;
  {
    absl::MutexLock lock(&mutex_);
    refused = broken_;
    if (refused.ok()) {
      if (!request.options.lazy) ++urgent_;
      pending_.push_back(std::move(request));
      start = !running_ && (urgent_ > 0 || pending_.size() >= options_.max_batch);
      if (start) running_ = true;
      arm = !running_ && !std::exchange(timer_armed_, true);
    }
  }
  if (!refused.ok()) {
    request.done(std::move(refused));
  } else if (start) {
    SpawnHere(Run(shared_from_this()));
  } else if (arm) {
    ArmTimer();
  }
}

void GuardedCore::ArmTimer() {
  options_.executor->PostAfter(options_.linger, [weak = weak_from_this()] {
    const std::shared_ptr<GuardedCore> self = weak.lock();
    if (self == nullptr) return;
    {
      absl::MutexLock lock(&self->mutex_);
      self->timer_armed_ = false;
      if (self->pending_.empty() || self->running_) return;
      self->running_ = self->lingered_ = true;
    }
    SpawnHere(Run(self));
  });
}

Task<void> GuardedCore::Run(std::shared_ptr<GuardedCore> self) {
  std::vector<Done> idle;
  while (self->Take(&idle)) co_await self->Round();
  for (Done& done : idle) done(absl::OkStatus());
}

// Moves what waits into the batch. False: there is nothing to do, the loop ends.
bool GuardedCore::Take(std::vector<Done>* idle) {
  bool arm = false;
  {
    absl::MutexLock lock(&mutex_);
    // Lazy changes alone wait for company or the timer.
    const bool lingered = std::exchange(lingered_, false);
    if (!batch_.empty() || urgent_ > 0 || pending_.size() >= options_.max_batch || lingered ||
        (closing_ && !pending_.empty())) {
      for (; !pending_.empty() && batch_.size() < std::max<size_t>(take_limit_, 1); pending_.pop_front()) {
        if (!pending_.front().options.lazy) --urgent_;
        batch_.push_back(std::move(pending_.front()));
      }
      return true;
    }
    running_ = false;
    arm = !pending_.empty() && !std::exchange(timer_armed_, true);
    idle->swap(idle_);
  }
  if (arm) ArmTimer();
  return false;
}

// Puts the requests of the batch from `first` on back to the front of the queue.
void GuardedCore::Defer(size_t first) {
  absl::MutexLock lock(&mutex_);
  while (batch_.size() > first) {
    if (!batch_.back().options.lazy) ++urgent_;
    pending_.push_front(std::move(batch_.back()));
    batch_.pop_back();
  }
}

void GuardedCore::Answer(absl::FunctionRef<std::optional<absl::Status>(const Request&)> answer) {
  std::vector<std::pair<Done, absl::Status>> answered;
  std::deque<Request> kept;
  for (Request& request : batch_) {
    if (std::optional<absl::Status> status = answer(request); status.has_value()) {
      answered.emplace_back(std::move(request.done), *std::move(status));
    } else {
      kept.push_back(std::move(request));
    }
  }
  batch_ = std::move(kept);
  for (auto& [done, status] : answered) done(std::move(status));
}

Task<void> GuardedCore::Close(absl::Status why) {
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
    if (broken_.ok()) broken_ = std::move(why);
    if (!running_ && pending_.empty()) co_return;
  }
  const std::shared_ptr<GuardedCore> self = shared_from_this();
  [[maybe_unused]] const absl::Status closed = co_await AwaitCallback<absl::Status>([&self](Done done) {
    bool start = false;
    {
      absl::MutexLock lock(&self->mutex_);
      if (self->running_ || !self->pending_.empty()) {
        self->idle_.push_back(std::move(done));
        start = !std::exchange(self->running_, true);
      }
    }
    if (done) done(absl::OkStatus());
    if (start) SpawnHere(Run(self));
  });
}

absl::Status GuardedCore::healthy() const {
  absl::MutexLock lock(&mutex_);
  return broken_;
}

void GuardedCore::Break(const absl::Status& why) {
  LOG_EVENT(kError, "partition_lost").Str("partition", options_.partition.id).Err(why);
  absl::MutexLock lock(&mutex_);
  if (broken_.ok()) broken_ = why;
}

GuardedCore::Memory GuardedCore::memory() const {
  absl::ReaderMutexLock lock(&state_mutex_);
  return memory_;
}

void GuardedCore::SetMemory(Memory memory) {
  absl::MutexLock lock(&state_mutex_);
  memory_ = memory;
}

// Every request is tried once, however late it is.
bool GuardedCore::Late(const Request& request) const {
  if (!request.tried) return false;
  if (options_.clock() >= *request.options.deadline) return true;
  absl::MutexLock lock(&mutex_);
  return closing_;
}

// Waits after the second failure in a row and longer after each further one.
Task<void> GuardedCore::Pause() {
  if (tries_++ == 0) co_return;
  if (Executor::Current() == nullptr) {
    if (options_.executor == nullptr) co_return;
    co_await SwitchTo(*options_.executor);
  }
  const absl::Duration bound = std::min(kLongestPause, commit_time_ * (1 << std::min(tries_, 16)));
  const uint64_t random = Random();
  co_await Sleep(bound * (static_cast<double>(random >> 11) / static_cast<double>(uint64_t{1} << 53)));
}
uint64_t GuardedCore::Random() const { return options_.random ? options_.random() : SystemRandom(); }

// An error that a read, or a write of something else, gave: this change did not happen.
absl::Status GuardedCore::NothingChanged(const absl::Status& status) {
  if (!absl::IsDeadlineExceeded(status) && !absl::IsAborted(status)) return status;
  return absl::UnavailableError(absl::StrCat("nothing was changed: ", status.message()));
}

}  // namespace posthouse::store
