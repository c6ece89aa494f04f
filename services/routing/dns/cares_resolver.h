// CaresResolver: queries DNS servers over UDP, and over TCP after a truncated response,
// with c-ares on a thread of its own. Does not block the caller.
//
// Bounded: at most `max_pending` queries; further ones are kUnavailable at once. They go out
// at the rate at which the servers answer: a burst of thousands would overflow the
// receive buffer of a server's socket, and each lost query costs its `timeout`.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/routing/dns/resolver.h"

namespace posthouse::routing::dns {

// How a query ended. The first five are response codes (RFC 1035 §4.1.1); kNoAnswer: nothing came in time;
// kNoServer: each server failed, refused or could not be reached, which c-ares does not tell apart.
enum class QueryEnd { kNoError, kNxDomain, kServFail, kRefused, kFormErr, kNoAnswer, kNoServer, kOther };
inline constexpr size_t kQueryEnds = 8;

struct CaresOptions {
  // "192.0.2.1", "192.0.2.1:5353", "[2001:db8::1]:53". Empty: /etc/resolv.conf.
  std::vector<std::string> servers;
  absl::Duration timeout = absl::Seconds(3);  // of the first try; c-ares doubles it
  int tries = 3;
  size_t max_pending = 10000;
  // At most so many queries without an answer are younger than `burst_time`; others wait for their turn. So a slow
  // domain holds its place for that long only.
  size_t max_burst = 100;
  absl::Duration burst_time = absl::Milliseconds(500);
  // Called on the resolver's thread for each query that ended, also one that the servers never got. May be null.
  std::function<void(RecordType, QueryEnd)> observer;
};

class CaresResolver final : public Resolver {
 public:
  // kInvalidArgument: a malformed server address.
  static absl::StatusOr<std::unique_ptr<CaresResolver>> Create(const CaresOptions& options);
  ~CaresResolver() override;  // Stop()s
  // Ends pending and later queries with kUnavailable. Idempotent.
  void Stop();
  Task<absl::StatusOr<Answer>> Query(std::string name, RecordType type) override;

 private:
  class Loop;
  explicit CaresResolver(std::unique_ptr<Loop> loop);
  const std::unique_ptr<Loop> loop_;
};

}  // namespace posthouse::routing::dns
