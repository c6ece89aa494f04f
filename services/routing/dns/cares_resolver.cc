#include "services/routing/dns/cares_resolver.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <deque>
#include <map>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/time/calm_clock.h"

namespace posthouse::routing::dns {
namespace {

// RFC 6891 §6.2.5, DNS flag day 2020: the size of a UDP response that is not fragmented.
constexpr int kEdnsBytes = 1232;

struct Pending {
  std::string name;
  RecordType type = RecordType::kA;
  absl::AnyInvocable<void(absl::StatusOr<Answer>)> done;
};

absl::StatusOr<Answer> ToAnswer(int status, const unsigned char* bytes, int size, const Pending& pending) {
  const absl::string_view message(reinterpret_cast<const char*>(bytes),
                                  bytes == nullptr ? 0 : static_cast<size_t>(size));
  switch (status) {
    case ARES_SUCCESS:
    case ARES_ENODATA:
    case ARES_ENOTFOUND: {
      absl::StatusOr<Answer> answer = ParseAnswer(message, pending.name, pending.type);
      // A malformed response is the server's fault and says nothing about the domain.
      if (!answer.ok()) return absl::UnavailableError(answer.status().message());
      return answer;
    }
    case ARES_ETIMEOUT:
      return absl::DeadlineExceededError("no DNS server answered in time");
    case ARES_EBADNAME: {
      // A name that cannot exist.
      Answer answer;
      answer.outcome = Answer::Outcome::kNoSuchName;
      answer.ttl = absl::Minutes(5);
      return answer;
    }
    case ARES_ESERVFAIL:
      return absl::UnavailableError("DNS: SERVFAIL");
    case ARES_EREFUSED:
      return absl::UnavailableError("DNS: REFUSED");
    case ARES_ECONNREFUSED:
      // c-ares says this, too, when each server answered SERVFAIL or REFUSED.
      return absl::UnavailableError("DNS: each server failed (SERVFAIL), refused, or cannot be reached");
    default:
      return absl::UnavailableError(absl::StrCat("DNS: ", ares_strerror(status)));
  }
}

QueryEnd EndOf(int status) {
  switch (status) {
    case ARES_SUCCESS:
    case ARES_ENODATA:
      return QueryEnd::kNoError;
    case ARES_ENOTFOUND:
      return QueryEnd::kNxDomain;
    case ARES_ESERVFAIL:
      return QueryEnd::kServFail;
    case ARES_EREFUSED:
      return QueryEnd::kRefused;
    case ARES_EFORMERR:
      return QueryEnd::kFormErr;
    case ARES_ETIMEOUT:
      return QueryEnd::kNoAnswer;
    case ARES_ECONNREFUSED:
      return QueryEnd::kNoServer;
    default:
      return QueryEnd::kOther;
  }
}

// Initialises c-ares' global state. Never cleaned up: other threads may still use it.
int LibraryInit() {
  static const int status = ares_library_init(ARES_LIB_INIT_ALL);
  return status;
}

}  // namespace

class CaresResolver::Loop {
 public:
  static absl::StatusOr<std::unique_ptr<Loop>> Start(const CaresOptions& options) {
    if (LibraryInit() != ARES_SUCCESS) return absl::InternalError("c-ares does not start");
    std::unique_ptr<Loop> loop(new Loop(options));
    loop->wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake_ < 0) return absl::UnavailableError(absl::StrCat("eventfd: ", std::strerror(errno)));
    PH_RETURN_IF_ERROR(loop->InitChannel(options));
    loop->thread_ = std::thread([raw = loop.get()] { raw->Run(); });
    return loop;
  }

  ~Loop() {
    Stop();
    if (wake_ >= 0) close(wake_);
  }

  void Stop() {
    if (thread_.joinable()) {
      {
        absl::MutexLock lock(&mutex_);
        stopping_ = true;
      }
      Wake();
      thread_.join();
    }
    // Ends the pending queries with ARES_EDESTRUCTION.
    if (std::exchange(initialised_, false)) ares_destroy(channel_);
  }

  void Submit(Pending pending) {
    {
      absl::MutexLock lock(&mutex_);
      if (!stopping_ && pending_ < max_pending_) {
        ++pending_;
        inbox_.push_back(std::move(pending));
        Wake();
        return;
      }
    }
    pending.done(absl::UnavailableError("too many DNS queries are pending"));
  }

 private:
  explicit Loop(const CaresOptions& options)
      : max_pending_(options.max_pending),
        max_burst_(options.max_burst),
        burst_time_(options.burst_time),
        observer_(options.observer) {}

  absl::Status InitChannel(const CaresOptions& options) {
    ares_options init{};
    // Names are complete: no search list, no HOSTALIASES.
    init.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_EDNS;
    init.timeout = static_cast<int>(absl::ToInt64Milliseconds(options.timeout));
    init.tries = options.tries;
    init.ednspsz = kEdnsBytes;
    char dns_only[] = "b";
    init.lookups = dns_only;
    init.sock_state_cb = [](void* self, ares_socket_t fd, int readable, int writable) {
      static_cast<Loop*>(self)->Watch(fd, readable != 0, writable != 0);
    };
    init.sock_state_cb_data = this;
    const int status = ares_init_options(&channel_, &init,
                                         ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_EDNSPSZ |
                                             ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB);
    if (status != ARES_SUCCESS) return absl::InternalError(absl::StrCat("c-ares: ", ares_strerror(status)));
    initialised_ = true;
    if (options.servers.empty()) return absl::OkStatus();
    const std::string servers = absl::StrJoin(options.servers, ",");
    const int set = ares_set_servers_ports_csv(channel_, servers.c_str());
    if (set == ARES_SUCCESS) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("dns_servers \"", servers, "\": ", ares_strerror(set)));
  }

  void Wake() const {
    const uint64_t one = 1;
    // A full counter means that a wake-up is already on its way.
    [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof(one));
  }

  void Watch(ares_socket_t fd, bool readable, bool writable) {
    const short events = static_cast<short>((readable ? POLLIN : 0) | (writable ? POLLOUT : 0));
    if (events == 0) {
      sockets_.erase(fd);
    } else {
      sockets_[fd] = events;
    }
  }

  void Run() {
    std::vector<pollfd> fds;
    while (true) {
      std::deque<Pending> inbox;
      {
        absl::MutexLock lock(&mutex_);
        if (stopping_) break;
        inbox.swap(inbox_);
      }
      for (Pending& pending : inbox) waiting_.push_back(std::move(pending));
      const absl::Duration next_turn = AskInTurn();
      fds.assign(1, pollfd{wake_, POLLIN, 0});
      for (const auto& [fd, events] : sockets_) fds.push_back(pollfd{fd, events, 0});
      timeval buffer{};
      const timeval* wait = ares_timeout(channel_, nullptr, &buffer);
      int milliseconds = wait == nullptr ? -1 : static_cast<int>(wait->tv_sec * 1000 + (wait->tv_usec + 999) / 1000);
      if (next_turn < absl::InfiniteDuration()) {
        const int turn = static_cast<int>(absl::ToInt64Milliseconds(next_turn)) + 1;
        milliseconds = milliseconds < 0 ? turn : std::min(milliseconds, turn);
      }
      if (poll(fds.data(), fds.size(), milliseconds) < 0 && errno != EINTR) {
        // Out of memory for a moment: end the queries, so that no caller waits for ever.
        LOG_EVENT(kError, "dns_poll").Str("error", std::strerror(errno));
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        for (pollfd& fd : fds) fd.revents = 0;
      }
      uint64_t count = 0;
      if ((fds[0].revents & POLLIN) != 0) {
        [[maybe_unused]] const ssize_t drained = read(wake_, &count, sizeof(count));
      }
      Process(fds);
    }
    // Queries that c-ares never got.
    {
      absl::MutexLock lock(&mutex_);
      for (Pending& pending : inbox_) waiting_.push_back(std::move(pending));
      inbox_.clear();
    }
    for (Pending& pending : waiting_) pending.done(absl::UnavailableError("the DNS client is stopping"));
  }

  void Process(const std::vector<pollfd>& fds) {
    bool any = false;
    for (size_t i = 1; i < fds.size(); ++i) {
      if (fds[i].revents == 0) continue;
      any = true;
      const bool failed = (fds[i].revents & (POLLERR | POLLHUP | POLLNVAL)) != 0;
      const bool read_it = failed || (fds[i].revents & POLLIN) != 0;
      const bool write_it = failed || (fds[i].revents & POLLOUT) != 0;
      ares_process_fd(channel_, read_it ? fds[i].fd : ARES_SOCKET_BAD, write_it ? fds[i].fd : ARES_SOCKET_BAD);
    }
    if (!any) ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);  // time-outs
  }

  struct Context {
    Loop* loop;
    Pending pending;
    uint64_t number;  // in `young_`, until it is answered or old
  };

  // Asks while the servers keep up. Returns when to come again at the latest; InfiniteDuration: nothing waits.
  absl::Duration AskInTurn() {
    const absl::Time now = MonotonicNow();
    for (; !sent_.empty() && now - sent_.front().at >= burst_time_; sent_.pop_front()) {
      young_.erase(sent_.front().number);
    }
    while (!waiting_.empty() && young_.size() < max_burst_) {
      Pending pending = std::move(waiting_.front());
      waiting_.pop_front();
      const uint64_t number = next_number_++;
      young_.insert(number);
      sent_.push_back({now, number});
      Ask(std::move(pending), number);  // may be answered at once
    }
    // An answered query at the front only makes the loop come too early.
    return waiting_.empty() ? absl::InfiniteDuration() : sent_.front().at + burst_time_ - now;
  }

  void Ask(Pending pending, uint64_t number) {
    // Freed by OnAnswer, which c-ares calls exactly once.
    auto* context = new Context{this, std::move(pending), number};
    ares_query(channel_, context->pending.name.c_str(), ns_c_in, static_cast<int>(context->pending.type), OnAnswer,
               context);
  }

  static void OnAnswer(void* arg, int status, int, unsigned char* bytes, int size) {
    const std::unique_ptr<Context> context(static_cast<Context*>(arg));
    context->loop->young_.erase(context->number);
    {
      absl::MutexLock lock(&context->loop->mutex_);
      --context->loop->pending_;
    }
    if (context->loop->observer_) context->loop->observer_(context->pending.type, EndOf(status));
    context->pending.done(ToAnswer(status, bytes, size, context->pending));
  }

  struct Sent {
    absl::Time at;  // by the monotonic clock
    uint64_t number;
  };

  const size_t max_pending_;
  const size_t max_burst_;
  const absl::Duration burst_time_;
  const std::function<void(RecordType, QueryEnd)> observer_;  // may be null
  ares_channel channel_ = nullptr;                            // of the thread, once it runs
  bool initialised_ = false;
  int wake_ = -1;
  std::map<ares_socket_t, short> sockets_;  // of the thread, as the next four
  std::deque<Pending> waiting_;             // for their turn
  std::deque<Sent> sent_;                   // in the last burst_time_, in order
  absl::flat_hash_set<uint64_t> young_;     // those of sent_ that have no answer yet
  uint64_t next_number_ = 0;
  std::thread thread_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  size_t pending_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<Pending> inbox_ ABSL_GUARDED_BY(mutex_);
};

CaresResolver::CaresResolver(std::unique_ptr<Loop> loop) : loop_(std::move(loop)) {}
CaresResolver::~CaresResolver() = default;
void CaresResolver::Stop() { loop_->Stop(); }

absl::StatusOr<std::unique_ptr<CaresResolver>> CaresResolver::Create(const CaresOptions& options) {
  PH_ASSIGN_OR_RETURN(std::unique_ptr<Loop> loop, Loop::Start(options));
  return std::unique_ptr<CaresResolver>(new CaresResolver(std::move(loop)));
}

Task<absl::StatusOr<Answer>> CaresResolver::Query(std::string name, RecordType type) {
  co_return co_await AwaitCallback<absl::StatusOr<Answer>>([&](absl::AnyInvocable<void(absl::StatusOr<Answer>)> done) {
    loop_->Submit(Pending{name, type, std::move(done)});
  });
}

}  // namespace posthouse::routing::dns
