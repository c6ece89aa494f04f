#include "services/queue/delivery/failure_reason.h"

#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace posthouse::queue {
namespace {

// Subject and detail of RFC 3463, without the class; the first that the status begins with.
constexpr std::pair<absl::string_view, FailureReason> kByStatus[] = {
    {"1.2", FailureReason::kDns},       // bad destination system
    {"1.10", FailureReason::kDns},      // RFC 7505 §4.1: null MX
    {"2.2", FailureReason::kQuota},     // mailbox full
    {"2.3", FailureReason::kTooLarge},  // message length exceeds administrative limit
    {"3.4", FailureReason::kTooLarge},  // message too big for system
    {"4.1", FailureReason::kConnect},   // no answer from host
    {"4.2", FailureReason::kConnect},   // bad connection
    {"4.3", FailureReason::kDns},       // directory server failure
    {"4.4", FailureReason::kDns},       // unable to route
    {"4.6", FailureReason::kLoop},      // routing loop
    {"1.", FailureReason::kAddress},   {"2.", FailureReason::kMailbox}, {"3.", FailureReason::kSystem},
    {"5.", FailureReason::kProtocol},  {"6.", FailureReason::kContent}, {"7.", FailureReason::kPolicy},
};

}  // namespace

const char* FailureReasonName(FailureReason reason) {
  static constexpr const char* kNames[kFailureReasons] = {"other",  "dns",    "connect",  "tls",     "greylist",
                                                          "policy", "quota",  "address",  "mailbox", "too_large",
                                                          "loop",   "system", "protocol", "content"};
  return kNames[static_cast<int>(reason)];
}

FailureReason FailureReasonOf(const Outcome& outcome) {
  const absl::string_view error = outcome.attempt.error();
  if (absl::StartsWith(error, "TLS handshake") || absl::StartsWith(error, "STARTTLS")) return FailureReason::kTls;
  const auto& reply = outcome.attempt.reply();
  const std::string text = absl::AsciiStrToLower(reply.text());
  if (absl::StrContains(text, "greylist") || absl::StrContains(text, "graylist")) return FailureReason::kGreylist;
  const absl::string_view status = outcome.status;
  const absl::string_view detail = status.size() > 2 ? status.substr(2) : "";
  for (const auto& [begin, reason] : kByStatus) {
    // "1.2" is not the begin of "1.20".
    const bool whole = begin.back() == '.' || detail.size() == begin.size();
    if (absl::StartsWith(detail, begin) && whole) return reason;
  }
  // RFC 5321 §4.2.3, for hosts without enhanced codes.
  if (reply.code() == 452 || reply.code() == 552) return FailureReason::kQuota;
  if (reply.code() == 421) return FailureReason::kSystem;
  return FailureReason::kOther;
}

}  // namespace posthouse::queue
