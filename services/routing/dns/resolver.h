// Resolver: asks the DNS. CaresResolver asks servers, CachingResolver stands
// before one, FakeResolver (dns/testing) holds data.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "services/common/async/task.h"
#include "services/routing/dns/message.h"

namespace posthouse::routing::dns {

class Resolver {
 public:
  virtual ~Resolver() = default;
  // `name` in A-label form. Definite answers only; everything else is a Status and
  // temporary: kUnavailable (SERVFAIL, refused, nonsense), kDeadlineExceeded.
  // Threads: any; resumes on the caller's executor.
  virtual Task<absl::StatusOr<Answer>> Query(std::string name, RecordType type) = 0;
};

}  // namespace posthouse::routing::dns
