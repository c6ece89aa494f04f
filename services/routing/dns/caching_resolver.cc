#include "services/routing/dns/caching_resolver.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/common/async/executor.h"

namespace posthouse::routing::dns {
namespace {

constexpr int kMaxCnames = 8;
constexpr absl::Duration kRememberFailure = absl::Seconds(1);
constexpr absl::Duration kRecheckStale = absl::Seconds(30);  // RFC 8767 §5: the failure recheck timer

std::string KeyOf(const std::string& name, RecordType type) { return absl::StrCat(static_cast<int>(type), "/", name); }

std::string FailureKey(const std::string& key) { return absl::StrCat("!", key); }

}  // namespace

CachingResolver::CachingResolver(Resolver& inner, CachingOptions options, Clock clock, Observer observer)
    : inner_(inner),
      options_(options),
      clock_(std::move(clock)),
      observer_(std::move(observer)),
      cache_(options.entries, options.stale_for) {}

Task<absl::StatusOr<Answer>> CachingResolver::Query(std::string name, RecordType type) {
  name = CanonicalName(name);
  const std::string key = KeyOf(name, type);
  std::optional<TtlCache<absl::StatusOr<Answer>>::Hit> hit = cache_.Get(key, clock_());
  if (hit && hit->fresh) {
    observer_(QueryResult::kHit, absl::ZeroDuration());
    if (hit->value.ok()) hit->value->ttl = hit->expires - clock_();
    co_return std::move(hit->value);
  }
  const bool old = hit && hit->value.ok() && hit->value->outcome == Answer::Outcome::kRecords;
  const absl::Time start = clock_();
  bool asked = false;
  absl::StatusOr<Answer> answer = absl::UnavailableError("not asked");
  if (std::optional<TtlCache<absl::StatusOr<Answer>>::Hit> failed = cache_.Get(FailureKey(key), start);
      failed && failed->fresh) {
    answer = std::move(failed->value);
  } else {
    answer = co_await AskOnce(key, name, type, old ? options_.patience : absl::InfiniteDuration());
    asked = true;
  }
  const absl::Duration took = clock_() - start;
  if (answer.ok()) {
    observer_(answer->outcome == Answer::Outcome::kRecords ? QueryResult::kAnswered : QueryResult::kNegative, took);
    co_return answer;
  }
  if (old) {
    if (asked) cache_.Put(FailureKey(key), answer.status(), kRecheckStale, clock_());
    observer_(QueryResult::kStale, took);
    hit->value->ttl = options_.min_ttl;
    co_return std::move(hit->value);
  }
  observer_(QueryResult::kFailed, took);
  co_return answer;
}

Task<absl::StatusOr<Answer>> CachingResolver::AskOnce(std::string key, std::string name, RecordType type,
                                                      absl::Duration patience) {
  struct Race {
    absl::Mutex mutex;
    Done done ABSL_GUARDED_BY(mutex);
  };
  const auto race = std::make_shared<Race>();
  const auto end = [race](absl::StatusOr<Answer> answer) {
    Done done;
    {
      absl::MutexLock lock(&race->mutex);
      done = std::exchange(race->done, nullptr);
    }
    if (done) done(std::move(answer));
  };
  Executor* const executor = Executor::Current();
  uint64_t timer = 0;
  absl::StatusOr<Answer> answer = co_await AwaitCallback<absl::StatusOr<Answer>>([&](Done done) {
    {
      absl::MutexLock lock(&race->mutex);
      race->done = std::move(done);
    }
    if (executor != nullptr && patience < absl::InfiniteDuration()) {
      timer = executor->PostAfter(patience, [end] { end(absl::DeadlineExceededError("the DNS servers are slow")); });
    }
    bool first = false;
    {
      absl::MutexLock lock(&mutex_);
      std::vector<Done>& waiting = in_flight_[key];
      first = waiting.empty();
      waiting.push_back(end);
    }
    // Run without a current executor: the shared query must not be tied to one caller's event loop.
    const Executor::Scope no_executor(nullptr);
    if (first) SpawnHere(RunShared(key, name, type));
  });
  if (timer != 0) executor->CancelTimer(timer);
  co_return answer;
}

// Makes one query for all callers that wait for it; each resumes on its own executor.
Task<void> CachingResolver::RunShared(std::string key, std::string name, RecordType type) {
  const absl::StatusOr<Answer> answer = co_await Ask(std::move(name), type);
  std::vector<Done> waiting;
  {
    absl::MutexLock lock(&mutex_);
    const auto it = in_flight_.find(key);
    waiting = std::move(it->second);
    in_flight_.erase(it);
  }
  for (Done& done : waiting) done(answer);
}

Task<absl::StatusOr<Answer>> CachingResolver::Ask(std::string name, RecordType type) {
  const std::string key = KeyOf(name, type);
  std::vector<std::string> path = {name};
  absl::Duration ttl = options_.max_ttl;
  absl::StatusOr<Answer> answer = absl::UnavailableError("not asked");
  for (int i = 0; i <= kMaxCnames; ++i) {
    answer = co_await inner_.Query(path.back(), type);
    if (!answer.ok()) break;
    ttl = std::min(ttl, answer->ttl);
    if (answer->follow.empty()) break;
    if (i == kMaxCnames || std::find(path.begin(), path.end(), answer->follow) != path.end()) {
      // A mistake in the zone that its owner may correct: temporary.
      answer = absl::UnavailableError(absl::StrCat("CNAME loop at ", name));
      break;
    }
    path.push_back(answer->follow);
  }
  const absl::Time now = clock_();
  if (answer.ok()) {
    answer->ttl = std::clamp(ttl, options_.min_ttl, options_.max_ttl);
    answer->follow.clear();
    cache_.Put(key, answer, answer->ttl, now);
  } else {
    // In a row of its own: the expired answer may still be needed.
    cache_.Put(FailureKey(key), answer.status(), kRememberFailure, now);
  }
  co_return answer;
}

}  // namespace posthouse::routing::dns
