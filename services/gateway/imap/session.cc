#include "services/gateway/imap/session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "posthouse/common/v1/common.pb.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/tracing/span.h"

namespace posthouse::gateway {
namespace {

constexpr size_t kReadBytes = 16 * 1024;
constexpr uint16_t kMaxErrors = 50;
constexpr uint16_t kMaxErrorsBeforeLogin = 10;
constexpr uint16_t kMaxFailedLogins = 5;
// Before login a command holds at most a name and a password.
constexpr size_t kMaxLineBeforeLogin = 8192;

CommandResult ResultOf(const absl::StatusOr<Reply>& reply) {
  if (!reply.ok()) return CommandResult::kLost;
  switch (reply->kind) {
    case Reply::Kind::kNo:
      // RFC 5530 §3: these two are faults of the server.
      return reply->code == "UNAVAILABLE" || reply->code == "SERVERBUG" ? CommandResult::kUnavailable
                                                                        : CommandResult::kNo;
    case Reply::Kind::kBad:
      return CommandResult::kBad;
    default:
      return CommandResult::kOk;
  }
}

}  // namespace

ImapSession::ImapSession(ImapShared& shared, std::unique_ptr<net::Connection> connection)
    : shared_(shared),
      connection_(std::move(connection)),
      trace_(rpc::TraceContext::New()),
      login_deadline_(absl::Now() + shared.settings.login_timeout),
      reader_(std::min(kMaxLineBeforeLogin, shared.settings.max_line_bytes)) {
  shared_.metrics.Sessions("imap").Add(1);
  if (connection_->tls()) shared_.metrics.TlsStarted("imap", connection_->tls_info().version);
}

ImapSession::~ImapSession() { shared_.metrics.Sessions("imap").Add(-1); }

std::string ImapSession::capabilities() const {
  CapabilityFacts facts;
  facts.state = state_;
  facts.tls = connection_->tls();
  facts.can_start_tls = shared_.tls != nullptr;
  facts.may_send_password = may_send_password();
  facts.append_limit = shared_.settings.max_append_bytes;
  return Capabilities(facts);
}

Task<void> ImapSession::Run() {
  LOG_EVENT(kDebug, "session_opened")
      .Str("protocol", "imap")
      .Str("client", connection_->peer().address)
      .Trace(trace_.trace_id);
  absl::StrAppend(&out_, "* OK [CAPABILITY ", capabilities(), "] ", shared_.settings.hostname, " Posthouse ready\r\n");
  absl::Status status;
  while (status.ok() && state_ != State::kLogout) status = co_await Step();
  if (status.code() == absl::StatusCode::kDeadlineExceeded) {
    // RFC 9051 §5.4
    Bye(state_ == State::kNotAuthenticated ? "Autologout; no login in time" : "Autologout; idle for too long");
  }
  // RFC 9051 §7.1.5: after the running command, and in the middle of one that waits for the client.
  if (absl::IsAborted(status) && revoked().has_value()) Bye(ticket_->RevokeText());
  if (!out_.empty()) {
    // The peer may have closed already; nothing depends on this write.
    (void)co_await connection_->Write(std::move(out_), absl::Seconds(5));
  }
  connection_->Close();
  LOG_EVENT(kDebug, "session_closed").Str("protocol", "imap").Err(status).Trace(trace_.trace_id);
  tracing::EmitRoot(trace_, "imap.session", begun_, status);
}

absl::Duration ImapSession::read_timeout() const {
  if (state_ != State::kNotAuthenticated) return shared_.settings.idle_timeout;
  return std::max(login_deadline_ - absl::Now(), absl::ZeroDuration());
}

Task<absl::Status> ImapSession::Flush() {
  if (out_.empty()) co_return absl::OkStatus();
  shared_.metrics.BytesOut("imap", out_.size());
  std::string bytes = std::exchange(out_, std::string());
  co_return co_await connection_->Write(std::move(bytes), shared_.settings.write_timeout);
}

Task<absl::Status> ImapSession::FlushSlice() {
  if (out_.size() < kSlice) co_return absl::OkStatus();
  co_return co_await Flush();
}

Task<absl::Status> ImapSession::ReadInput() {
  PH_CO_RETURN_IF_ERROR(co_await Flush());
  reader_.Release();
  const absl::Duration timeout = read_timeout();
  const absl::Status readable = co_await connection_->WaitReadable(timeout);
  if (revoked().has_value()) co_return absl::AbortedError("the session was revoked");
  if (readable.code() == absl::StatusCode::kCancelled) co_return absl::OkStatus();
  PH_CO_RETURN_IF_ERROR(readable);
  absl::StatusOr<std::string> bytes = co_await connection_->ReadSome(kReadBytes, timeout);
  if (bytes.status().code() == absl::StatusCode::kCancelled) co_return absl::OkStatus();
  PH_CO_RETURN_IF_ERROR(bytes.status());
  shared_.metrics.BytesIn("imap", bytes->size());
  reader_.Feed(*std::move(bytes));
  co_return absl::OkStatus();
}

Task<absl::StatusOr<std::string>> ImapSession::Ask(absl::string_view text) {
  absl::StrAppend(&out_, "+ ", text, "\r\n");
  while (true) {
    switch (reader_.NextLine()) {
      case imap::CommandReader::Event::kNeedInput:
        PH_CO_RETURN_IF_ERROR(co_await ReadInput());
        break;
      case imap::CommandReader::Event::kCommand:
        co_return reader_.TakeText();
      default:
        co_return std::string("*");  // an overlong line cancels, as "*" does
    }
  }
}

// One event of the reader.
Task<absl::Status> ImapSession::Step() {
  if (revoked().has_value()) co_return absl::AbortedError("the session was revoked");
  switch (reader_.Next()) {
    case imap::CommandReader::Event::kNeedInput:
      if (draining()) {
        Bye("Server is shutting down");
        state_ = State::kLogout;
        co_return absl::OkStatus();
      }
      co_return co_await ReadInput();
    case imap::CommandReader::Event::kContinue:
      out_ += "+ Ready for literal data\r\n";
      co_return co_await Flush();
    case imap::CommandReader::Event::kRefused:
      co_return co_await OnRefused();
    case imap::CommandReader::Event::kMessage:
    case imap::CommandReader::Event::kCommand:
      break;
  }
  // Pipelined commands: their replies leave together.
  PH_CO_RETURN_IF_ERROR(co_await FlushSlice());
  co_return co_await OnCommand(reader_.TakeText());
}

Task<absl::Status> ImapSession::OnRefused() {
  AppendReply(out_, reader_.tag(), Bad(reader_.why()));
  co_return co_await CountError();
}

Task<absl::Status> ImapSession::CountError() {
  const uint16_t limit = state_ == State::kNotAuthenticated ? kMaxErrorsBeforeLogin : kMaxErrors;
  if (++errors_ < limit) co_return absl::OkStatus();
  Bye("Too many errors");
  state_ = State::kLogout;
  co_return absl::OkStatus();
}

// Drops the literal of an APPEND that was not run, so that the next command can be read.
Task<absl::Status> ImapSession::RefuseMessage() {
  const bool comes = !reader_.message_synchronising();
  // Before login a large literal is not read at all (RFC 7888 §4 allows BYE).
  if (comes && state_ == State::kNotAuthenticated && reader_.message_bytes() > shared_.settings.max_line_bytes) {
    Bye("Log in before sending a message");
    state_ = State::kLogout;
    co_return absl::OkStatus();
  }
  reader_.RefuseMessage();
  while (comes) {
    if (reader_.Next() == imap::CommandReader::Event::kRefused) break;
    PH_CO_RETURN_IF_ERROR(co_await ReadInput());
  }
  co_return absl::OkStatus();
}

Task<absl::Status> ImapSession::OnCommand(std::string text) {
  absl::StatusOr<imap::Command> command = imap::ParseCommand(text);
  const std::string tag = imap::TagOf(text);
  const CommandSpec* const spec = command.ok() ? FindCommand(command->name) : nullptr;
  std::optional<Reply> refused;
  if (!command.ok() || spec == nullptr) {
    refused = Bad(command.ok() ? "Unknown command" : command.status().message());
  } else {
    refused = RefuseNow(*spec, state_, may_send_password());
  }
  text = std::string();
  if (ticket_ != nullptr) ticket_->Refresh();
  if (!refused.has_value()) co_return co_await RunCommand(*spec, *std::move(command));
  if (reader_.message_pending()) PH_CO_RETURN_IF_ERROR(co_await RefuseMessage());
  AppendReply(out_, tag, *refused);
  co_return co_await CountError();
}

Task<absl::Status> ImapSession::RunCommand(const CommandSpec& spec, imap::Command command) {
  const std::string tag = command.tag;
  const absl::Time start = absl::Now();
  absl::StatusOr<Reply> reply = co_await spec.handler(*this, std::move(command));
  shared_.metrics.Command("imap", spec.name, ResultOf(reply), absl::Now() - start, trace_.trace_id);
  PH_CO_RETURN_IF_ERROR(reply.status());
  if (reader_.message_pending()) PH_CO_RETURN_IF_ERROR(co_await RefuseMessage());
  if (selected_ != nullptr && spec.updates != Updates::kNone) {
    if (spec.updates == Updates::kSync || Hinted()) PH_CO_RETURN_IF_ERROR(co_await Sync());
    if (selected_ != nullptr) PH_CO_RETURN_IF_ERROR(co_await Report(spec.updates != Updates::kNoExpunge));
  }
  AppendReply(out_, tag, *reply);
  if (reply->kind == Reply::Kind::kBad) co_return co_await CountError();
  // After login only errors in a row count: a client may probe for extensions now and then.
  if (state_ != State::kNotAuthenticated) errors_ = 0;
  co_return absl::OkStatus();
}

void ImapSession::Bye(absl::string_view why) { absl::StrAppend(&out_, "* BYE ", why, "\r\n"); }

Task<absl::StatusOr<Reply>> ImapSession::LogIn(LoginAttempt attempt) {
  attempt.protocol = "imap";
  attempt.client_address = connection_->peer().address;
  attempt.tls = connection_->tls();
  attempt.earlier_failures = failed_logins_;
  attempt.trace = trace_;
  const std::string username = attempt.username;
  absl::StatusOr<std::unique_ptr<Logins::Ticket>> ticket = co_await shared_.logins.Check(std::move(attempt));
  if (!ticket.ok()) {
    if (++failed_logins_ >= kMaxFailedLogins) {
      Bye("Too many failed logins");
      state_ = State::kLogout;
    }
    co_return ReplyForLogin(ticket.status());
  }
  ticket_ = *std::move(ticket);
  ticket_->Watch({.wake = [this] { connection_->InterruptRead(); }, .cut = [this] { connection_->Close(); }});
  state_ = State::kAuthenticated;
  errors_ = 0;
  reader_.set_max_bytes(shared_.settings.max_line_bytes);
  LOG_EVENT(kInfo, "login")
      .Str("protocol", "imap")
      .Str("account", ticket_->address())
      .Str("client", connection_->peer().address)
      .Bool("tls", connection_->tls())
      .Trace(trace_.trace_id);
  // RFC 9051 §7.1: the capabilities differ from those before login.
  co_return OkWith(absl::StrCat("CAPABILITY ", capabilities()), "Logged in");
}

void ImapSession::AfterStartTls() {
  shared_.metrics.TlsStarted("imap", connection_->tls_info().version);
  // RFC 9051 §6.2.1: input that came without TLS is discarded.
  reader_.Discard();
  errors_ = 0;
}

void ImapSession::Select(std::unique_ptr<Selected> selected) {
  selected_ = std::move(selected);
  // The subscription ends before the connection does.
  subscription_ = shared_.watch.Subscribe(account(), selected_->folder_id(), selected_->modseq(), [this] {
    if (idling_.load(std::memory_order_seq_cst)) connection_->InterruptRead();
  });
  saved_search_ = UidSet();
  state_ = State::kSelected;
}

void ImapSession::Unselect() {
  subscription_.reset();
  selected_.reset();
  saved_search_ = UidSet();
  state_ = State::kAuthenticated;
}

bool ImapSession::Hinted() const {
  return subscription_ != nullptr && selected_ != nullptr && subscription_->Changed(selected_->modseq());
}

Task<absl::Status> ImapSession::Sync() {
  if (selected_ == nullptr) co_return absl::OkStatus();
  subscription_->BeginRead();
  mail::GetChangesRequest request;
  *request.mutable_account() = account();
  request.set_folder_id(selected_->folder_id().value());
  request.set_after_modseq(selected_->modseq().value());
  request.set_claim_recent(!selected_->read_only());
  absl::StatusOr<mail::GetChangesResponse> changes = co_await shared_.mailbox.GetChanges(trace_, std::move(request));
  if (changes.status().code() == absl::StatusCode::kNotFound) {
    Bye("The selected mailbox was deleted");
    Unselect();
    state_ = State::kLogout;
    co_return absl::OkStatus();
  }
  // On failure the next command, hint or poll tries again, so the client misses nothing.
  if (changes.ok()) {
    selected_->ApplyChanges(*std::move(changes));
    subscription_->EndRead(selected_->modseq());
  } else {
    subscription_->FailRead();
  }
  co_return absl::OkStatus();
}

Task<absl::Status> ImapSession::Report(bool expunges) {
  while (expunges && selected_->AppendExpunges(out_, dialect_, kSlice)) PH_CO_RETURN_IF_ERROR(co_await Flush());
  while (selected_->AppendUpdates(out_, dialect_, kSlice)) PH_CO_RETURN_IF_ERROR(co_await Flush());
  co_return absl::OkStatus();
}

void ImapSession::EnableCondstore() {
  if (dialect_.condstore) return;
  dialect_.condstore = true;
  // RFC 7162 §3.1.2
  if (selected_ != nullptr)
    absl::StrAppend(&out_, "* OK [HIGHESTMODSEQ ", selected_->modseq().value(), "] Highest\r\n");
}

absl::StatusOr<UidSet> ImapSession::Resolve(const imap::SequenceSet& set, bool uid) const {
  const SequenceMap& map = selected_->map();
  if (set.saved_result) return map.uids().Intersect(saved_search_);
  if (uid) return map.uids().Intersect(set.Resolve(map.max_uid().value()));
  // Departs from RFC 3501 §9, seq-number: "1:*" of an empty mailbox is nothing and no
  // error, since clients that sync send it without looking at EXISTS.
  if (set.LargestNumber() > map.size()) return absl::InvalidArgumentError("No such sequence number");
  return map.ToUids(set.Resolve(map.size()));
}

}  // namespace posthouse::gateway
