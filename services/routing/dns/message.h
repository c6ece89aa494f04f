// DNS messages (RFC 1035) as far as a mail system asks: what an answer says, and
// how to write queries and answers (for tests).
//
// ParseAnswer() reads what a stranger sent: bounded, no recursion, no allocation
// that the message's own size does not pay for. Fuzzed.
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

struct MxRecord {
  uint16_t preference = 0;
  std::string host;  // lower case, no final dot; "" is the root (RFC 7505)
  friend bool operator==(const MxRecord&, const MxRecord&) = default;
};

// A definite answer. What is not definite (SERVFAIL, time-out) is a Status.
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
  // kNoData behind a CNAME that the server did not follow: ask again for this name.
  std::string follow;
  absl::Duration ttl;          // of the shortest-lived record; negative: by the SOA (RFC 2308 §5)
  bool authenticated = false;  // AD, for those who trust the resolver (RFC 4035 §3.2.3)
};

// More records than this are not kept: no mail domain needs them.
inline constexpr size_t kMaxRecords = 256;

// What `message` says about `name` and `type`, CNAMEs inside it followed.
// kInvalidArgument: no such answer. kUnavailable: SERVFAIL, REFUSED and the like.
absl::StatusOr<Answer> ParseAnswer(absl::string_view message, absl::string_view name, RecordType type);

// Lower case, no final dot. Labels keep odd octets as \DDD (RFC 4343 §2.1).
std::string CanonicalName(absl::string_view name);

// ---- writing, for test servers

struct Question {
  uint16_t id = 0;
  bool recursion_desired = false;
  std::string name;  // canonical
  uint16_t type = 0;
};
absl::StatusOr<Question> ParseQuestion(absl::string_view message);

struct ResourceRecord {
  std::string name;
  RecordType type = RecordType::kA;
  uint32_t ttl = 60;
  std::string data;  // RDATA
};
std::string EncodeName(absl::string_view name);
std::string MxData(uint16_t preference, absl::string_view host);
std::string AddressData(absl::string_view address);  // IPv4 or IPv6 text
std::string SoaData(uint32_t minimum);
std::string TxtData(absl::string_view text);

struct AnswerHeader {
  int rcode = 0;
  bool truncated = false;
  bool authenticated = false;
};
std::string WriteAnswer(const Question& question, const AnswerHeader& header,
                        const std::vector<ResourceRecord>& answers, const std::vector<ResourceRecord>& authority);

}  // namespace posthouse::routing::dns
