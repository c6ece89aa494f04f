// Why a delivery attempt failed, as a closed set for metrics and dashboards.
#pragma once

#include "services/queue/delivery/delivery.h"

namespace posthouse::queue {

enum class FailureReason {
  kOther,
  kDns,       // no hosts: the lookup failed, or the domain takes no mail
  kConnect,   // no host answered, or a connection broke
  kTls,       // STARTTLS or the handshake
  kGreylist,  // the reply says so
  kPolicy,    // X.7.Z: blocked, not authorised
  kQuota,     // the mailbox is full
  kAddress,   // X.1.Z: no such mailbox
  kMailbox,   // X.2.Z: disabled, or not at its store
  kTooLarge,
  kLoop,
  kSystem,    // X.3.Z: the host, or our mailbox store, cannot now
  kProtocol,  // X.5.Z
  kContent,   // X.6.Z
};
inline constexpr int kFailureReasons = 14;
const char* FailureReasonName(FailureReason reason);  // "dns"

// By the step that failed, the enhanced status code (RFC 3463) and the reply code of `outcome`, which is
// temporary or permanent.
FailureReason FailureReasonOf(const Outcome& outcome);

}  // namespace posthouse::queue
