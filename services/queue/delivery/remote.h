// Remote delivery: messages for other systems, over SMTP (RFC 5321 §5.1).
//
// Hosts are tried in the order routing gives, each address in turn, those that did
// not answer a moment ago last. What a host says to a recipient stands when it is 2yz
// or 5yz; one that says 4yz leaves him to the next host, and if that does no better,
// to the next attempt. Recipients at one domain share a transaction, messages to one
// host a connection. A connection that was kept and turns out dead is replaced at once.
//
// TLS as the destination's policy says; opportunistic encryption that fails is
// repeated in the clear (RFC 7435 §3), required encryption never.
//
// Threads: any; each conversation runs on its connection's loop.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "services/common/net/event_loop.h"
#include "services/queue/delivery/connection_pool.h"
#include "services/queue/delivery/delivery.h"
#include "services/queue/delivery/routing_client.h"

namespace posthouse::queue {

struct RemoteOptions {
  std::string hostname;  // our name in EHLO
  absl::Duration connect_timeout = absl::Seconds(30);
  absl::Duration reply_timeout = absl::Minutes(5);
  std::string source_address;
  std::string tls_ca_file;
  PoolOptions pool;
  int max_addresses = 6;                       // tried in one attempt
  absl::Duration dead_for = absl::Minutes(1);  // an address that did not answer goes last
};

class RemoteDelivery : public Delivery {
 public:
  // `loops` and `routing` outlive it. Fails when the trust anchors cannot be read.
  static absl::StatusOr<std::unique_ptr<RemoteDelivery>> Create(net::EventLoops& loops, Routing& routing,
                                                                RemoteOptions options);
  struct Stats {
    uint64_t opened = 0, reused = 0, failed = 0;  // connections
    size_t open = 0, idle = 0;
  };
  virtual Stats stats() const = 0;
};

// ---- the parts that are pure, for tests

// What a routing answer without hosts means. (RFC 7505 §3, RFC 5321 §5.1)
DeliveryResult ResultForNoHosts(const DeliveryAttempt& attempt, const routing::v1::ResolveDestinationResponse& answer);
// NOTIFY= as given: "NEVER", "SUCCESS,FAILURE", "" (RFC 3461 §4.1).
std::string NotifyParameter(const v1::EnvelopeRecipient& recipient);
// What a host's answer means for the recipient.
Outcome OutcomeForReply(const smtp::Outcome& from);

}  // namespace posthouse::queue
