#include "services/ingress/session.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/common/log/log.h"
#include "services/common/rpc/trace.h"
#include "services/ingress/envelope_proto.h"
#include "services/ingress/intake.h"
#include "services/ingress/replies.h"
#include "services/ingress/transaction.h"
#include "services/mail_formats/smtp/received.h"

namespace posthouse::ingress {
namespace {

using Action = Transaction::Action;

constexpr size_t kReadBytes = 64 * 1024;
constexpr size_t kFlushBytes = 16 * 1024;
constexpr absl::Duration kHandshakeTimeout = absl::Seconds(30);
// Message data that comes more slowly than this, over more than two data timeouts,
// is somebody holding a connection. Time that we make the client wait does not count.
constexpr double kMinBytesPerSecond = 128;

class Session {
 public:
  Session(SessionContext context, Port port, std::shared_ptr<const Settings> settings,
          std::shared_ptr<net::TlsServerContext> tls, std::unique_ptr<net::Connection> connection)
      : context_(std::move(context)),
        port_(port),
        settings_(std::move(settings)),
        tls_(std::move(tls)),
        connection_(std::move(connection)),
        transaction_(MakeRules(), connection_->tls()) {}

  Task<void> Run();

 private:
  Rules MakeRules() const;
  Task<Action> Perform(Action action);
  Task<Action> Login();
  Task<Action> StartTls();
  Task<Action> ReceiveData();
  Task<Action> ReceiveChunk();
  Task<Action> Answer();
  Task<std::optional<std::string>> ReadData(uint64_t max);
  bool TooSlow() const;
  Task<bool> Flush();
  std::unique_ptr<Intake> NewIntake(smtp::DataFormat format);
  std::string ReceivedField() const;
  Action Lost(const absl::Status& status);
  void CutOff(const absl::Status& why);
  void Record(const Intake& intake, const smtp::Reply& reply, absl::Duration took);
  void CountNew();

  const SessionContext context_;
  const Port port_;
  const std::shared_ptr<const Settings> settings_;
  const std::shared_ptr<net::TlsServerContext> tls_;
  const std::unique_ptr<net::Connection> connection_;
  Transaction transaction_;
  std::string out_;                                     // replies not sent yet
  std::unique_ptr<Intake> intake_;                      // the message in progress
  rpc::TraceContext trace_ = rpc::TraceContext::New();  // of the present message
  absl::Duration data_waited_;                          // for the data of the present message
  uint64_t data_bytes_ = 0;
  bool draining_ = false;
  Transaction::Counts counted_;
};

Rules Session::MakeRules() const {
  Rules rules;
  rules.hostname = settings_->hostname;
  rules.submission = port_ != Port::kMx;
  rules.starttls = tls_ != nullptr;
  rules.plaintext_auth = settings_->allow_plaintext_auth;
  const std::string& peer = connection_->peer().address;
  rules.trusted_network =
      port_ == Port::kMx && std::any_of(settings_->relay_networks.begin(), settings_->relay_networks.end(),
                                        [&](const net::Cidr& network) { return network.Contains(peer); });
  rules.any_sender = settings_->allow_any_sender;
  rules.max_message_bytes = settings_->max_message_bytes;
  rules.max_recipients = settings_->max_recipients;
  rules.max_errors = settings_->max_errors;
  return rules;
}

Task<void> Session::Run() {
  context_.metrics->Connections(port_).Add();
  const size_t max_line = port_ == Port::kMx ? smtp::kMaxCommandLine : smtp::kMaxAuthLine;
  transaction_.Greet(&out_);
  bool open = co_await Flush();
  while (open) {
    // RFC 5321 §4.5.3.2.7: at least five minutes for the next command.
    absl::StatusOr<std::string> line = co_await connection_->ReadLine(max_line, settings_->command_timeout);
    Action action = Action::kNone;
    if (line.ok()) {
      action = co_await Perform(transaction_.OnLine(*line, &out_));
    } else if (absl::IsResourceExhausted(line.status())) {
      action = transaction_.OnLineTooLong(&out_);
    } else {
      action = Lost(line.status());
    }
    // RFC 3030 §4.2: RSET, EHLO or QUIT between chunks gives the message up; the next
    // one must not find its bytes or its envelope here.
    if (intake_ != nullptr && transaction_.state() != Transaction::State::kChunks) {
      CutOff(absl::CancelledError("given up between chunks"));
    }
    if (draining_ && action == Action::kNone) {
      transaction_.Bye("4.3.2", "Shutting down", &out_);
      action = Action::kClose;
    }
    // RFC 2920 §3.2: replies of a pipelined group leave together; none waits for a
    // command that has not come yet.
    const bool group_ends = !connection_->LineBuffered() || transaction_.ends_group() || out_.size() > kFlushBytes;
    if (action == Action::kClose || group_ends) open = co_await Flush();
    if (action == Action::kClose) open = false;
  }
  if (intake_ != nullptr) CutOff(absl::UnavailableError("the client is gone"));
  CountNew();
}

// Does what the state machine asked for, until it wants the next line.
Task<Action> Session::Perform(Action action) {
  while (action != Action::kNone && action != Action::kClose) {
    switch (action) {
      case Action::kResolve: {
        metrics::Timer timer(context_.metrics->resolve_seconds);
        const Resolution resolution =
            co_await context_.backend->Resolve(trace_, transaction_.resolve_address(), transaction_.may_relay());
        action = transaction_.OnResolved(resolution, &out_);
        break;
      }
      case Action::kAuthenticate:
        action = co_await Login();
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

Task<Action> Session::Login() {
  LoginRequest request;
  request.username = transaction_.credentials().username;
  request.password = transaction_.credentials().password;
  request.client_address = connection_->peer().address;
  request.tls = connection_->tls();
  absl::StatusOr<ingress::Login> login = co_await context_.backend->Authenticate(trace_, std::move(request));
  context_.metrics->Logins(login.status().code()).Add();
  LOG_EVENT(kInfo, "login")
      .Str("port", PortName(port_))
      .Str("client", connection_->peer().address)
      .Str("account", login.ok() ? login->address : "")
      .Str("result", absl::StatusCodeToString(login.status().code()))
      .Trace(trace_.trace_id);
  co_return transaction_.OnAuthenticated(login.status(), login.ok() ? *login : ingress::Login(), &out_);
}

Task<Action> Session::StartTls() {
  if (!co_await Flush()) co_return Action::kClose;
  const absl::Status status = co_await connection_->StartTlsServer(tls_, kHandshakeTimeout);
  (status.ok() ? context_.metrics->tls_started : context_.metrics->tls_failed).Add();
  if (!status.ok()) {
    LOG_EVENT(kInfo, "starttls_failed").Str("client", connection_->peer().address).Err(status);
    co_return Action::kClose;
  }
  transaction_.OnTlsStarted();
  co_return Action::kNone;
}

// ---- messages

std::string Session::ReceivedField() const {
  smtp::ReceivedInfo info;
  info.client_name = transaction_.client_name();
  info.client_address = connection_->peer().address;
  info.by = settings_->hostname;
  info.esmtp = transaction_.esmtp();
  info.tls = connection_->tls();
  info.authenticated = transaction_.login().has_value();
  info.smtputf8 = transaction_.envelope().parameters.smtputf8;
  if (info.tls) info.tls_comment = absl::StrCat(connection_->tls_info().version, ", ", connection_->tls_info().cipher);
  info.id = trace_.trace_id;
  const std::vector<Recipient>& recipients = transaction_.envelope().recipients;
  if (recipients.size() == 1) info.for_address = recipients.front().original;
  info.at = absl::Now();
  return smtp::FormatReceived(info);
}

std::unique_ptr<Intake> Session::NewIntake(smtp::DataFormat format) {
  data_waited_ = absl::ZeroDuration();
  data_bytes_ = 0;
  const bool authenticated = transaction_.login().has_value();
  IntakeOptions options;
  options.format = format;
  // Our own users' mail is repaired, strangers' is refused (RFC 5321 §2.3.8).
  options.bare_lf = authenticated ? smtp::BareLinePolicy::kNormalize : settings_->bare_lf;
  options.max_bytes = settings_->max_message_bytes;
  options.max_received = settings_->max_received;
  options.received_field = ReceivedField();
  if (authenticated) {
    options.completion.emplace();
    options.completion->date = absl::StrCat("Date: ", smtp::FormatDate(absl::Now()), "\r\n");
    options.completion->message_id = absl::StrCat("Message-ID: <", trace_.trace_id, "@", settings_->hostname, ">\r\n");
  }
  Origin origin;
  origin.client_address = connection_->peer().address;
  origin.client_name = transaction_.client_name();
  if (authenticated) {
    origin.authenticated_as = transaction_.login()->address;
    origin.tenant = transaction_.login()->tenant;
  }
  origin.traceparent = trace_.ToHeader();
  return std::make_unique<Intake>(std::move(options),
                                  context_.enqueuer->Begin(trace_, ToProto(transaction_.envelope(), origin)));
}

// Some bytes of message data. Nullopt: the connection is over, Lost() was called.
Task<std::optional<std::string>> Session::ReadData(uint64_t max) {
  while (true) {
    // RFC 5321 §4.5.3.2.5: three minutes a block.
    const absl::Time start = absl::Now();
    absl::StatusOr<std::string> bytes = co_await connection_->ReadSome(
        static_cast<size_t>(std::min<uint64_t>(max, kReadBytes)), settings_->data_timeout);
    data_waited_ += absl::Now() - start;
    if (bytes.ok()) {
      data_bytes_ += bytes->size();
      if (!TooSlow()) co_return *std::move(bytes);
      Lost(absl::DeadlineExceededError("message data comes too slowly"));
      co_return std::nullopt;
    }
    if (!absl::IsCancelled(bytes.status())) {
      Lost(bytes.status());
      co_return std::nullopt;
    }
    draining_ = true;  // the message in progress is finished first
  }
}

bool Session::TooSlow() const {
  return data_waited_ >
         2 * settings_->data_timeout + absl::Seconds(static_cast<double>(data_bytes_) / kMinBytesPerSecond);
}

Task<Action> Session::ReceiveData() {
  if (!co_await Flush()) co_return Action::kClose;
  intake_ = NewIntake(smtp::DataFormat::kDotStuffed);
  while (!intake_->done()) {
    std::optional<std::string> bytes = co_await ReadData(kReadBytes);
    if (!bytes.has_value()) co_return Action::kClose;
    std::string rest = co_await intake_->Take(*std::move(bytes));
    connection_->Unread(std::move(rest));
    if (intake_->Flooded()) co_return Lost(absl::ResourceExhaustedError("message data without end"));
  }
  co_return co_await Answer();
}

// One chunk (RFC 3030 §2). Small ones arrive pipelined with their commands, so
// replies wait for the end of the group here too.
Task<Action> Session::ReceiveChunk() {
  const Transaction::Chunk chunk = transaction_.chunk();
  if (!chunk.discard && intake_ == nullptr) intake_ = NewIntake(smtp::DataFormat::kChunk);
  uint64_t left = chunk.bytes;
  while (left > 0) {
    if (connection_->Buffered() == 0 && !co_await Flush()) co_return Action::kClose;
    std::optional<std::string> bytes = co_await ReadData(left);
    if (!bytes.has_value()) co_return Action::kClose;
    left -= bytes->size();
    if (chunk.discard) continue;
    co_await intake_->Take(*std::move(bytes));
    if (intake_->Flooded()) co_return Lost(absl::ResourceExhaustedError("message data without end"));
  }
  if (chunk.discard) co_return transaction_.OnChunk(std::nullopt, &out_);
  if (chunk.last) {
    co_await intake_->FinishChunks();
    co_return co_await Answer();
  }
  const std::optional<smtp::Reply> refusal = intake_->refusal();
  if (refusal.has_value()) {
    Record(*intake_, *refusal, absl::ZeroDuration());
    intake_.reset();
    trace_ = rpc::TraceContext::New();
  }
  co_return transaction_.OnChunk(refusal, &out_);
}

// The message is complete: hand it over and say what came of it.
Task<Action> Session::Answer() {
  const absl::Time end_of_data = absl::Now();
  // RFC 5321 §4.2.5: 250 only when the queue has taken responsibility.
  const smtp::Reply reply = co_await intake_->Commit();
  const absl::Duration took = absl::Now() - end_of_data;
  Record(*intake_, reply, took);
  intake_.reset();
  trace_ = rpc::TraceContext::New();
  co_return transaction_.OnMessage(reply, &out_);
}

void Session::Record(const Intake& intake, const smtp::Reply& reply, absl::Duration took) {
  const MessageEnd end = reply.positive()    ? MessageEnd::kAccepted
                         : reply.temporary() ? MessageEnd::kDeferred
                                             : MessageEnd::kRefused;
  const size_t recipients = transaction_.envelope().recipients.size();
  context_.metrics->Messages(end).Add();
  if (end == MessageEnd::kAccepted) {
    context_.metrics->accept_seconds.Observe(took);
    context_.metrics->message_bytes.Add(static_cast<double>(intake.bytes()));
    context_.metrics->recipients.Add(static_cast<double>(recipients));
    LOG_EVENT(kInfo, "message_accepted")
        .QueueId(intake.queue_id())
        .Trace(trace_.trace_id)
        .Str("client", connection_->peer().address)
        .Str("account", transaction_.login().has_value() ? transaction_.login()->address : "")
        .Int("size_bytes", static_cast<int64_t>(intake.bytes()))
        .Int("rcpts", static_cast<int64_t>(recipients))
        .Seconds("took", took);
    return;
  }
  log::Event event(end == MessageEnd::kDeferred ? log::Level::kWarning : log::Level::kInfo, "message_not_accepted");
  event.Trace(trace_.trace_id)
      .Str("client", connection_->peer().address)
      .Int("size_bytes", static_cast<int64_t>(intake.bytes()))
      .Str("reply", reply.ToString());
  if (!intake.enqueue_status().ok()) event.Err(intake.enqueue_status());
}

// ---- the connection

// The end of a session that the client did not end with QUIT; kClose, with a last
// word when somebody may read it.
Action Session::Lost(const absl::Status& status) {
  if (absl::IsDeadlineExceeded(status)) {
    transaction_.Bye("4.4.2", "Timed out waiting for you", &out_);
  } else if (absl::IsCancelled(status)) {
    transaction_.Bye("4.3.2", "Shutting down", &out_);
  } else if (absl::IsResourceExhausted(status)) {
    transaction_.Bye("4.3.4", "More than a message may have", &out_);
  }
  // Clients vanish; nothing was promised (RFC 5321 §4.1.1.4).
  if (intake_ != nullptr) CutOff(status);
  return Action::kClose;
}

// The message in progress will not come to its end.
void Session::CutOff(const absl::Status& why) {
  context_.metrics->Messages(MessageEnd::kCutOff).Add();
  LOG_EVENT(kInfo, "message_cut_off")
      .Trace(trace_.trace_id)
      .Str("client", connection_->peer().address)
      .Int("size_bytes", static_cast<int64_t>(intake_->bytes()))
      .Err(why);
  intake_.reset();
  trace_ = rpc::TraceContext::New();
}

// False: the client is gone.
Task<bool> Session::Flush() {
  CountNew();
  if (out_.empty()) co_return true;
  co_return (co_await connection_->Write(std::exchange(out_, std::string()), settings_->command_timeout)).ok();
}

void Session::CountNew() {
  const Transaction::Counts& now = transaction_.counts();
  for (size_t i = 0; i < now.commands.size(); ++i) {
    if (now.commands[i] == counted_.commands[i]) continue;
    context_.metrics->Command(static_cast<smtp::Verb>(i)).Add(now.commands[i] - counted_.commands[i]);
  }
  for (size_t i = 2; i < now.replies.size(); ++i) {
    if (now.replies[i] == counted_.replies[i]) continue;
    context_.metrics->Replies(static_cast<int>(i)).Add(now.replies[i] - counted_.replies[i]);
  }
  counted_ = now;
}

}  // namespace

Task<void> ServeSmtp(SessionContext context, Port port, std::shared_ptr<const Settings> settings,
                     std::shared_ptr<net::TlsServerContext> tls, std::unique_ptr<net::Connection> connection) {
  Session session(std::move(context), port, std::move(settings), std::move(tls), std::move(connection));
  co_await session.Run();
}

}  // namespace posthouse::ingress
