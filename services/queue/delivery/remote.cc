#include "services/queue/delivery/remote.h"

#include <arpa/inet.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "posthouse/routing/v1/routing.pb.h"
#include "services/common/net/connection.h"
#include "services/common/net/tls.h"
#include "services/common/status/status.h"
#include "services/mail_formats/smtp/client.h"
#include "services/mail_formats/smtp/path.h"

namespace posthouse::queue {
namespace {

namespace rv1 = posthouse::routing::v1;
using SmtpKind = smtp::Outcome::Kind;

// RFC 5321 §4.5.3.1.8: every host takes at least that many in one transaction.
constexpr size_t kRecipientsPerTransaction = 100;
constexpr uint64_t kPieceBytes = 256 * 1024;
// Hosts that may answer "later" in one attempt: greylisting is not fought.
constexpr int kMaxConversations = 2;
// While there are other hosts, so many addresses of one are enough.
constexpr int kAddressesPerHost = 2;
constexpr uint64_t kHeaderBytes = 64 * 1024;
constexpr size_t kMaxDead = 10000;

// One host's address, and how to speak to it.
struct Place {
  std::string host;
  net::Endpoint endpoint;
  rv1::TlsPolicy tls;
  std::string Key() const { return absl::StrCat(endpoint.ToString(), "|", host, "|", tls); }
};

// In the order to try. A host with many addresses leaves room for its neighbours.
std::vector<Place> PlacesOf(const rv1::ResolveDestinationResponse& answer, size_t max) {
  std::vector<Place> places;
  std::vector<Place> more;
  for (const rv1::Host& host : answer.hosts()) {
    int n = 0;
    for (const std::string& address : host.addresses()) {
      const auto port = static_cast<uint16_t>(host.port() == 0 ? 25 : host.port());
      (n++ < kAddressesPerHost ? places : more).push_back({host.name(), {address, port}, host.tls()});
    }
  }
  places.insert(places.end(), more.begin(), more.end());
  if (places.size() > max) places.erase(places.begin() + static_cast<ptrdiff_t>(max), places.end());
  return places;
}

// SNI is for names (RFC 6066 §3).
bool IsAddress(absl::string_view host) {
  unsigned char bytes[sizeof(in6_addr)];
  const std::string text(host);
  return absl::StartsWith(host, "[") || inet_pton(AF_INET, text.c_str(), bytes) == 1 ||
         inet_pton(AF_INET6, text.c_str(), bytes) == 1;
}

bool Closing(const smtp::Outcome& outcome) {
  return outcome.kind == SmtpKind::kConnection || outcome.reply.code == 421;
}

// Pieces of the message, from memory or from the spool. `unreadable` is why there
// are no more.
Task<absl::StatusOr<absl::Cord>> NextPiece(const Transaction* transaction, std::shared_ptr<uint64_t> at,
                                           absl::Status* unreadable) {
  if (*at >= transaction->size_bytes) co_return absl::Cord();
  if (transaction->memory != nullptr) {
    *at = transaction->size_bytes;
    co_return absl::MakeCordFromExternal(*transaction->memory, [keep = transaction->memory] {});
  }
  absl::StatusOr<absl::Cord> piece =
      co_await transaction->read(*at, std::min(kPieceBytes, transaction->size_bytes - *at));
  if (piece.ok() && piece->empty()) piece = absl::DataLossError("the message is shorter than when it was accepted");
  if (!piece.ok()) {
    *unreadable = piece.status();
    co_return piece.status();
  }
  *at += piece->size();
  co_return piece;
}

// Whether the message itself needs SMTPUTF8 (RFC 6531 §3.6): many clients ask for it
// whenever it is offered, and an ASCII message must not fail at a host without it.
// What cannot be looked at now is believed.
Task<bool> NeedsSmtpUtf8(const Transaction& transaction) {
  if (!transaction.smtputf8) co_return false;
  if (!IsAscii(transaction.reverse_path)) co_return true;
  const uint64_t length = std::min(kHeaderBytes, transaction.size_bytes);
  std::string front;
  if (transaction.memory != nullptr) {
    front = transaction.memory->substr(0, length);
  } else {
    const absl::StatusOr<absl::Cord> bytes = co_await transaction.read(0, length);
    if (!bytes.ok()) co_return true;
    front = std::string(*bytes);
  }
  const size_t end = front.find("\r\n\r\n");
  if (end == std::string::npos && length < transaction.size_bytes) co_return true;
  co_return !IsAscii(absl::string_view(front).substr(0, end));
}

smtp::ClientMessage MessageFor(const Transaction& transaction, const std::vector<size_t>& targets, bool smtputf8,
                               absl::Status* unreadable) {
  smtp::ClientMessage message;
  message.reverse_path = transaction.reverse_path;
  message.parameters = smtp::FromProto(transaction.envelope);
  message.parameters.size = transaction.size_bytes;
  message.parameters.smtputf8 = smtputf8;
  for (const size_t i : targets) {
    const v1::EnvelopeRecipient& recipient = transaction.targets[i].recipient;
    message.recipients.push_back({recipient.address(), smtp::FromProto(recipient)});
  }
  message.next = [transaction = &transaction, at = std::make_shared<uint64_t>(0), unreadable] {
    return NextPiece(transaction, at, unreadable);
  };
  return message;
}

class RemoteDeliveryImpl final : public RemoteDelivery {
 public:
  RemoteDeliveryImpl(net::EventLoops& loops, Routing& routing, RemoteOptions options,
                     std::shared_ptr<net::TlsClientContext> plain_tls,
                     std::shared_ptr<net::TlsClientContext> strict_tls)
      : loops_(loops),
        routing_(routing),
        options_(std::move(options)),
        plain_tls_(std::move(plain_tls)),
        strict_tls_(std::move(strict_tls)),
        pool_(options_.pool) {}

  Task<DeliveryResult> Deliver(const Transaction& transaction) override;
  void Abort() override;
  Stats stats() const override {
    Stats stats{opened_, reused_, failed_, 0, pool_.idle()};
    absl::MutexLock lock(&mutex_);
    stats.open = busy_.size();
    return stats;
  }

 private:
  // Where an attempt stands: who is settled, and the best reason for who is not.
  struct State {
    State(const Transaction& t, bool utf8)
        : transaction(t), smtputf8(utf8), outcomes(t.targets.size()), deferred(t.targets.size()) {}
    std::vector<size_t> Open() const {
      std::vector<size_t> open;
      for (size_t i = 0; i < outcomes.size(); ++i) {
        if (!outcomes[i].has_value()) open.push_back(i);
      }
      return open;
    }
    // What a host that held the conversation says to a recipient. "Later" leaves him
    // to another host (RFC 5321 §5.1: until an attempt succeeds), whose "never" then
    // does not count: a better host has not said it.
    void Said(size_t i, Outcome outcome) {
      if (outcome.kind == Outcome::Kind::kTemporary && !outcome.maybe_accepted) {
        if (!deferred[i].has_value()) deferred[i] = std::move(outcome);
      } else if (outcome.kind != Outcome::Kind::kPermanent || !deferred[i].has_value()) {
        outcomes[i] = std::move(outcome);
      }
    }
    // A host that could not be spoken to. One that may come back weighs more than
    // one that said never.
    void Failed(Outcome outcome) {
      if (!failure.has_value() || outcome.kind == Outcome::Kind::kTemporary) failure = std::move(outcome);
    }
    const Transaction& transaction;
    const bool smtputf8;
    std::vector<std::optional<Outcome>> outcomes;  // final
    std::vector<std::optional<Outcome>> deferred;
    std::optional<Outcome> failure;
    std::string spoke_to;  // the host that held a whole conversation last; "" none
    int conversations = 0;
    bool clean = false;       // one of them without "421 go away"
    absl::Status unreadable;  // our own message
  };

  Task<void> TryPlace(State& state, Place place);
  // Transactions over one session, until all are told something or it breaks. False:
  // a kept session was dead from the start, and nobody was told.
  Task<bool> Converse(State& state, smtp::Client& client, const Place& place, bool kept);
  Task<std::unique_ptr<smtp::Client>> Open(State& state, const Place& place);
  Task<smtp::OpenResult> OpenOnce(const Place& place, bool allow_tls);
  smtp::ClientOptions OptionsFor(const Place& place, bool allow_tls) const;
  void SetWhere(const Place& place, smtp::Client* client, Outcome* outcome) const;

  // Addresses that did not answer a moment ago go behind those that may
  // (RFC 5321 §4.5.4.1: keep a list of hosts that cannot be reached).
  void DeadLast(std::vector<Place>* places);
  void SetDead(const Place& place, bool dead);

  // Conversations that Abort() must cut; their connections outlive Leave().
  void Enter(net::Connection& connection) {
    absl::MutexLock lock(&mutex_);
    busy_.insert(&connection);
    if (aborted_) connection.Close();
  }
  void Leave(net::Connection& connection) {
    absl::MutexLock lock(&mutex_);
    busy_.erase(&connection);
  }
  bool aborted() const {
    absl::MutexLock lock(&mutex_);
    return aborted_;
  }

  net::EventLoops& loops_;
  Routing& routing_;
  const RemoteOptions options_;
  const std::shared_ptr<net::TlsClientContext> plain_tls_, strict_tls_;
  ConnectionPool pool_;
  std::atomic<uint64_t> opened_{0}, reused_{0}, failed_{0};
  mutable absl::Mutex mutex_;
  bool aborted_ ABSL_GUARDED_BY(mutex_) = false;
  absl::flat_hash_set<net::Connection*> busy_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, absl::Time> dead_until_ ABSL_GUARDED_BY(mutex_);  // by endpoint
};

Task<DeliveryResult> RemoteDeliveryImpl::Deliver(const Transaction& transaction) {
  const auto answer = co_await routing_.Destination(transaction.destination);
  if (!answer.ok()) {
    Outcome outcome = MakeOutcome(Outcome::Kind::kTemporary, 451, "4.4.3", "the destination cannot be looked up now");
    outcome.attempt.set_error(CutText(absl::StrCat("routing: ", answer.status().message())));
    co_return SameForAll(transaction, outcome, Reach::kNeutral);
  }
  std::vector<Place> places = PlacesOf(**answer, static_cast<size_t>(options_.max_addresses));
  if ((*answer)->outcome() != rv1::ResolveDestinationResponse::OUTCOME_HOSTS || places.empty()) {
    co_return ResultForNoHosts(transaction, **answer);
  }
  DeadLast(&places);
  const bool smtputf8 = co_await NeedsSmtpUtf8(transaction);
  State state(transaction, smtputf8);
  // RFC 5321 §5.1: each address in order until a delivery attempt succeeds.
  for (const Place& place : places) {
    if (state.Open().empty() || state.conversations >= kMaxConversations || aborted()) break;
    // What a host has put off it puts off under its other addresses too.
    if (!state.spoke_to.empty() && place.host == state.spoke_to) continue;
    co_await TryPlace(state, place);
  }
  DeliveryResult result;
  result.site = (*answer)->site();
  result.reach = state.clean ? Reach::kSuccess : Reach::kUnreachable;
  const Outcome nobody = MakeOutcome(Outcome::Kind::kTemporary, 451, "4.4.1", "no host of the destination answers");
  for (size_t i = 0; i < state.outcomes.size(); ++i) {
    std::optional<Outcome>& said = state.outcomes[i].has_value() ? state.outcomes[i] : state.deferred[i];
    result.outcomes.push_back(said.has_value() ? *std::move(said) : state.failure.value_or(nobody));
  }
  co_return result;
}

Task<void> RemoteDeliveryImpl::TryPlace(State& state, Place place) {
  if (std::unique_ptr<smtp::Client> kept = pool_.Take(place.Key()); kept != nullptr) {
    net::EventLoop& loop = kept->connection().loop();
    if (Executor::Current() != &loop) co_await SwitchTo(loop);
    const bool used = co_await Converse(state, *kept, place, /*kept=*/true);
    if (used) ++reused_;
    if (kept->usable()) pool_.Give(place.Key(), std::move(kept));
    if (used) co_return;
    // It had gone while it was idle: that says nothing about the host.
  }
  std::unique_ptr<smtp::Client> client = co_await Open(state, place);
  if (client == nullptr) co_return;
  co_await Converse(state, *client, place, /*kept=*/false);
  if (client->usable()) pool_.Give(place.Key(), std::move(client));
}

Task<bool> RemoteDeliveryImpl::Converse(State& state, smtp::Client& client, const Place& place, bool kept) {
  bool used = false;
  bool spoke = false;
  bool told_to_go = false;
  Enter(client.connection());
  std::vector<size_t> open = state.Open();
  while (!open.empty() && client.usable()) {
    std::vector<size_t> group(open.begin(),
                              open.begin() + static_cast<ptrdiff_t>(std::min(open.size(), kRecipientsPerTransaction)));
    open.erase(open.begin(), open.begin() + static_cast<ptrdiff_t>(group.size()));
    smtp::ClientMessage message = MessageFor(state.transaction, group, state.smtputf8, &state.unreadable);
    const smtp::SendResult sent = co_await client.Send(std::move(message));
    // A kept session that ends at its first command was dead; a new one speaks again.
    const bool dead = kept && !used && std::all_of(sent.recipients.begin(), sent.recipients.end(), [](const auto& r) {
                        return Closing(r) && r.step == smtp::ClientStep::kMail;
                      });
    if (dead) break;
    used = true;
    for (size_t n = 0; n < group.size(); ++n) {
      const smtp::Outcome& said = sent.recipients[n];
      Outcome outcome = OutcomeForReply(said);
      if (said.step == smtp::ClientStep::kBody && !state.unreadable.ok()) {
        // No other host can be given what we do not have.
        state.outcomes[group[n]] = OutcomeForUnreadable(state.unreadable);
        spoke = true;
        continue;
      }
      outcome.dsn_handed_on = outcome.kind == Outcome::Kind::kRelayed && client.capabilities().dsn;
      SetWhere(place, &client, &outcome);
      told_to_go |= said.reply.code == 421;
      if (said.kind == SmtpKind::kConnection && !said.maybe_accepted) {
        state.Failed(std::move(outcome));  // another host may do better
      } else {
        state.Said(group[n], std::move(outcome));
        spoke = true;
      }
    }
  }
  Leave(client.connection());
  if (spoke) {
    state.spoke_to = place.host;
    ++state.conversations;
    state.clean |= !told_to_go;
  }
  co_return used;
}

Task<std::unique_ptr<smtp::Client>> RemoteDeliveryImpl::Open(State& state, const Place& place) {
  smtp::OpenResult opened = co_await OpenOnce(place, /*allow_tls=*/true);
  const bool opportunistic = place.tls == rv1::TLS_POLICY_OPPORTUNISTIC || place.tls == rv1::TLS_POLICY_UNSPECIFIED;
  const bool at_tls =
      opened.outcome.step == smtp::ClientStep::kTls || opened.outcome.step == smtp::ClientStep::kStartTls;
  if (opened.client == nullptr && at_tls && opportunistic && !aborted()) {
    // RFC 7435 §3: some encryption is better than none, and mail in the clear than none.
    opened = co_await OpenOnce(place, /*allow_tls=*/false);
  }
  if (opened.client != nullptr) {
    ++opened_;
    SetDead(place, false);
    co_return std::move(opened.client);
  }
  ++failed_;
  // Whoever answers and does not want us is not dead.
  const bool silent = opened.outcome.kind == SmtpKind::kConnection || opened.outcome.reply.code == 421;
  if (silent && !aborted()) SetDead(place, true);
  Outcome outcome = OutcomeForReply(opened.outcome);
  SetWhere(place, nullptr, &outcome);
  state.Failed(std::move(outcome));
  co_return nullptr;
}

Task<smtp::OpenResult> RemoteDeliveryImpl::OpenOnce(const Place& place, bool allow_tls) {
  net::EventLoop& loop = loops_.Next();
  if (Executor::Current() != &loop) co_await SwitchTo(loop);
  // A source address is of one family.
  const bool same_family =
      absl::StrContains(options_.source_address, ':') == absl::StrContains(place.endpoint.address, ':');
  absl::StatusOr<std::unique_ptr<net::Connection>> connection =
      co_await net::Connect(loop, place.endpoint, same_family ? options_.source_address : "", options_.connect_timeout);
  if (!connection.ok()) {
    smtp::OpenResult failed;
    failed.outcome.error = connection.status();
    co_return failed;
  }
  // A host that takes minutes to greet does not hold up our end.
  net::Connection& opening = **connection;
  Enter(opening);
  smtp::OpenResult opened = co_await smtp::Client::Open(*std::move(connection), OptionsFor(place, allow_tls));
  Leave(opening);
  opened.failed = nullptr;  // here, on its loop
  co_return opened;
}

void RemoteDeliveryImpl::DeadLast(std::vector<Place>* places) {
  absl::MutexLock lock(&mutex_);
  if (dead_until_.empty()) return;
  const absl::Time now = absl::Now();
  std::vector<Place> live, dead;
  for (Place& place : *places) {
    const auto it = dead_until_.find(place.endpoint.ToString());
    (it == dead_until_.end() || it->second <= now ? live : dead).push_back(std::move(place));
  }
  live.insert(live.end(), std::make_move_iterator(dead.begin()), std::make_move_iterator(dead.end()));
  *places = std::move(live);
}

void RemoteDeliveryImpl::SetDead(const Place& place, bool dead) {
  absl::MutexLock lock(&mutex_);
  if (!dead) {
    if (!dead_until_.empty()) dead_until_.erase(place.endpoint.ToString());
    return;
  }
  if (dead_until_.size() >= kMaxDead) dead_until_.clear();  // learned again as it is met
  dead_until_[place.endpoint.ToString()] = absl::Now() + options_.dead_for;
}

smtp::ClientOptions RemoteDeliveryImpl::OptionsFor(const Place& place, bool allow_tls) const {
  smtp::ClientOptions options;
  options.helo_name = options_.hostname;
  const bool verify = place.tls == rv1::TLS_POLICY_VERIFY;
  if (verify || !IsAddress(place.host)) options.server_name = place.host;
  options.timeouts = smtp::ClientTimeouts().CappedAt(options_.reply_timeout);
  options.tls_context = plain_tls_;
  switch (place.tls) {
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

void RemoteDeliveryImpl::SetWhere(const Place& place, smtp::Client* client, Outcome* outcome) const {
  outcome->attempt.set_host(CutText(place.host, 255));
  outcome->attempt.set_address(place.endpoint.ToString());
  if (client != nullptr && client->connection().tls()) {
    const net::TlsInfo& tls = client->connection().tls_info();
    outcome->attempt.set_tls(absl::StrCat(tls.version, " ", tls.cipher, tls.verified ? " verified" : ""));
  }
}

void RemoteDeliveryImpl::Abort() {
  {
    absl::MutexLock lock(&mutex_);
    aborted_ = true;
    for (net::Connection* connection : busy_) connection->Close();
  }
  pool_.Close();
}

}  // namespace

absl::StatusOr<std::unique_ptr<RemoteDelivery>> RemoteDelivery::Create(net::EventLoops& loops, Routing& routing,
                                                                       RemoteOptions options) {
  PH_ASSIGN_OR_RETURN(auto plain, net::TlsClientContext::Create(net::VerifyPeer::kNone, ""));
  PH_ASSIGN_OR_RETURN(auto strict, net::TlsClientContext::Create(net::VerifyPeer::kHostname, options.tls_ca_file));
  return std::make_unique<RemoteDeliveryImpl>(loops, routing, std::move(options), std::move(plain), std::move(strict));
}

DeliveryResult ResultForNoHosts(const Transaction& transaction, const rv1::ResolveDestinationResponse& answer) {
  using Response = rv1::ResolveDestinationResponse;
  Outcome outcome;
  switch (answer.outcome()) {
    case Response::OUTCOME_NO_SUCH_DOMAIN:
      outcome = MakeOutcome(Outcome::Kind::kPermanent, 550, "5.1.2", "the domain does not exist or takes no mail");
      break;
    case Response::OUTCOME_NULL_MX:  // RFC 7505 §4.1
      outcome = MakeOutcome(Outcome::Kind::kPermanent, 556, "5.1.10", "the domain takes no mail (null MX)");
      break;
    case Response::OUTCOME_LOOP:  // RFC 5321 §5.1: we must not send to ourselves
      outcome = MakeOutcome(Outcome::Kind::kPermanent, 554, "5.4.6", "mail for the domain loops back to this system");
      break;
    default:
      outcome = MakeOutcome(Outcome::Kind::kTemporary, 451, "4.4.3", "the domain cannot be looked up now");
      break;
  }
  if (!answer.detail().empty()) outcome.attempt.set_error(CutText(answer.detail()));
  return SameForAll(transaction, outcome, Reach::kNeutral);
}

Outcome OutcomeForReply(const smtp::Outcome& from) {
  Outcome outcome;
  outcome.maybe_accepted = from.maybe_accepted;
  const char* status = "4.0.0";
  switch (from.kind) {
    case SmtpKind::kAccepted:
      outcome.kind = Outcome::Kind::kRelayed;
      status = "2.0.0";
      break;
    case SmtpKind::kPermanent:
      outcome.kind = Outcome::Kind::kPermanent;
      status = "5.0.0";
      break;
    case SmtpKind::kTemporary:
      break;
    case SmtpKind::kConnection:
      // RFC 3463 §3.5: X.4.1 no answer from host, X.4.2 bad connection.
      status = from.step == smtp::ClientStep::kGreeting ? "4.4.1" : "4.4.2";
      break;
  }
  // A class that contradicts the reply code is not believed.
  const bool believed = !from.reply.enhanced.empty() && from.reply.enhanced[0] == status[0];
  outcome.status = believed ? CutText(from.reply.enhanced, 16) : status;
  if (from.reply.code != 0) {
    auto* reply = outcome.attempt.mutable_reply();
    reply->set_code(static_cast<uint32_t>(from.reply.code));
    reply->set_enhanced(CutText(from.reply.enhanced, 16));
    reply->set_text(CutText(from.reply.Text()));
  }
  if (!from.error.ok()) {
    outcome.attempt.set_error(CutText(absl::StrCat(smtp::ClientStepName(from.step), ": ", from.error.message())));
  }
  return outcome;
}

}  // namespace posthouse::queue
