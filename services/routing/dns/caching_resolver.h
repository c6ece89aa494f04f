// CachingResolver: a Resolver that remembers, asks once for many who ask at the
// same time, and follows CNAMEs that a server left unfollowed.
//
// Positive and negative answers live for their TTL, within [min_ttl, max_ttl]
// (RFC 2308). When the servers fail, an expired positive answer serves for up to
// `stale_for` (RFC 8767): mail goes where it went an hour ago rather than nowhere.
// It serves after `patience` already, so that servers which say nothing do not use
// up the caller's deadline; the question goes on and its answer is kept.
// Failures are remembered for a second (30, with an old answer at hand), so that a
// dead server is not asked by every message of a burst.
//
// Threads: any. The inner resolver outlives this. Questions may outlive the calls that
// put them: end the inner one's (CaresResolver::Stop) before this is destroyed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/routing/cache.h"
#include "services/routing/dns/resolver.h"

namespace posthouse::routing::dns {

struct CachingOptions {
  size_t entries = 100000;
  absl::Duration min_ttl = absl::Seconds(5);
  absl::Duration max_ttl = absl::Hours(1);
  absl::Duration stale_for = absl::Hours(24);
  absl::Duration patience = absl::Milliseconds(1800);  // RFC 8767 §5
};

// What happened to a query; for metrics.
enum class QueryResult { kHit, kAnswered, kNegative, kStale, kFailed };

class CachingResolver final : public Resolver {
 public:
  using Clock = absl::AnyInvocable<absl::Time() const>;
  using Observer = absl::AnyInvocable<void(QueryResult, absl::Duration took) const>;
  CachingResolver(Resolver& inner, CachingOptions options, Clock clock, Observer observer);
  Task<absl::StatusOr<Answer>> Query(std::string name, RecordType type) override;
  size_t size() const { return cache_.size(); }

 private:
  using Done = absl::AnyInvocable<void(absl::StatusOr<Answer>)>;
  // The answer from the inner resolver, CNAMEs followed, stored.
  Task<absl::StatusOr<Answer>> Ask(std::string name, RecordType type);
  Task<void> Fly(std::string key, std::string name, RecordType type);
  // kDeadlineExceeded after `patience`; the flight goes on.
  Task<absl::StatusOr<Answer>> AskOnce(std::string key, std::string name, RecordType type, absl::Duration patience);

  Resolver& inner_;
  const CachingOptions options_;
  const Clock clock_;
  const Observer observer_;
  TtlCache<absl::StatusOr<Answer>> cache_;
  absl::Mutex mutex_;
  // Who waits for a query that somebody else is making.
  absl::flat_hash_map<std::string, std::vector<Done>> flying_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::routing::dns
