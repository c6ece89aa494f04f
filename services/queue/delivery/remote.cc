#include "services/queue/delivery/remote.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "posthouse/routing/v1/routing.pb.h"
#include "services/common/ip_address/ip_address.h"
#include "services/common/log/log.h"
#include "services/common/net/connection.h"
#include "services/common/rpc/trace.h"
#include "services/common/status/status.h"
#include "services/common/tracing/span.h"
#include "services/mail_formats/smtp/client.h"
#include "services/mail_formats/smtp/path.h"

namespace posthouse::queue {
namespace {

namespace rv1 = posthouse::routing::v1;
using SmtpKind = smtp::Outcome::Kind;

// RFC 5321 §4.5.3.1.8: every host takes at least that many in one transaction.
constexpr size_t kRecipientsPerTransaction = 100;
// At most this many hosts may reply 4yz in one attempt: further hosts will not end a greylisting.
constexpr int kMaxConversations = 2;

// SNI is for names (RFC 6066 §3).
bool IsAddress(absl::string_view host) { return absl::StartsWith(host, "[") || IsIpAddress(host); }

bool Closing(const smtp::Outcome& outcome) {
  return outcome.kind == SmtpKind::kConnection || outcome.reply.code == 421;
}

std::string TraceId(const DeliveryAttempt& attempt) {
  const auto trace = rpc::TraceContext::Parse(attempt.envelope.traceparent());
  return trace.has_value() ? trace->trace_id : "";
}

void SetWhere(const HostAddress& host, smtp::Client* client, Outcome* outcome) {
  outcome->attempt.set_host(CutText(host.host, 255));
  outcome->attempt.set_address(host.endpoint.ToString());
  if (client != nullptr && client->connection().tls()) {
    const net::TlsInfo& tls = client->connection().tls_info();
    outcome->attempt.set_tls(absl::StrCat(tls.version, " ", tls.cipher, tls.verified ? " verified" : ""));
  }
}

}  // namespace

struct RemoteDelivery::Progress {
  const DeliveryAttempt& attempt;
  SmtpAttempt smtp;
  std::string spoke_to;   // the host of the last whole conversation; "" none
  int conversations = 0;  // whole ones
  bool clean = false;     // one of them was without a 421 reply
};

RemoteDelivery::RemoteDelivery(net::EventLoops& loops, Routing& routing, RemoteOptions options,
                               std::shared_ptr<net::TlsClientContext> plain_tls,
                               std::shared_ptr<net::TlsClientContext> strict_tls)
    : loops_(loops),
      routing_(routing),
      options_(std::move(options)),
      plain_tls_(std::move(plain_tls)),
      strict_tls_(std::move(strict_tls)),
      pool_(options_.pool),
      unreachable_(options_.unreachable_for) {}

absl::StatusOr<std::unique_ptr<RemoteDelivery>> RemoteDelivery::Create(net::EventLoops& loops, Routing& routing,
                                                                       RemoteOptions options) {
  PH_ASSIGN_OR_RETURN(auto plain, net::TlsClientContext::Create(net::VerifyPeer::kNone, ""));
  PH_ASSIGN_OR_RETURN(auto strict, net::TlsClientContext::Create(net::VerifyPeer::kHostname, options.tls_ca_file));
  return std::unique_ptr<RemoteDelivery>(
      new RemoteDelivery(loops, routing, std::move(options), std::move(plain), std::move(strict)));
}

Task<DeliveryResult> RemoteDelivery::Deliver(const DeliveryAttempt& attempt) {
  const auto answer = co_await routing_.ResolveDestination(attempt.destination.name(), attempt.Traceparent());
  if (!answer.ok()) {
    Outcome outcome = MakeOutcome(Outcome::Kind::kTemporary, 451, "4.4.3", "domain lookup failed, try again later");
    outcome.attempt.set_error(CutText(absl::StrCat("routing: ", answer.status().message())));
    co_return SameForAll(attempt, outcome, Reachability::kNeutral);
  }
  const std::vector<HostAddress> hosts =
      unreachable_.Choose(AddressesOf(**answer), static_cast<size_t>(options_.max_addresses), absl::Now());
  if ((*answer)->outcome() != rv1::ResolveDestinationResponse::OUTCOME_HOSTS || hosts.empty()) {
    co_return ResultForNoHosts(attempt, **answer);
  }
  const bool smtputf8 = co_await NeedsSmtpUtf8(attempt);
  Progress progress{.attempt = attempt, .smtp = SmtpAttempt(attempt, smtputf8)};
  // RFC 5321 §5.1: each address in order until a delivery attempt succeeds.
  for (const HostAddress& host : hosts) {
    if (progress.smtp.Open().empty() || progress.conversations >= kMaxConversations || aborted()) break;
    // A 4yz reply of this host counts for its other addresses too.
    if (!progress.spoke_to.empty() && host.host == progress.spoke_to) continue;
    co_await TryAddress(progress, host);
  }
  DeliveryResult result;
  result.site = (*answer)->site();
  result.reachability = progress.clean ? Reachability::kSuccess : Reachability::kUnreachable;
  result.outcomes = progress.smtp.TakeOutcomes();
  co_return result;
}

Task<void> RemoteDelivery::TryAddress(Progress& progress, HostAddress host) {
  if (!tracing::Wanted(progress.attempt.trace)) co_return co_await SpeakTo(progress, host);
  tracing::Span span;
  span.trace = progress.attempt.trace.Child();
  span.parent_id = progress.attempt.trace.parent_id;
  span.name = "smtp.delivery";
  span.kind = tracing::SpanKind::kClient;
  span.attributes = {{"server.address", CutText(host.host, 255)}, {"network.peer.address", host.endpoint.ToString()}};
  span.start = absl::Now();
  const int conversations = progress.conversations;
  co_await SpeakTo(progress, host);
  span.end = absl::Now();
  if (progress.conversations == conversations) span.status = absl::UnavailableError("the host could not be spoken to");
  tracing::Emit(std::move(span));
}

Task<void> RemoteDelivery::SpeakTo(Progress& progress, const HostAddress& host) {
  if (std::unique_ptr<smtp::Client> kept = pool_.Take(host.PoolKey()); kept != nullptr) {
    net::EventLoop& loop = kept->connection().loop();
    if (Executor::Current() != &loop) co_await SwitchTo(loop);
    const bool used = co_await Converse(progress, *kept, host, /*kept=*/true);
    if (used) ++reused_;
    if (kept->usable()) pool_.Give(host.PoolKey(), std::move(kept));
    if (used) co_return;
    // The host closed the idle session, which says nothing about the host.
  }
  std::unique_ptr<smtp::Client> client = co_await Open(progress, host);
  if (client == nullptr) co_return;
  co_await Converse(progress, *client, host, /*kept=*/false);
  if (client->usable()) pool_.Give(host.PoolKey(), std::move(client));
}

Task<bool> RemoteDelivery::Converse(Progress& progress, smtp::Client& client, const HostAddress& host, bool kept) {
  bool used = false;
  bool spoke = false;
  bool told_to_go = false;
  Enter(client.connection());
  std::vector<size_t> open = progress.smtp.Open();
  if (co_await progress.smtp.Prepare(client.capabilities().eight_bit_mime)) {
    ++converted_;
    LOG_EVENT(kInfo, "message_converted")
        .QueueId(progress.attempt.queue_id.Text())
        .Trace(TraceId(progress.attempt))
        .Str("host", host.host)
        .Str("reason", client.capabilities().eight_bit_mime ? "lines too long" : "8-bit or lines too long");
  }
  while (!open.empty() && client.usable()) {
    std::vector<size_t> group(open.begin(),
                              open.begin() + static_cast<ptrdiff_t>(std::min(open.size(), kRecipientsPerTransaction)));
    open.erase(open.begin(), open.begin() + static_cast<ptrdiff_t>(group.size()));
    smtp::ClientMessage message = progress.smtp.MessageFor(group);
    const smtp::SendResult sent = co_await client.Send(std::move(message));
    // A kept session that ends at its first command was dead: use a new one.
    const bool dead = kept && !used && std::all_of(sent.recipients.begin(), sent.recipients.end(), [](const auto& r) {
                        return Closing(r) && r.step == smtp::ClientStep::kMail;
                      });
    if (dead) break;
    used = true;
    for (size_t n = 0; n < group.size(); ++n) {
      const smtp::Outcome& said = sent.recipients[n];
      Outcome outcome = OutcomeForReply(said);
      if (said.step == smtp::ClientStep::kBody && !progress.smtp.unreadable().ok()) {
        // Another host would not get the message either.
        progress.smtp.Settle(group[n], OutcomeForUnreadable(progress.smtp.unreadable()));
        spoke = true;
        continue;
      }
      outcome.dsn_handed_on = outcome.kind == Outcome::Kind::kRelayed && client.capabilities().dsn;
      SetWhere(host, &client, &outcome);
      told_to_go |= said.reply.code == 421;
      if (said.kind == SmtpKind::kConnection && !said.maybe_accepted) {
        progress.smtp.HostFailed(std::move(outcome));  // another host may do better
      } else {
        progress.smtp.Replied(group[n], std::move(outcome));
        spoke = true;
      }
    }
  }
  Leave(client.connection());
  if (spoke) {
    progress.spoke_to = host.host;
    ++progress.conversations;
    progress.clean |= !told_to_go;
  }
  co_return used;
}

Task<std::unique_ptr<smtp::Client>> RemoteDelivery::Open(Progress& progress, const HostAddress& host) {
  smtp::OpenResult opened = co_await OpenOnce(host, /*allow_tls=*/true);
  const bool opportunistic = host.tls == rv1::TLS_POLICY_OPPORTUNISTIC || host.tls == rv1::TLS_POLICY_UNSPECIFIED;
  const bool at_tls =
      opened.outcome.step == smtp::ClientStep::kTls || opened.outcome.step == smtp::ClientStep::kStartTls;
  std::optional<smtp::Outcome> no_tls = opened.tls_refused;
  if (opened.client == nullptr && at_tls && opportunistic && !aborted()) {
    // RFC 7435 §3: when encryption fails, opportunistic security falls back to cleartext.
    no_tls = opened.outcome;
    opened = co_await OpenOnce(host, /*allow_tls=*/false);
  }
  if (opened.client != nullptr) {
    if (no_tls.has_value()) FellBack(progress.attempt, host, *no_tls);
    ++opened_;
    const net::Connection& connection = opened.client->connection();
    ++(!connection.tls() ? clear_ : connection.tls_info().version == "TLSv1.2" ? tls12_ : tls13_);
    unreachable_.Remove(host);
    co_return std::move(opened.client);
  }
  ++failed_;
  // A host that replies, even to refuse us, is reachable.
  const bool silent = opened.outcome.kind == SmtpKind::kConnection || opened.outcome.reply.code == 421;
  if (silent && !aborted()) unreachable_.Add(host, absl::Now());
  Outcome outcome = OutcomeForRefusedSession(opened.outcome, options_.bounce_refused_sessions);
  SetWhere(host, nullptr, &outcome);
  progress.smtp.HostFailed(std::move(outcome));
  co_return nullptr;
}

void RemoteDelivery::FellBack(const DeliveryAttempt& attempt, const HostAddress& host, const smtp::Outcome& why) {
  const bool refused = why.reply.code != 0;
  ++(refused ? tls_refused_ : tls_failed_);
  LOG_EVENT(kInfo, "tls_fallback")
      .QueueId(attempt.queue_id.Text())
      .Trace(TraceId(attempt))
      .Str("host", host.host)
      .Str("address", host.endpoint.ToString())
      .Str("reason", refused ? absl::StrCat("STARTTLS refused: ", why.reply.ToString()) : ErrorText(why));
}

Task<smtp::OpenResult> RemoteDelivery::OpenOnce(const HostAddress& host, bool allow_tls) {
  net::EventLoop& loop = loops_.Next();
  if (Executor::Current() != &loop) co_await SwitchTo(loop);
  // The source address serves hosts of its own address family only.
  const bool same_family =
      absl::StrContains(options_.source_address, ':') == absl::StrContains(host.endpoint.address, ':');
  absl::StatusOr<std::unique_ptr<net::Connection>> connection =
      co_await net::Connect(loop, host.endpoint, same_family ? options_.source_address : "", options_.connect_timeout);
  if (!connection.ok()) {
    smtp::OpenResult failed;
    failed.outcome.step = smtp::ClientStep::kConnect;
    failed.outcome.error = connection.status();
    co_return failed;
  }
  // Abort() also cuts a session that has not been greeted yet.
  net::Connection& opening = **connection;
  Enter(opening);
  smtp::OpenResult opened = co_await smtp::Client::Open(*std::move(connection), OptionsFor(host, allow_tls));
  Leave(opening);
  opened.failed = nullptr;  // here, on its loop
  co_return opened;
}

smtp::ClientOptions RemoteDelivery::OptionsFor(const HostAddress& host, bool allow_tls) const {
  smtp::ClientOptions options;
  options.helo_name = options_.hostname;
  const bool verify = host.tls == rv1::TLS_POLICY_VERIFY;
  if (verify || !IsAddress(host.host)) options.server_name = host.host;
  options.timeouts = smtp::ClientTimeouts().CappedAt(options_.reply_timeout);
  options.timeouts.end_of_data = options_.end_of_data_timeout;
  options.timeouts.greeting = std::min(options.timeouts.greeting, options_.greeting_timeout);
  options.tls_context = plain_tls_;
  switch (host.tls) {
    case rv1::TLS_POLICY_NONE:
      options.tls = smtp::ClientTls::kNever;
      break;
    case rv1::TLS_POLICY_REQUIRED:
      options.tls = smtp::ClientTls::kRequired;
      break;
    case rv1::TLS_POLICY_VERIFY:
      options.tls = smtp::ClientTls::kRequired;
      options.tls_context = strict_tls_;
      break;
    default:
      options.tls = allow_tls ? smtp::ClientTls::kOpportunistic : smtp::ClientTls::kNever;
      break;
  }
  return options;
}

void RemoteDelivery::Enter(net::Connection& connection) {
  absl::MutexLock lock(&mutex_);
  busy_.insert(&connection);
  if (aborted_) connection.Close();
}

void RemoteDelivery::Leave(net::Connection& connection) {
  absl::MutexLock lock(&mutex_);
  busy_.erase(&connection);
}

bool RemoteDelivery::aborted() const {
  absl::MutexLock lock(&mutex_);
  return aborted_;
}

void RemoteDelivery::Abort() {
  {
    absl::MutexLock lock(&mutex_);
    aborted_ = true;
    for (net::Connection* connection : busy_) connection->Close();
  }
  pool_.Close();
}

RemoteDelivery::Stats RemoteDelivery::stats() const {
  Stats stats{opened_,     reused_,    failed_, 0,      pool_.idle(), tls_refused_,
              tls_failed_, converted_, tls12_,  tls13_, clear_};
  absl::MutexLock lock(&mutex_);
  stats.open = busy_.size();
  return stats;
}

}  // namespace posthouse::queue
