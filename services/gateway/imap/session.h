// ImapSession: one IMAP connection, from greeting to BYE.
//
// The coroutine moves bytes: the reader splits them into commands (mail_formats/imap), the table
// says which of them may run (command_table.h), and handlers (cmd_*.cc) call the mailbox service
// and write responses to out(). Commands run one after the other, so tagged replies come in the
// order of the commands.
//
// Memory: an idle session holds no buffers, only its view of the selected mailbox.
// Threads: a session runs on the event loop of its connection; change hints wake it there.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/net/connection.h"
#include "services/common/rpc/trace.h"
#include "services/gateway/change_watcher.h"
#include "services/gateway/imap/command_table.h"
#include "services/gateway/imap/selected.h"
#include "services/gateway/logins.h"
#include "services/gateway/mailbox_client.h"
#include "services/gateway/metrics.h"
#include "services/mail_formats/imap/command_reader.h"

namespace posthouse::gateway {

struct ImapSettings {
  absl::Duration idle_timeout = absl::Minutes(30);
  absl::Duration login_timeout = absl::Minutes(3);
  absl::Duration write_timeout = absl::Minutes(5);
  absl::Duration poll_interval = absl::Seconds(30);
  uint64_t max_append_bytes = 100 << 20;
  size_t max_line_bytes = 64 << 10;
  bool allow_plaintext_auth = false;
  std::string hostname = "localhost";
};

// State shared by all sessions. It outlives them.
struct ImapShared {
  MailboxClient& mailbox;
  Logins& logins;
  Metrics& metrics;
  ChangeWatcher& watch;
  std::shared_ptr<net::TlsServerContext> tls;  // null: no STARTTLS
  ImapSettings settings;
};

class ImapSession {
 public:
  ImapSession(ImapShared& shared, std::unique_ptr<net::Connection> connection);
  ~ImapSession();
  // Returns at the end of the connection.
  Task<void> Run();

  // ---- for the command handlers
  static constexpr size_t kSlice = 32 * 1024;  // bytes of one write

  ImapShared& shared() { return shared_; }
  net::Connection& connection() { return *connection_; }
  imap::CommandReader& reader() { return reader_; }
  const rpc::TraceContext& trace() const { return trace_; }
  State state() const { return state_; }
  const AccountRef& account() const { return ticket_->account(); }
  bool may_send_password() const { return connection_->tls() || shared_.settings.allow_plaintext_auth; }
  std::string capabilities() const;

  std::string& out() { return out_; }
  Task<absl::Status> Flush();
  // Flush() if out() holds a slice.
  Task<absl::Status> FlushSlice();
  // Flushes, then reads some input into the reader. OK also when the read was interrupted. kAborted: revoked().
  Task<absl::Status> ReadInput();
  // Sends "+ text"; returns the client's next line.
  Task<absl::StatusOr<std::string>> Ask(absl::string_view text);

  // Checks `attempt`, which has the credentials; the session fills in the rest.
  Task<absl::StatusOr<Reply>> LogIn(LoginAttempt attempt);
  void AfterStartTls();
  void BeginLogout() { state_ = State::kLogout; }

  // The selected mailbox; null when none is.
  Selected* selected() { return selected_.get(); }
  Selected::Dialect& dialect() { return dialect_; }
  void Select(std::unique_ptr<Selected> selected);
  void Unselect();
  // True: a hint says that the mailbox has changed.
  bool Hinted() const;
  // Reads the changes of the mailbox into the view. OK also when they cannot be read now; then
  // Hinted() stays true. A mailbox that was deleted ends the session with BYE.
  Task<absl::Status> Sync();
  // Writes the pending untagged EXISTS, FETCH and, if `expunges`, EXPUNGE responses.
  Task<absl::Status> Report(bool expunges);
  // The client has used CONDSTORE (RFC 7162 §3.1).
  void EnableCondstore();

  // The UIDs of the selected mailbox that `set` names, by sequence number or by UID.
  // kInvalidArgument: a sequence number beyond the end (BAD).
  absl::StatusOr<UidSet> Resolve(const imap::SequenceSet& set, bool uid) const;
  UidSet& saved_search() { return saved_search_; }

  // In IDLE a hint interrupts the read; otherwise the session sees it after the command.
  void set_idling(bool idling) { idling_.store(idling, std::memory_order_seq_cst); }
  // Set when the server must end the session because of its account (LiveSessions). Reads fail with kAborted then.
  std::optional<RevokeReason> revoked() const { return ticket_ == nullptr ? std::nullopt : ticket_->revoked(); }
  // The process stops, and it is this session's turn to end: BYE follows after the running command.
  bool draining() const { return connection_->draining(); }
  absl::Duration read_timeout() const;

 private:
  Task<absl::Status> Step();
  Task<absl::Status> OnCommand(std::string text);
  Task<absl::Status> OnRefused();
  Task<absl::Status> RunCommand(const CommandSpec& spec, imap::Command command);
  Task<absl::Status> RefuseMessage();
  Task<absl::Status> CountError();
  void Bye(absl::string_view why);

  ImapShared& shared_;
  const std::unique_ptr<net::Connection> connection_;
  const rpc::TraceContext trace_;
  const absl::Time begun_ = absl::Now();
  const absl::Time login_deadline_;
  imap::CommandReader reader_;
  std::string out_;
  State state_ = State::kNotAuthenticated;
  uint16_t errors_ = 0;
  uint16_t failed_logins_ = 0;
  std::unique_ptr<Logins::Ticket> ticket_;
  Selected::Dialect dialect_;
  UidSet saved_search_;
  std::unique_ptr<Selected> selected_;
  std::atomic<bool> idling_{false};
  std::unique_ptr<ChangeWatcher::Subscription> subscription_;  // wakes connection_, so it is destroyed first
};

}  // namespace posthouse::gateway
