#include "services/gateway/pop3/session.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/log/log.h"
#include "services/common/rpc/trace.h"
#include "services/common/status/status.h"
#include "services/common/tracing/span.h"
#include "services/common/uid_set/uid_set_proto.h"
#include "services/gateway/logins.h"
#include "services/gateway/mailbox_client.h"
#include "services/gateway/metrics.h"
#include "services/gateway/pop3/machine.h"
#include "services/gateway/pop3/multiline.h"

namespace posthouse::gateway::pop3 {
namespace {

constexpr char kProtocol[] = "pop3";
// Replies are gathered for a pipelining client, up to this much.
constexpr size_t kFlushBytes = 64 * 1024;
// An Expunge request names at most this many ranges, so that it stays small.
constexpr size_t kRangesPerCall = 10000;

class Session {
 public:
  Session(std::unique_ptr<net::Connection> connection, std::shared_ptr<const Config> config, Services& services)
      : connection_(std::move(connection)),
        config_(std::move(config)),
        services_(services),
        machine_(Options(*connection_, *config_)),
        trace_(rpc::TraceContext::New()),
        login_deadline_(absl::Now() + config_->login_timeout) {
    services_.metrics.Sessions(kProtocol).Add(1);
    if (connection_->tls()) services_.metrics.TlsStarted(kProtocol, connection_->tls_info().version);
  }
  ~Session() { services_.metrics.Sessions(kProtocol).Add(-1); }

  Task<void> Run() {
    out_ = machine_.Greeting();
    while (true) {
      // Nothing that was marked by DELE is removed: the client has not sent QUIT (RFC 1939 §6).
      if (revoked().has_value()) {
        AppendRevoked();
        (void)co_await Flush();
        co_return Ended(absl::AbortedError("the session was revoked"));
      }
      absl::StatusOr<std::string> line = co_await ReadLine();
      if (absl::IsCancelled(line.status()) && revoked().has_value()) continue;
      const absl::Time start = absl::Now();
      Step step;
      if (absl::IsResourceExhausted(line.status())) {
        step = machine_.OnLineTooLong();
      } else if (!line.ok()) {
        // Commands that were run are answered, also when the server drains. Then the client hears that
        // the end is no fault of its own (RFC 3206 §4).
        if (absl::IsCancelled(line.status())) out_ += "-ERR [SYS/TEMP] server is shutting down\r\n";
        (void)co_await Flush();
        co_return Ended(line.status());
      } else {
        step = machine_.OnLine(*line);
      }
      replied_at_ = out_.size();
      const absl::Status done = co_await Perform(std::move(step));
      services_.metrics.Command(kProtocol, machine_.command(), ResultOf(done), absl::Now() - start, trace_.trace_id);
      if (!done.ok()) co_return Ended(done);
      if (closing_) {
        const absl::Status flushed = co_await Flush();
        co_return Ended(flushed);
      }
    }
  }

 private:
  // How the command ended that Perform() has done.
  CommandResult ResultOf(const absl::Status& done) const {
    if (!done.ok()) return CommandResult::kLost;
    // What was sent before its end began with +OK.
    const absl::string_view reply = replied_at_ <= out_.size() ? absl::string_view(out_).substr(replied_at_) : "";
    if (!absl::StartsWith(reply, "-ERR")) return CommandResult::kOk;
    return absl::StartsWith(reply, "-ERR [SYS/TEMP]") ? CommandResult::kUnavailable : CommandResult::kNo;
  }

  static Machine::Options Options(const net::Connection& connection, const Config& config) {
    Machine::Options options;
    options.tls_available = config.tls != nullptr;
    options.tls = connection.tls();
    options.allow_plaintext_auth = config.allow_plaintext_auth;
    options.max_login_failures = config.max_login_failures;
    options.max_bad_commands = config.max_bad_commands;
    return options;
  }

  std::optional<RevokeReason> revoked() const { return ticket_ == nullptr ? std::nullopt : ticket_->revoked(); }

  // RFC 3206 §4: a new login helps, or it does not.
  void AppendRevoked() {
    const RevokeReason why = *revoked();
    const bool permanent = why == RevokeReason::kAccountDeleted || why == RevokeReason::kAccountSuspended;
    absl::StrAppend(&out_, "-ERR [SYS/", permanent ? "PERM" : "TEMP", "] ", ticket_->RevokeText(), "\r\n");
  }

  Task<absl::StatusOr<std::string>> ReadLine() {
    const absl::Duration timeout = machine_.state() == Machine::State::kAuthorization
                                       ? std::max(login_deadline_ - absl::Now(), absl::ZeroDuration())
                                       : config_->idle_timeout;
    // Pipelined commands are answered in one write (RFC 2449 §6.6).
    if (!connection_->LineBuffered() || out_.size() >= kFlushBytes) PH_CO_RETURN_IF_ERROR(co_await Flush());
    if (connection_->Buffered() == 0) PH_CO_RETURN_IF_ERROR(co_await connection_->WaitReadable(timeout));
    absl::StatusOr<std::string> line = co_await connection_->ReadLine(machine_.MaxLine(), timeout);
    if (line.ok()) services_.metrics.BytesIn(kProtocol, line->size() + 2);
    co_return line;
  }

  Task<absl::Status> Flush() {
    if (out_.empty()) co_return absl::OkStatus();
    replied_at_ = std::string::npos;
    std::string out = std::exchange(out_, {});
    services_.metrics.BytesOut(kProtocol, out.size());
    co_return co_await connection_->Write(std::move(out), config_->write_timeout);
  }

  // An error ends the session.
  Task<absl::Status> Perform(Step step) {
    switch (step.action) {
      case Step::Action::kReply:
        out_ += step.reply;
        break;
      case Step::Action::kClose:
        out_ += step.reply;
        closing_ = true;
        break;
      case Step::Action::kStartTls:
        co_return co_await StartTls(std::move(step));
      case Step::Action::kLogin: {
        Step answer = co_await Login(std::move(step));
        out_ += answer.reply;
        closing_ = answer.action == Step::Action::kClose;
        break;
      }
      case Step::Action::kListing:
        co_return co_await Listing(std::move(step));
      case Step::Action::kSend:
        co_return co_await Send(std::move(step));
      case Step::Action::kUpdate: {
        const absl::Status updated = co_await Update();
        out_ += machine_.OnUpdated(updated).reply;
        closing_ = true;
        break;
      }
    }
    co_return absl::OkStatus();
  }

  Task<absl::Status> StartTls(Step step) {
    out_ += step.reply;
    PH_CO_RETURN_IF_ERROR(co_await Flush());
    PH_CO_RETURN_IF_ERROR(co_await connection_->StartTlsServer(config_->tls, config_->tls_timeout));
    services_.metrics.TlsStarted(kProtocol, connection_->tls_info().version);
    machine_.OnTls();
    co_return absl::OkStatus();
  }

  // ---- login

  Task<Step> Login(Step step) {
    LoginAttempt attempt;
    attempt.username = std::move(step.username);
    attempt.password = std::move(step.password);
    attempt.protocol = kProtocol;
    attempt.client_address = connection_->peer().address;
    attempt.tls = connection_->tls();
    attempt.earlier_failures = login_failures_;
    attempt.trace = trace_.Child();
    absl::StatusOr<std::unique_ptr<Logins::Ticket>> ticket = co_await services_.logins.Check(std::move(attempt));
    if (!ticket.ok()) {
      if (absl::IsUnauthenticated(ticket.status())) ++login_failures_;
      co_return machine_.OnLogin(ticket.status(), Maildrop());
    }
    std::unique_ptr<DropLocks::Lock> lock = services_.locks.TryLock(AccountId((*ticket)->account().account_id()));
    if (lock == nullptr) co_return machine_.OnLogin(absl::AbortedError("maildrop in use"), Maildrop());
    absl::StatusOr<Maildrop> drop = co_await OpenMaildrop((*ticket)->account());
    if (!drop.ok()) {
      LOG_EVENT(kError, "pop3_maildrop_failed").Err(drop.status()).Trace(trace_.trace_id);
      // The password was right, so the failure must not look like a wrong one.
      co_return machine_.OnLogin(absl::UnavailableError("maildrop"), Maildrop());
    }
    ticket_ = *std::move(ticket);
    ticket_->Watch({.wake = [this] { connection_->InterruptRead(); }, .cut = [this] { connection_->Close(); }});
    lock_ = std::move(lock);
    LOG_EVENT(kInfo, "pop3_login")
        .Str("account", ticket_->account().account_id())
        .Int("messages", static_cast<int64_t>(drop->messages.size()))
        .Trace(trace_.trace_id);
    co_return machine_.OnLogin(absl::OkStatus(), *std::move(drop));
  }

  Task<absl::StatusOr<Maildrop>> OpenMaildrop(AccountRef account) {
    mail::GetFolderRequest get;
    *get.mutable_account() = account;
    get.set_name("INBOX");
    absl::StatusOr<mail::GetFolderResponse> folder =
        co_await services_.mailbox.GetFolder(trace_.Child(), std::move(get));
    if (!folder.ok()) co_return folder.status();
    folder_id_ = folder->folder().folder_id();
    Maildrop drop;
    drop.uid_validity = UidValidity(folder->folder().state().uid_validity());
    mail::FetchRequest fetch;
    *fetch.mutable_account() = std::move(account);
    fetch.set_folder_id(folder_id_);
    auto* all = fetch.add_uids();
    all->set_first(1);
    all->set_last(std::numeric_limits<uint32_t>::max());
    fetch.set_size(true);
    FetchStream stream = services_.mailbox.Fetch(trace_.Child(), std::move(fetch));
    while (true) {
      absl::StatusOr<std::optional<mail::FetchResponse>> next = co_await stream.Read();
      if (!next.ok()) co_return next.status();
      if (!next->has_value()) break;
      const mail::MessageRows& rows = (*next)->rows();
      if (rows.size_bytes_size() != rows.uid_size()) co_return absl::InternalError("rows without sizes");
      for (int i = 0; i < rows.uid_size(); ++i) {
        drop.messages.push_back({Uid(rows.uid(i)), static_cast<uint32_t>(std::min<uint64_t>(
                                                       rows.size_bytes(i), std::numeric_limits<uint32_t>::max()))});
      }
    }
    std::sort(drop.messages.begin(), drop.messages.end(),
              [](const Maildrop::Entry& a, const Maildrop::Entry& b) { return a.uid < b.uid; });
    co_return drop;
  }

  // ---- transaction

  Task<absl::Status> Listing(Step step) {
    out_ += step.reply;
    while (machine_.AppendListing(kFlushBytes, &out_)) PH_CO_RETURN_IF_ERROR(co_await Flush());
    co_return absl::OkStatus();
  }

  FetchStream StartFetch(const Step& step) {
    mail::FetchRequest request;
    *request.mutable_account() = ticket_->account();
    request.set_folder_id(folder_id_);
    auto* range = request.add_uids();
    range->set_first(step.uid.value());
    range->set_last(step.uid.value());
    mail::Section* section = request.add_sections();
    // TOP n 0 needs no byte of the body.
    if (step.top && step.lines == 0) section->set_kind(mail::Section::KIND_HEADER);
    return services_.mailbox.Fetch(trace_.Child(), std::move(request));
  }

  // The reply waits for the first piece. After it, only the end of the message or of the connection
  // can follow.
  Task<absl::Status> Send(Step step) {
    FetchStream stream = StartFetch(step);
    Multiline lines(step.top ? std::optional<uint64_t>(step.lines) : std::nullopt);
    bool begun = false;
    bool complete = false;
    while (!complete) {
      absl::StatusOr<std::optional<mail::FetchResponse>> next = co_await stream.Read();
      if (!next.ok() && !begun) co_return Unavailable(next.status());
      if (!next.ok()) co_return next.status();
      if (!next->has_value()) break;
      if (!(*next)->damaged().empty() && !begun) {
        out_ += "-ERR [SYS/PERM] stored data of this message is damaged\r\n";  // RFC 3206 §4
        co_return absl::OkStatus();
      }
      for (const mail::SectionPiece& piece : (*next)->pieces()) {
        if (piece.nil()) continue;
        if (!std::exchange(begun, true)) {
          absl::StrAppend(&out_, "+OK", step.top ? "" : absl::StrCat(" ", piece.total_bytes(), " octets"), "\r\n");
        }
        if (!lines.Feed(piece.data(), &out_) || piece.last()) complete = true;
        if (out_.size() >= kFlushBytes) PH_CO_RETURN_IF_ERROR(co_await Flush());
        if (complete) break;
      }
    }
    if (!begun) {
      out_ += "-ERR message was deleted by another client\r\n";
      co_return absl::OkStatus();
    }
    if (!complete) co_return absl::DataLossError("the message ended early");
    lines.Finish(&out_);
    if (!step.top) machine_.OnSent(step.uid);
    co_return absl::OkStatus();
  }

  absl::Status Unavailable(const absl::Status& status) {
    LOG_EVENT(kWarning, "pop3_fetch_failed").Err(status).Trace(trace_.trace_id);
    out_ += "-ERR [SYS/TEMP] service unavailable, try again later\r\n";
    return absl::OkStatus();
  }

  // ---- update

  Task<absl::Status> Update() {
    const UidSet deleted = machine_.Deleted();
    for (size_t at = 0; at < deleted.ranges().size(); at += kRangesPerCall) {
      mail::ExpungeRequest request;
      *request.mutable_account() = ticket_->account();
      request.set_folder_id(folder_id_);
      request.set_even_undeleted(true);
      UidSetToProto(Part(deleted, at), request.mutable_uids());
      absl::StatusOr<mail::ExpungeResponse> response =
          co_await services_.mailbox.Expunge(trace_.Child(), std::move(request));
      if (!response.ok()) {
        LOG_EVENT(kWarning, "pop3_expunge_failed").Err(response.status()).Trace(trace_.trace_id);
        co_return response.status();
      }
    }
    if (config_->mark_seen) co_await MarkSeen();
    co_return absl::OkStatus();
  }

  // For the IMAP clients of the account. A failure is logged and does not fail QUIT.
  Task<void> MarkSeen() {
    const UidSet retrieved = machine_.Retrieved();
    for (size_t at = 0; at < retrieved.ranges().size(); at += kRangesPerCall) {
      mail::StoreFlagsRequest request;
      *request.mutable_account() = ticket_->account();
      request.set_folder_id(folder_id_);
      request.set_mode(mail::StoreFlagsRequest::MODE_ADD);
      request.set_flags(mail::FLAG_SEEN);
      UidSetToProto(Part(retrieved, at), request.mutable_uids());
      const auto response = co_await services_.mailbox.StoreFlags(trace_.Child(), std::move(request));
      log::LogIfError(response.status(), "marking retrieved messages as seen");
    }
  }

  // The ranges from index `at` on, as many as one call takes.
  static UidSet Part(const UidSet& uids, size_t at) {
    const auto first = uids.ranges().begin() + static_cast<ptrdiff_t>(at);
    const size_t count = std::min(uids.ranges().size() - at, kRangesPerCall);
    return UidSet(std::vector<UidSet::Range>(first, first + static_cast<ptrdiff_t>(count)));
  }

  void Ended(const absl::Status& why) {
    LOG_EVENT(kInfo, "pop3_ended")
        .Str("account", ticket_ == nullptr ? "" : ticket_->account().account_id())
        .Err(why)
        .Trace(trace_.trace_id);
    tracing::EmitRoot(trace_, "pop3.session", begun_, why);
  }

  const std::unique_ptr<net::Connection> connection_;
  const std::shared_ptr<const Config> config_;
  Services& services_;
  Machine machine_;
  const rpc::TraceContext trace_;
  const absl::Time begun_ = absl::Now();
  const absl::Time login_deadline_;  // until a client has logged in
  std::string out_;                  // replies not yet sent
  size_t replied_at_ = 0;            // where in out_ the reply to the present command begins; npos: out_ was sent since
  bool closing_ = false;
  int login_failures_ = 0;
  // After login. The lock is released before the ticket.
  std::unique_ptr<Logins::Ticket> ticket_;
  std::unique_ptr<DropLocks::Lock> lock_;
  std::string folder_id_;
};

}  // namespace

Task<void> ServePop3(std::unique_ptr<net::Connection> connection, std::shared_ptr<const Config> config,
                     Services& services) {
  Session session(std::move(connection), std::move(config), services);
  co_await session.Run();
}

}  // namespace posthouse::gateway::pop3
