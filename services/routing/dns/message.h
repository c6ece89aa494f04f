// DNS messages (RFC 1035): parses the responses to the queries of a mail system.
//
// A response comes from a stranger: ParseAnswer() is bounded, does not recurse, and
// allocates in proportion to the message. Fuzzed.
//
// Threads: stateless.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace posthouse::routing::dns {

enum class RecordType : uint16_t { kA = 1, kNs = 2, kCname = 5, kSoa = 6, kMx = 15, kTxt = 16, kAaaa = 28, kOpt = 41 };

// One MX record (RFC 1035 §3.3.9).
struct MxRecord {
  uint16_t preference = 0;
  std::string host;  // lower case, no final dot; "" is the root (RFC 7505)
  friend bool operator==(const MxRecord&, const MxRecord&) = default;
};

// A definite answer. Anything else (SERVFAIL, time-out) is a Status.
struct Answer {
  enum class Outcome {
    kRecords,
    kNoData,      // the name exists, without records of the type
    kNoSuchName,  // NXDOMAIN
  };
  Outcome outcome = Outcome::kNoData;
  std::vector<MxRecord> mx;
  std::vector<std::string> addresses;  // A or AAAA, as inet_ntop writes them
  std::vector<std::string> texts;      // TXT, strings joined
  // With kNoData: the target of a CNAME that the server did not follow; query this name next.
  std::string follow;
  absl::Duration ttl;          // of the shortest-lived record; negative: by the SOA (RFC 2308 §5)
  bool authenticated = false;  // the AD bit; counts only if the resolver is trusted (RFC 4035 §3.2.3)
};

// Records of an answer that are kept: more than any mail domain needs.
inline constexpr size_t kMaxRecords = 256;

// The answer in `message` to a query for `name` and `type`; follows CNAMEs inside it.
// kInvalidArgument: malformed, or the response to another query. kUnavailable: SERVFAIL,
// REFUSED or another error of the server.
absl::StatusOr<Answer> ParseAnswer(absl::string_view message, absl::string_view name, RecordType type);

// Lower case, no final dot. Labels keep odd octets as \DDD (RFC 4343 §2.1).
std::string CanonicalName(absl::string_view name);

}  // namespace posthouse::routing::dns
