#include "services/ingress/transaction.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/ingress/replies.h"
#include "services/mail_formats/address/address.h"

namespace posthouse::ingress {
namespace {

using smtp::Command;
using smtp::Verb;
using State = Transaction::State;

constexpr unsigned Bit(State state) { return 1u << static_cast<unsigned>(state); }
constexpr unsigned kAnyState =
    Bit(State::kNew) | Bit(State::kReady) | Bit(State::kMail) | Bit(State::kRcpt) | Bit(State::kChunks);
constexpr unsigned kIdle = Bit(State::kReady);

}  // namespace

struct Transaction::CommandRule {
  Verb verb;
  Action (Transaction::*handler)(const Command&, std::string*);
  unsigned states;   // where it is allowed
  bool before_auth;  // on a submission port
  bool ends_group;   // RFC 2920 §3.1: the client waits for its reply
};

const Transaction::CommandRule Transaction::kCommands[] = {
    {Verb::kEhlo, &Transaction::Hello, kAnyState, true, true},
    {Verb::kHelo, &Transaction::Hello, kAnyState, true, true},
    {Verb::kMail, &Transaction::Mail, kIdle, false, false},
    {Verb::kRcpt, &Transaction::Rcpt, Bit(State::kMail) | Bit(State::kRcpt), false, false},
    {Verb::kData, &Transaction::Data, Bit(State::kMail) | Bit(State::kRcpt), false, true},
    // Its chunk follows whatever we think of the command, so it is never out of order.
    {Verb::kBdat, &Transaction::Bdat, kAnyState, true, false},
    {Verb::kRset, &Transaction::Rset, kAnyState, true, false},
    {Verb::kNoop, &Transaction::Noop, kAnyState, true, true},
    {Verb::kQuit, &Transaction::Quit, kAnyState, true, true},
    {Verb::kVrfy, &Transaction::Vrfy, kAnyState, false, true},
    {Verb::kExpn, &Transaction::Unavailable, kAnyState, true, true},
    {Verb::kLhlo, &Transaction::Unavailable, kAnyState, true, true},
    {Verb::kHelp, &Transaction::Help, kAnyState, true, false},
    {Verb::kStartTls, &Transaction::StartTls, Bit(State::kNew) | kIdle, true, true},
    {Verb::kAuth, &Transaction::Auth, kIdle, true, true},
    {Verb::kForeign, &Transaction::Foreign, kAnyState, true, true},
};

Transaction::Transaction(Rules rules, bool tls) : rules_(std::move(rules)), tls_(tls) {}

// Every reply passes here: counted, and too many refusals end the session.
Transaction::Action Transaction::Say(int code, absl::string_view enhanced, absl::string_view text, std::string* out) {
  smtp::AppendReply(out, code, enhanced, text);
  ++counts_.replies[static_cast<size_t>(code / 100)];
  if (code < 500 || ++errors_ < rules_.max_errors) return Action::kNone;
  Bye("4.7.0", "Too many errors", out);
  return Action::kClose;
}

void Transaction::Bye(absl::string_view enhanced, absl::string_view text, std::string* out) {
  // RFC 5321 §3.8: 421 is what a server says that ends a session on its own.
  smtp::AppendReply(out, 421, enhanced, absl::StrCat(rules_.hostname, " ", text));
  ++counts_.replies[4];
  state_ = State::kClosed;
}

void Transaction::Greet(std::string* out) {
  // RFC 5321 §4.3.1: "ESMTP" invites EHLO.
  Say(220, "", absl::StrCat(rules_.hostname, " ESMTP Posthouse"), out);
}

Transaction::Action Transaction::OnLineTooLong(std::string* out) {
  // RFC 5321 §4.5.3.1.9
  if (state_ == State::kAuthDialog) state_ = State::kReady;
  auth_.reset();
  return Say(500, "5.5.2", "Line too long", out);
}

Transaction::Action Transaction::OnLine(absl::string_view line, std::string* out) {
  ends_group_ = false;
  if (state_ == State::kAuthDialog) {
    ends_group_ = true;
    return OnSasl(auth_->OnLine(line), out);
  }
  const Command command = smtp::ParseCommand(line);
  ++counts_.commands[static_cast<size_t>(command.verb)];
  if (line.size() > smtp::kMaxCommandLine && command.verb != Verb::kAuth) return OnLineTooLong(out);
  const CommandRule* rule = nullptr;
  for (const CommandRule& candidate : kCommands) {
    if (candidate.verb == command.verb) rule = &candidate;
  }
  if (rule != nullptr) ends_group_ = rule->ends_group;
  if (rule != nullptr && rules_.submission && !login_.has_value() && !rule->before_auth) {
    return Say(530, "5.7.0", "Authentication required", out);  // RFC 4954 §6
  }
  if (command.error.has_value()) {
    const Action action = Say(command.error->code, command.error->enhanced, command.error->Text(), out);
    if (command.verb != Verb::kBdat || action == Action::kClose) return action;
    // How many octets follow is not known: they must not be taken for commands.
    Bye("4.5.1", "Cannot tell where the chunk ends", out);
    return Action::kClose;
  }
  if ((rule->states & Bit(state_)) == 0) return OutOfOrder(command.verb, out);
  return (this->*rule->handler)(command, out);
}

Transaction::Action Transaction::OutOfOrder(Verb verb, std::string* out) {
  const char* text = "Bad sequence of commands";
  if (state_ == State::kNew) {
    text = "Say EHLO first";
  } else if (verb == Verb::kMail) {
    text = "A transaction is in progress";
  } else if (verb == Verb::kRcpt || verb == Verb::kData) {
    text = state_ == State::kChunks ? "BDAT is in progress" : "Say MAIL first";
  }
  return Say(503, "5.5.1", text, out);
}

bool Transaction::OffersAuth() const {
  return rules_.submission && (tls_ || rules_.plaintext_auth) && !login_.has_value();
}

void Transaction::Forget() {
  envelope_ = Envelope();
  refused_recipients_ = 0;
  if (state_ != State::kNew && state_ != State::kClosed) state_ = State::kReady;
}

// ehlo = "EHLO" SP ( Domain / address-literal ) CRLF (RFC 5321 §4.1.1.1)
Transaction::Action Transaction::Hello(const Command& command, std::string* out) {
  state_ = State::kReady;
  Forget();  // RFC 5321 §4.1.4: EHLO in mid-session is also RSET
  client_name_ = command.argument;
  esmtp_ = command.verb == Verb::kEhlo;
  if (!esmtp_) return Say(250, "", rules_.hostname, out);
  std::string text = absl::StrCat(rules_.hostname,
                                  "\nPIPELINING"  // RFC 2920
                                  "\nSIZE ",
                                  rules_.max_message_bytes,                                         // RFC 1870
                                  "\n8BITMIME"                                                      // RFC 6152
                                  "\nENHANCEDSTATUSCODES"                                           // RFC 2034
                                  "\nSMTPUTF8"                                                      // RFC 6531
                                  "\nCHUNKING"                                                      // RFC 3030
                                  "\nDSN");                                                         // RFC 3461
  if (rules_.starttls && !tls_) text += "\nSTARTTLS";                                               // RFC 3207
  if (OffersAuth()) absl::StrAppend(&text, "\nAUTH ", absl::StrJoin(sasl::MechanismNames(), " "));  // RFC 4954
  text += "\nHELP";
  return Say(250, "", text, out);
}

Transaction::Action Transaction::Mail(const Command& command, std::string* out) {
  // RFC 3030 §3 is not offered: the store keeps text in lines.
  if (command.mail.body == smtp::Body::kBinaryMime) return Say(555, "5.5.4", "BODY=BINARYMIME is not offered", out);
  if (command.mail.size.value_or(0) > rules_.max_message_bytes) {
    return Say(552, "5.3.4", "Message is larger than the limit", out);  // RFC 1870 §6.1
  }
  const std::string path = command.path.has_value() ? command.path->ToString() : "";
  if (login_.has_value() && !rules_.any_sender && !path.empty()) {
    const absl::StatusOr<std::string> normal = NormalizeLocalAddress(path);
    const auto& own = login_->may_send_as;
    if (!normal.ok() || std::find(own.begin(), own.end(), *normal) == own.end()) {
      return Say(553, "5.7.1", "This sender address is not yours", out);
    }
  }
  envelope_ = Envelope();
  envelope_.reverse_path = path;
  envelope_.parameters = command.mail;
  state_ = State::kMail;
  return Say(250, "2.1.0", "Sender ok", out);
}

Transaction::Action Transaction::Rcpt(const Command& command, std::string* out) {
  if (!envelope_.parameters.smtputf8 && !command.path->ascii()) {
    return Say(553, "5.6.7", "Address needs SMTPUTF8", out);  // RFC 6531 §3.5
  }
  // RFC 5321 §4.5.3.1.10: temporary, so that the client sends the rest later.
  if (envelope_.recipients.size() >= rules_.max_recipients) return Say(452, "4.5.3", "Too many recipients", out);
  pending_.command = command;
  // RFC 5321 §4.5.1: <postmaster> without a domain goes to routing as it is, which knows
  // whose it is; our own name need not be a domain with mailboxes.
  pending_.address = command.path->ToString();
  return Action::kResolve;
}

Transaction::Action Transaction::OnResolved(const Resolution& resolution, std::string* out) {
  const uint64_t limit = resolution.max_message_bytes;
  if (resolution.outcome == Resolution::Outcome::kAccept && limit > 0 &&
      envelope_.parameters.size.value_or(0) > limit) {
    ++refused_recipients_;
    return Say(552, "5.3.4", "Message is larger than this mailbox takes", out);
  }
  const smtp::Reply reply = ReplyForRecipient(resolution.outcome);
  if (!reply.positive()) {
    ++refused_recipients_;
    return Say(reply.code, reply.enhanced, reply.Text(), out);
  }
  state_ = State::kRcpt;
  const auto same = [this](const Recipient& r) { return r.original == pending_.address; };
  // Named twice, delivered once.
  if (std::none_of(envelope_.recipients.begin(), envelope_.recipients.end(), same)) {
    envelope_.recipients.push_back({pending_.address, std::move(pending_.command.rcpt), resolution.answer});
  }
  return Say(reply.code, reply.enhanced, reply.Text(), out);
}

Transaction::Action Transaction::Data(const Command&, std::string* out) {
  if (envelope_.recipients.empty()) {
    // RFC 5321 §3.3: 503 without RCPT, 554 when every one was refused.
    return refused_recipients_ > 0 ? Say(554, "5.5.1", "No valid recipients", out)
                                   : Say(503, "5.5.1", "Say RCPT first", out);
  }
  Say(354, "", "End data with <CR><LF>.<CR><LF>", out);
  return Action::kReceiveData;
}

Transaction::Action Transaction::Bdat(const Command& command, std::string* out) {
  const bool allowed = (state_ == State::kRcpt || state_ == State::kChunks) && !envelope_.recipients.empty();
  chunk_ = Chunk{command.chunk_bytes, command.last, !allowed};
  if (allowed) {
    state_ = State::kChunks;
    return Action::kReceiveChunk;
  }
  // RFC 3030 §2: the octets come all the same. As many as no message may have are
  // not waited for.
  if (command.chunk_bytes > rules_.max_message_bytes) {
    Bye("4.5.1", "BDAT out of order", out);
    return Action::kClose;
  }
  return Action::kReceiveChunk;
}

Transaction::Action Transaction::OnChunk(const std::optional<smtp::Reply>& refusal, std::string* out) {
  if (chunk_.discard) {
    const bool tried = state_ == State::kMail && refused_recipients_ > 0;
    return tried ? Say(554, "5.5.1", "No valid recipients", out) : Say(503, "5.5.1", "BDAT out of order", out);
  }
  if (refusal.has_value()) {
    // RFC 3030 §2: after a refused chunk only RSET helps; we do it ourselves.
    Forget();
    return Say(refusal->code, refusal->enhanced, refusal->Text(), out);
  }
  return Say(250, "2.0.0", absl::StrCat(chunk_.bytes, " octets received"), out);
}

Transaction::Action Transaction::OnMessage(const smtp::Reply& reply, std::string* out) {
  Forget();
  if (reply.positive()) errors_ = 0;
  return Say(reply.code, reply.enhanced, reply.Text(), out);
}

Transaction::Action Transaction::Rset(const Command&, std::string* out) {
  Forget();
  return Say(250, "2.0.0", "Ok", out);
}

Transaction::Action Transaction::Noop(const Command&, std::string* out) { return Say(250, "2.0.0", "Ok", out); }

Transaction::Action Transaction::Quit(const Command&, std::string* out) {
  Say(221, "2.0.0", "Bye", out);
  state_ = State::kClosed;
  return Action::kClose;
}

// RFC 5321 §3.5.3, §7.3: an answer that tells nothing.
Transaction::Action Transaction::Vrfy(const Command&, std::string* out) {
  return Say(252, "2.5.2", "Cannot tell; send the mail and see", out);
}

Transaction::Action Transaction::Help(const Command&, std::string* out) {
  return Say(214, "2.0.0", "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP STARTTLS AUTH\nSee RFC 5321", out);
}

Transaction::Action Transaction::Unavailable(const Command&, std::string* out) {
  return Say(502, "5.5.1", "Command not implemented", out);
}

Transaction::Action Transaction::Foreign(const Command&, std::string* out) {
  Bye("4.7.0", "This is SMTP", out);
  return Action::kClose;
}

Transaction::Action Transaction::StartTls(const Command&, std::string* out) {
  if (tls_) return Say(503, "5.5.1", "TLS is active", out);
  if (!rules_.starttls) return Say(502, "5.5.1", "Command not implemented", out);
  Say(220, "2.0.0", "Ready to start TLS", out);
  return Action::kStartTls;
}

void Transaction::OnTlsStarted() {
  // RFC 3207 §4.2: both sides forget what was said in the clear.
  state_ = State::kNew;
  tls_ = true;
  esmtp_ = false;
  client_name_.clear();
  login_.reset();
  envelope_ = Envelope();
  refused_recipients_ = 0;
}

// ---- AUTH (RFC 4954)

Transaction::Action Transaction::Auth(const Command& command, std::string* out) {
  if (!rules_.submission) return Say(502, "5.5.1", "Log in on the submission port", out);
  if (login_.has_value()) return Say(503, "5.5.1", "Already authenticated", out);  // RFC 4954 §4
  if (!OffersAuth()) return Say(538, "5.7.11", "Start TLS first", out);
  auth_ = sasl::Exchange::Begin(command.argument);
  if (!auth_.has_value()) return Say(504, "5.5.4", "Mechanism not supported", out);
  return OnSasl(auth_->Start(command.initial_response), out);
}

Transaction::Action Transaction::OnSasl(sasl::Step step, std::string* out) {
  if (const auto* challenge = std::get_if<sasl::Challenge>(&step)) {
    state_ = State::kAuthDialog;
    return Say(334, "", challenge->bytes, out);
  }
  state_ = State::kReady;
  auth_.reset();
  if (auto* credentials = std::get_if<sasl::Credentials>(&step)) {
    credentials_ = std::move(*credentials);
    return Action::kAuthenticate;
  }
  const smtp::Reply reply = ReplyForSaslError(std::get<absl::Status>(step));
  return Say(reply.code, reply.enhanced, reply.Text(), out);
}

Transaction::Action Transaction::OnAuthenticated(const absl::Status& status, const Login& login, std::string* out) {
  credentials_ = sasl::Credentials();
  const smtp::Reply reply = ReplyForLogin(status);
  if (reply.positive()) login_ = login;
  return Say(reply.code, reply.enhanced, reply.Text(), out);
}

}  // namespace posthouse::ingress
