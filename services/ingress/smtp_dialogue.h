// SmtpDialogue: the state machine of one SMTP session (RFC 5321 §4). No I/O.
//
//        EHLO         MAIL          RCPT          DATA, BDAT LAST
//   kNew ───▶ kReady ───▶ kMail ───▶ kRcpt ───▶ (message) ─┐
//               ▲          RSET or EHLO from any state      │   kRcpt ─BDAT▶ kChunks ─BDAT▶ ...
//               └───────────────────────────────────────────┘
//   kReady ─AUTH▶ kAuthDialog ─response─▶ (credentials) ─▶ kReady
//   any ─QUIT, too many errors▶ kClosed
//
// A command out of order gets 503 and changes nothing (RFC 5321 §4.1.4). The table of
// commands is in smtp_dialogue.cc. When the machine needs another service or the
// connection, it returns an Action; the session performs the action and passes the
// result back (OnResolved, OnAuthenticated, OnTlsStarted, OnChunk, OnMessage).
// Replies are appended to `out`, so that those of a pipelined group leave in one
// write (RFC 2920 §3.2).
//
// Threads: one session.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "services/ingress/envelope.h"
#include "services/ingress/policy.h"
#include "services/ingress/refusal.h"
#include "services/mail_formats/sasl/exchange.h"
#include "services/mail_formats/smtp/command.h"
#include "services/mail_formats/smtp/reply.h"

namespace posthouse::ingress {

// The rules of one connection: the policy, the port, and where the client comes from.
struct Rules {
  std::shared_ptr<const SmtpPolicy> policy;
  bool submission = false;       // AUTH is offered and required; mail is completed
  bool starttls = false;         // offered until the connection is encrypted
  bool trusted_network = false;  // the client may relay without AUTH
};

class SmtpDialogue {
 public:
  enum class State { kNew, kReady, kMail, kRcpt, kChunks, kAuthDialog, kClosed };
  enum class Action {
    kNone,          // go on reading commands
    kResolve,       // ask routing about resolve_address() (of RCPT, or of MAIL), then OnResolved()
    kAuthenticate,  // ask the directory about credentials(), then OnAuthenticated()
    kStartTls,      // send what is in `out`, start TLS, then OnTlsStarted()
    kReceiveData,   // read up to the final dot, then OnMessage()
    kReceiveChunk,  // read chunk(), then OnChunk() or OnMessage()
    kClose,         // send what is in `out` and close
  };
  struct Chunk {
    uint64_t bytes = 0;
    bool last = false;
    bool discard = false;  // read and dropped; then OnChunk() replies, unless it is refused
    bool refused = false;  // its command has the reply: the message is too large
  };
  // Since the connection began; for metrics.
  struct Counts {
    std::array<uint32_t, smtp::kVerbs> commands{};
    std::array<uint32_t, 6> replies{};  // by first digit
  };

  // `tls`: the connection is encrypted already (submissions).
  SmtpDialogue(Rules rules, bool tls);

  void Greet(std::string* out);
  // One command line, or one answer of an AUTH dialogue, without CRLF.
  Action OnLine(absl::string_view line, std::string* out);
  Action OnLineTooLong(std::string* out);
  // 421: the server ends the session. `why` is a refusal unless it is nullopt (an idle
  // session at a shutdown).
  void Bye(std::optional<Reason> why, absl::string_view enhanced, absl::string_view text, std::string* out);

  // What was refused since the last call: stage, reason, envelope, user name and reply.
  // Refused messages are missing: OnMessage() and OnChunk() get those replies.
  std::vector<Refusal> TakeRefusals();

  const std::string& resolve_address() const { return pending_.address; }
  // From now on only a login permits to relay.
  void DistrustNetwork() { rules_.trusted_network = false; }
  bool may_relay() const { return login_.has_value() || rules_.trusted_network; }
  Action OnResolved(const Resolution& resolution, std::string* out);

  const sasl::Credentials& credentials() const { return credentials_; }
  // `login` is used when `status` is OK. kUnauthenticated and kPermissionDenied are
  // permanent (535), every other failure is temporary (454).
  Action OnAuthenticated(const absl::Status& status, const Login& login, std::string* out);
  // After a login: replaces Login::may_send_as, for each MAIL from now on.
  void SetSenders(std::vector<std::string> may_send_as) { login_->may_send_as = std::move(may_send_as); }

  void OnTlsStarted();

  const Chunk& chunk() const { return chunk_; }
  // A chunk that is not the last was read (RFC 3030 §2). `refusal`: why the message
  // was refused, if it was.
  Action OnChunk(const std::optional<smtp::Reply>& refusal, std::string* out);
  // The message was read to its end; `reply` is its outcome.
  Action OnMessage(const smtp::Reply& reply, std::string* out);

  State state() const { return state_; }
  const Envelope& envelope() const { return envelope_; }
  const std::optional<Login>& login() const { return login_; }
  const std::string& client_name() const { return client_name_; }
  bool esmtp() const { return esmtp_; }
  bool tls() const { return tls_; }
  const Rules& rules() const { return rules_; }
  const Counts& counts() const { return counts_; }
  // Whether the last command must be answered before more is read (RFC 2920 §3.1).
  bool ends_group() const { return ends_group_; }

 private:
  struct CommandRule;
  static const CommandRule kCommands[];

  void Append(int code, absl::string_view enhanced, absl::string_view text, std::string* out);
  Action Say(int code, absl::string_view enhanced, absl::string_view text, std::string* out);
  void Note(Stage stage, Reason reason, const smtp::Reply& reply, absl::string_view address);
  // Say() of a refusal that is reported. `address`: of MAIL or RCPT; the user name of AUTH.
  Action Refuse(Stage stage, Reason reason, const smtp::Reply& reply, absl::string_view address, std::string* out);
  Action RefuseLine(const smtp::Command& command, absl::string_view line, Reason reason, const smtp::Reply& reply,
                    std::string* out);
  Action Hello(const smtp::Command& command, std::string* out);
  Action Mail(const smtp::Command& command, std::string* out);
  Action Rcpt(const smtp::Command& command, std::string* out);
  Action Data(const smtp::Command& command, std::string* out);
  Action Bdat(const smtp::Command& command, std::string* out);
  Action Rset(const smtp::Command& command, std::string* out);
  Action Noop(const smtp::Command& command, std::string* out);
  Action Quit(const smtp::Command& command, std::string* out);
  Action Vrfy(const smtp::Command& command, std::string* out);
  Action Help(const smtp::Command& command, std::string* out);
  Action StartTls(const smtp::Command& command, std::string* out);
  Action Auth(const smtp::Command& command, std::string* out);
  Action Unavailable(const smtp::Command& command, std::string* out);
  Action Foreign(const smtp::Command& command, std::string* out);
  Action OnSasl(sasl::Step step, std::string* out);
  void BeginMail(smtp::Command command, std::string* out);
  Action OnSenderResolved(const Resolution& resolution, std::string* out);
  Action EndAfterErrors(std::string* out);
  Action RefuseRecipient(Reason reason, const smtp::Reply& reply, absl::string_view address, std::string* out);
  Action OutOfOrder(const smtp::Command& command, absl::string_view line, std::string* out);
  bool OffersAuth() const;
  void Forget();  // the transaction, not the session

  Rules rules_;
  State state_ = State::kNew;
  bool tls_;
  bool esmtp_ = false;
  bool ends_group_ = false;
  std::string client_name_;
  std::optional<Login> login_;
  Envelope envelope_;
  uint32_t refused_recipients_ = 0;  // of this transaction
  uint32_t refused_alone_ = 0;       // 5yz, of the session, without an accepted one beside them
  uint64_t expanded_ = 0;            // recipients of envelope_ after aliases and groups
  uint64_t chunk_bytes_ = 0;         // of the chunks of this message so far
  uint32_t errors_ = 0;
  Counts counts_;
  std::vector<Refusal> refusals_;

  struct {
    std::string address;
    smtp::Command command;
  } pending_;                           // the RCPT, or the MAIL, that is being resolved
  std::optional<sasl::Exchange> auth_;  // set in kAuthDialog
  sasl::Credentials credentials_;
  Chunk chunk_;
};

}  // namespace posthouse::ingress
