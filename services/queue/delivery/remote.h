// Remote delivery: messages for other systems, over SMTP (RFC 5321 §5.1).
//
// Hosts are tried in the order that routing gives, each address in turn; addresses that
// did not answer lately come last. A 2yz or 5yz reply to a recipient is final. After a
// 4yz reply the next host is tried for that recipient, and if it does no better, the next
// attempt. Recipients at one domain share an SMTP transaction, messages to one host a
// connection. A kept connection that turns out dead is replaced at once.
//
// TLS follows the destination's policy. When opportunistic encryption fails, the message
// goes in the clear (RFC 7435 §3), with a line in the log (`tls_fallback`) and a count; when
// required encryption fails, it does not go.
//
// Threads: any; each conversation runs on its connection's loop.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/common/net/event_loop.h"
#include "services/common/net/tls.h"
#include "services/mail_formats/smtp/client.h"
#include "services/queue/delivery/connection_pool.h"
#include "services/queue/delivery/delivery.h"
#include "services/queue/delivery/host_list.h"
#include "services/queue/delivery/routing_client.h"
#include "services/queue/delivery/smtp_attempt.h"

namespace posthouse::queue {

struct RemoteOptions {
  std::string hostname;  // our name in EHLO
  absl::Duration connect_timeout = absl::Seconds(30);
  absl::Duration reply_timeout = absl::Minutes(5);
  absl::Duration end_of_data_timeout = absl::Minutes(10);  // RFC 5321 §4.5.3.2.6
  // 5yz at the greeting or EHLO of every host: return the message, instead of a retry.
  bool bounce_refused_sessions = false;
  // Departs from RFC 5321 §4.5.3.2.1 (5 minutes): a host that connects and stays silent holds a slot of a delivery.
  absl::Duration greeting_timeout = absl::Minutes(1);
  std::string source_address;
  std::string tls_ca_file;
  PoolOptions pool;
  int max_addresses = 6;                              // tried in one attempt
  absl::Duration unreachable_for = absl::Minutes(1);  // an address that did not answer comes last
};

// Delivers by SMTP to the hosts that routing names.
class RemoteDelivery final : public Delivery {
 public:
  // `loops` and `routing` outlive it. Fails when the trust anchors cannot be read.
  static absl::StatusOr<std::unique_ptr<RemoteDelivery>> Create(net::EventLoops& loops, Routing& routing,
                                                                RemoteOptions options);

  Task<DeliveryResult> Deliver(const DeliveryAttempt& attempt) override;
  void Abort() override;

  struct Stats {
    uint64_t opened = 0, reused = 0, failed = 0;  // connections
    size_t open = 0, idle = 0;
    // Sessions that went on in the clear after opportunistic TLS: the host refused the
    // STARTTLS that it had announced, or the handshake (or the connection in it) failed.
    uint64_t tls_refused = 0, tls_failed = 0;
    uint64_t converted = 0;                    // messages for a host that could not take them as they are
    uint64_t tls12 = 0, tls13 = 0, clear = 0;  // sessions opened, by version of TLS
  };
  Stats stats() const;

 private:
  struct Progress;  // of one attempt

  RemoteDelivery(net::EventLoops& loops, Routing& routing, RemoteOptions options,
                 std::shared_ptr<net::TlsClientContext> plain_tls, std::shared_ptr<net::TlsClientContext> strict_tls);

  Task<void> TryAddress(Progress& progress, HostAddress host);
  // TryAddress() without its span.
  Task<void> SpeakTo(Progress& progress, const HostAddress& host);
  // Transactions over one session, until each open recipient has a reply or the session
  // breaks. False: a kept session was dead from the start, and nothing was sent.
  Task<bool> Converse(Progress& progress, smtp::Client& client, const HostAddress& host, bool kept);
  Task<std::unique_ptr<smtp::Client>> Open(Progress& progress, const HostAddress& host);
  Task<smtp::OpenResult> OpenOnce(const HostAddress& host, bool allow_tls);
  void FellBack(const DeliveryAttempt& attempt, const HostAddress& host, const smtp::Outcome& why);
  smtp::ClientOptions OptionsFor(const HostAddress& host, bool allow_tls) const;

  // Conversations that Abort() must cut; their connections outlive Leave().
  void Enter(net::Connection& connection);
  void Leave(net::Connection& connection);
  bool aborted() const;

  net::EventLoops& loops_;
  Routing& routing_;
  const RemoteOptions options_;
  const std::shared_ptr<net::TlsClientContext> plain_tls_, strict_tls_;
  ConnectionPool pool_;
  UnreachableHosts unreachable_;
  std::atomic<uint64_t> opened_{0}, reused_{0}, failed_{0}, tls_refused_{0}, tls_failed_{0}, converted_{0};
  std::atomic<uint64_t> tls12_{0}, tls13_{0}, clear_{0};
  mutable absl::Mutex mutex_;
  bool aborted_ ABSL_GUARDED_BY(mutex_) = false;
  absl::flat_hash_set<net::Connection*> busy_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::queue
