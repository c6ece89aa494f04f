// Resolver: queries the DNS. CaresResolver queries servers, CachingResolver caches the
// answers of another resolver, FakeResolver (dns/testing) has the data of a test.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "services/common/async/task.h"
#include "services/routing/dns/message.h"

namespace posthouse::routing::dns {

class Resolver {
 public:
  virtual ~Resolver() = default;
  // `name` in A-label form. Returns definite answers; a Status is temporary: kUnavailable
  // (SERVFAIL, REFUSED, malformed) or kDeadlineExceeded.
  // Threads: any; resumes on the caller's executor.
  virtual Task<absl::StatusOr<Answer>> Query(std::string name, RecordType type) = 0;
};

}  // namespace posthouse::routing::dns
