// CachingResolver: a Resolver with a cache. Callers that ask the same at the same time
// share one query. Follows CNAMEs that a server did not follow.
//
// Positive and negative answers are cached for their TTL, within [min_ttl, max_ttl]
// (RFC 2308). While the servers fail, an expired positive answer is used for up to
// `stale_for` (RFC 8767): mail goes where it went an hour ago rather than nowhere. It is
// used after `patience`, so that silent servers do not use up the caller's deadline; the
// query goes on, and its answer is cached. A failure is cached for a second, or for 30 s
// when an expired answer exists, so that a burst of messages does not query a dead server
// each time.
//
// Threads: any. The inner resolver outlives this. A query may outlive the calls that
// wait for it: end the queries (CaresResolver::Stop) before this is destroyed.
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

// How a query was answered, for metrics.
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
  // The answer from the inner resolver, with CNAMEs followed; put into the cache.
  Task<absl::StatusOr<Answer>> Ask(std::string name, RecordType type);
  Task<void> RunShared(std::string key, std::string name, RecordType type);
  // kDeadlineExceeded after `patience`; the query goes on.
  Task<absl::StatusOr<Answer>> AskOnce(std::string key, std::string name, RecordType type, absl::Duration patience);

  Resolver& inner_;
  const CachingOptions options_;
  const Clock clock_;
  const Observer observer_;
  TtlCache<absl::StatusOr<Answer>> cache_;
  absl::Mutex mutex_;
  // The callers that wait for a query in flight, by its key.
  absl::flat_hash_map<std::string, std::vector<Done>> in_flight_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::routing::dns
