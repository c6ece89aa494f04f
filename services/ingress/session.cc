#include "services/ingress/session.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "services/common/metrics/metrics.h"
#include "services/common/rpc/trace.h"
#include "services/common/tracing/span.h"
#include "services/ingress/arrival.h"
#include "services/ingress/data_pace.h"
#include "services/ingress/enqueue.h"
#include "services/ingress/envelope_proto.h"
#include "services/ingress/lost_addresses.h"
#include "services/ingress/message_upload.h"
#include "services/ingress/metrics.h"
#include "services/ingress/refusals.h"
#include "services/ingress/replies.h"
#include "services/ingress/routing_and_directory.h"
#include "services/ingress/session_login.h"
#include "services/ingress/session_report.h"
#include "services/ingress/smtp_dialogue.h"

namespace posthouse::ingress {
namespace {

using Action = SmtpDialogue::Action;

constexpr size_t kReadBytes = 64 * 1024;
constexpr size_t kFlushBytes = 16 * 1024;
constexpr absl::Duration kHandshakeTimeout = absl::Seconds(30);

// For spans.
absl::Status StatusOf(const smtp::Reply& reply) {
  if (reply.positive()) return absl::OkStatus();
  return reply.temporary() ? absl::UnavailableError("deferred") : absl::FailedPreconditionError("refused");
}

class Session {
 public:
  Session(SessionContext context, Port port, std::shared_ptr<const Settings> settings,
          std::shared_ptr<net::TlsServerContext> tls, std::unique_ptr<net::Connection> connection)
      : context_(std::move(context)),
        port_(port),
        settings_(std::move(settings)),
        tls_(std::move(tls)),
        connection_(std::move(connection)),
        dialogue_(MakeRules(), connection_->tls()),
        report_(context_, port_, *connection_, dialogue_),
        login_(context_, port_, *connection_) {
    if (connection_->tls()) context_.metrics->TlsSessions(connection_->tls_info().version).Add();
  }

  Task<void> Run();

 private:
  Rules MakeRules() const;
  Task<Action> Perform(Action action);
  Task<Action> Resolve();
  Task<Action> Authenticate();
  Task<Action> StartTls();
  Task<Action> ReceiveData();
  Task<Action> ReceiveChunk();
  Task<Action> Answer();
  Task<std::optional<std::string>> ReadData(uint64_t max);
  bool TooSlow() const { return message_.pace.TooSlow(settings_->data_timeout); }
  Task<bool> Flush();
  std::unique_ptr<MessageUpload> NewUpload(smtp::DataFormat format);
  Action Lost(const absl::Status& status);
  void CutOff(const absl::Status& why, bool told = false);
  // The trace of the transaction in progress.
  const rpc::TraceContext& Trace();
  // Makes the span of the transaction in progress, if it began, and forgets it.
  void EndMessage(const absl::Status& status);
  const std::string& trace_id() const { return message_.trace.trace_id; }

  const SessionContext context_;
  const Port port_;
  const std::shared_ptr<const Settings> settings_;
  const std::shared_ptr<net::TlsServerContext> tls_;
  const std::unique_ptr<net::Connection> connection_;
  SmtpDialogue dialogue_;
  std::string out_;  // replies not sent yet
  // The mail transaction in progress: its trace begins with the first question about a
  // recipient, its upload with the data.
  struct Message {
    rpc::TraceContext trace = rpc::TraceContext::New();
    std::unique_ptr<MessageUpload> upload;
    // When its trace began; InfiniteFuture: nothing has been asked for it.
    absl::Time began = absl::InfiniteFuture();
    DataPace pace;
  };
  Message message_;
  bool draining_ = false;
  SessionReport report_;
  SessionLogin login_;
};

Rules Session::MakeRules() const {
  Rules rules;
  rules.policy = settings_;
  rules.submission = port_ != Port::kMx;
  rules.starttls = tls_ != nullptr;
  const std::string& peer = connection_->peer().address;
  rules.trusted_network =
      port_ == Port::kMx && std::any_of(settings_->relay_networks.begin(), settings_->relay_networks.end(),
                                        [&](const net::Cidr& network) { return network.Contains(peer); });
  return rules;
}

Task<void> Session::Run() {
  context_.metrics->Connections(port_).Add();
  const size_t max_line = port_ == Port::kMx ? smtp::kMaxCommandLine : smtp::kMaxAuthLine;
  dialogue_.Greet(&out_);
  bool open = co_await Flush();
  while (open) {
    if (login_.revoked()) {
      Lost(absl::CancelledError("the session was revoked"));
      (void)co_await Flush();
      break;
    }
    // RFC 5321 §4.5.3.2.7: at least five minutes for the next command.
    absl::StatusOr<std::string> line = co_await connection_->ReadLine(max_line, settings_->command_timeout);
    Action action = Action::kNone;
    if (line.ok()) {
      // The next sender is checked against these addresses.
      if (login_.senders_stale() && absl::StartsWithIgnoreCase(*line, "MAIL")) {
        std::optional<std::vector<std::string>> senders = co_await login_.AskSenders(*dialogue_.login());
        if (senders.has_value()) dialogue_.SetSenders(*std::move(senders));
      }
      action = co_await Perform(dialogue_.OnLine(*line, &out_));
    } else if (absl::IsResourceExhausted(line.status())) {
      action = dialogue_.OnLineTooLong(&out_);
    } else {
      action = Lost(line.status());
    }
    // RFC 3030 §4.2: RSET, EHLO or QUIT between chunks ends the message; the next
    // message must not contain its bytes.
    if (message_.upload != nullptr && dialogue_.state() != SmtpDialogue::State::kChunks) {
      CutOff(absl::CancelledError("the client reset the session between chunks"));
    }
    if (draining_ && action == Action::kNone) {
      dialogue_.Bye(std::nullopt, "4.3.2", "Service shutting down", &out_);
      action = Action::kClose;
    }
    report_.TakeRefusals(trace_id());
    // RFC 2920 §3.2: replies of a pipelined group leave together; none waits for a
    // command that has not come yet.
    const bool group_ends = !connection_->LineBuffered() || dialogue_.ends_group() || out_.size() > kFlushBytes;
    if (action == Action::kClose || group_ends) open = co_await Flush();
    if (action == Action::kClose) open = false;
  }
  if (message_.upload != nullptr) CutOff(absl::UnavailableError("the client closed the connection"));
  EndMessage(absl::CancelledError("the session ended"));
  report_.CountReplies();
}

// Performs the actions of the state machine until it needs the next line.
Task<Action> Session::Perform(Action action) {
  while (action != Action::kNone && action != Action::kClose) {
    switch (action) {
      case Action::kResolve:
        action = co_await Resolve();
        break;
      case Action::kAuthenticate:
        action = co_await Authenticate();
        break;
      case Action::kStartTls:
        action = co_await StartTls();
        break;
      case Action::kReceiveData:
        action = co_await ReceiveData();
        break;
      case Action::kReceiveChunk:
        action = co_await ReceiveChunk();
        break;
      case Action::kNone:
      case Action::kClose:
        break;
    }
  }
  co_return action;
}

Task<Action> Session::Resolve() {
  // A balancer before the port that hides clients: who is behind a trusted address is not known.
  if (port_ == Port::kMx &&
      context_.lost_addresses->Saw(connection_->peer().address, dialogue_.client_name(), absl::Now())) {
    dialogue_.DistrustNetwork();
  }
  metrics::Timer timer(context_.metrics->resolve_seconds);
  const Resolution resolution =
      co_await context_.peers->Resolve(Trace(), dialogue_.resolve_address(), dialogue_.may_relay());
  co_return dialogue_.OnResolved(resolution, &out_);
}

Task<Action> Session::Authenticate() {
  const absl::StatusOr<Login> login = co_await login_.Check(dialogue_.credentials(), Trace());
  co_return dialogue_.OnAuthenticated(login.status(), login.ok() ? *login : Login(), &out_);
}

Task<Action> Session::StartTls() {
  if (!co_await Flush()) co_return Action::kClose;
  const absl::Status status = co_await connection_->StartTlsServer(tls_, kHandshakeTimeout);
  report_.TlsStarted(status, trace_id());
  if (!status.ok()) co_return Action::kClose;
  dialogue_.OnTlsStarted();
  co_return Action::kNone;
}

// ---- messages

std::unique_ptr<MessageUpload> Session::NewUpload(smtp::DataFormat format) {
  const Arrival arrival{*connection_, dialogue_, *settings_, Trace()};
  return std::make_unique<MessageUpload>(
      settings_, UploadOptionsOf(arrival, format),
      context_.enqueuer->Begin(message_.trace, ToProto(dialogue_.envelope(), OriginOf(arrival)),
                               ResolvedAt(dialogue_.envelope())));
}

// Reads some bytes of message data. nullopt: the connection ended, and Lost() was called.
Task<std::optional<std::string>> Session::ReadData(uint64_t max) {
  while (true) {
    // RFC 5321 §4.5.3.2.5: three minutes a block.
    const absl::Time start = absl::Now();
    absl::StatusOr<std::string> bytes = co_await connection_->ReadSome(
        static_cast<size_t>(std::min<uint64_t>(max, kReadBytes)), settings_->data_timeout);
    message_.pace.Read(absl::Now() - start, bytes.ok() ? bytes->size() : 0);
    if (bytes.ok()) {
      if (!TooSlow()) co_return *std::move(bytes);
      Lost(absl::DeadlineExceededError("the client sends message data too slowly"));
      co_return std::nullopt;
    }
    if (!absl::IsCancelled(bytes.status())) {
      Lost(bytes.status());
      co_return std::nullopt;
    }
    if (draining_ || login_.revoked()) {  // the second time: the time of the drain is up
      Lost(bytes.status());
      co_return std::nullopt;
    }
    draining_ = true;  // after the message in progress
  }
}

Task<Action> Session::ReceiveData() {
  if (!co_await Flush()) co_return Action::kClose;
  message_.upload = NewUpload(smtp::DataFormat::kDotStuffed);
  while (!message_.upload->done()) {
    std::optional<std::string> bytes = co_await ReadData(kReadBytes);
    if (!bytes.has_value()) co_return Action::kClose;
    std::string rest = co_await message_.upload->Add(*std::move(bytes));
    connection_->Unread(std::move(rest));
    if (message_.upload->Flooded())
      co_return Lost(absl::ResourceExhaustedError("the message data exceeds twice the limit"));
  }
  co_return co_await Answer();
}

// One chunk (RFC 3030 §2). Small ones arrive pipelined with their commands, so
// replies wait for the end of the group here too.
Task<Action> Session::ReceiveChunk() {
  const SmtpDialogue::Chunk chunk = dialogue_.chunk();
  if (!chunk.discard && message_.upload == nullptr) message_.upload = NewUpload(smtp::DataFormat::kChunk);
  uint64_t left = chunk.bytes;
  while (left > 0) {
    if (connection_->Buffered() == 0 && !co_await Flush()) co_return Action::kClose;
    std::optional<std::string> bytes = co_await ReadData(left);
    if (!bytes.has_value()) co_return Action::kClose;
    left -= bytes->size();
    if (chunk.discard) continue;
    co_await message_.upload->Add(*std::move(bytes));
    if (message_.upload->Flooded())
      co_return Lost(absl::ResourceExhaustedError("the message data exceeds twice the limit"));
  }
  if (chunk.discard) co_return dialogue_.OnChunk(std::nullopt, &out_);
  if (chunk.last) {
    co_await message_.upload->FinishChunks();
    co_return co_await Answer();
  }
  const std::optional<smtp::Reply> refusal = message_.upload->refusal();
  if (refusal.has_value()) {
    report_.MessageEnded(*message_.upload, *refusal, absl::ZeroDuration(), trace_id());
    EndMessage(StatusOf(*refusal));
  }
  co_return dialogue_.OnChunk(refusal, &out_);
}

// The message is complete: commits it to the queue and sends the reply.
Task<Action> Session::Answer() {
  const absl::Time end_of_data = absl::Now();
  // At a RCPT the size may not have been known.
  const std::optional<Misfit> misfit = FitsNobody({message_.upload->bytes(), message_.upload->added()},
                                                  dialogue_.envelope(), /*retried=*/!dialogue_.login().has_value());
  if (misfit.has_value()) message_.upload->Refuse(misfit->reason, misfit->reply);
  if (login_.revoked()) co_return Lost(absl::CancelledError("the session was revoked"));
  // RFC 5321 §4.2.5: 250 only when the queue has taken responsibility.
  const smtp::Reply reply = co_await message_.upload->Commit();
  if (reply.positive()) context_.peers->Accepted(dialogue_.envelope(), message_.upload->bytes());
  report_.MessageEnded(*message_.upload, reply, absl::Now() - end_of_data, trace_id());
  EndMessage(StatusOf(reply));
  co_return dialogue_.OnMessage(reply, &out_);
}

// ---- the connection

// Ends a session without QUIT: 421 unless the connection failed. Returns kClose.
Action Session::Lost(const absl::Status& status) {
  if (absl::IsDeadlineExceeded(status)) {
    dialogue_.Bye(TooSlow() ? Reason::kTooSlow : Reason::kTimeout, "4.4.2", "Timeout, closing connection", &out_);
  } else if (absl::IsCancelled(status) && login_.revoked()) {
    // RFC 5321 §3.8 has 421 for any end that the server decides.
    const std::optional<Reason> why = message_.upload != nullptr ? std::optional(Reason::kOther) : std::nullopt;
    dialogue_.Bye(why, "4.7.0", login_.RevokeText(), &out_);
  } else if (absl::IsCancelled(status)) {
    // A session without a message is not refused anything.
    const std::optional<Reason> why = message_.upload != nullptr ? std::optional(Reason::kDraining) : std::nullopt;
    dialogue_.Bye(why, "4.3.2", "Service shutting down", &out_);
  } else if (absl::IsResourceExhausted(status)) {
    dialogue_.Bye(Reason::kTooMuchData, "4.3.4", "Message data exceeds the limit", &out_);
  }
  report_.TakeRefusals(trace_id());
  // The client got no reply to its data, so it still has the message (RFC 5321 §4.1.1.4).
  if (message_.upload != nullptr) CutOff(status, /*told=*/!absl::IsUnavailable(status));
  return Action::kClose;
}

// Drops the message in progress, which was not read to its end. `told`: the client got a
// 421, which is reported already.
void Session::CutOff(const absl::Status& why, bool told) {
  report_.MessageCutOff(*message_.upload, why, told, trace_id());
  EndMessage(why);
}

const rpc::TraceContext& Session::Trace() {
  message_.began = std::min(message_.began, absl::Now());
  return message_.trace;
}

void Session::EndMessage(const absl::Status& status) {
  if (message_.began != absl::InfiniteFuture()) {
    std::vector<std::pair<const char*, std::string>> attributes = {{"posthouse.port", PortName(port_)}};
    if (message_.upload != nullptr) attributes.emplace_back("posthouse.queue_id", message_.upload->queue_id());
    tracing::EmitRoot(message_.trace, "smtp.transaction", message_.began, status, std::move(attributes));
  }
  message_ = Message();
}

// Sends the replies. False: the connection failed.
Task<bool> Session::Flush() {
  report_.CountReplies();
  if (out_.empty()) co_return true;
  co_return (co_await connection_->Write(std::exchange(out_, std::string()), settings_->command_timeout)).ok();
}

}  // namespace

Task<void> ServeSmtp(SessionContext context, Port port, std::shared_ptr<const Settings> settings,
                     std::shared_ptr<net::TlsServerContext> tls, std::unique_ptr<net::Connection> connection) {
  Session session(std::move(context), port, std::move(settings), std::move(tls), std::move(connection));
  co_await session.Run();
}

}  // namespace posthouse::ingress
