#include "services/ingress/smtp_dialogue.h"

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
using smtp::Reply;
using smtp::Verb;
using State = SmtpDialogue::State;

constexpr unsigned Bit(State state) { return 1u << static_cast<unsigned>(state); }
constexpr unsigned kAnyState =
    Bit(State::kNew) | Bit(State::kReady) | Bit(State::kMail) | Bit(State::kRcpt) | Bit(State::kChunks);
constexpr unsigned kIdle = Bit(State::kReady);
constexpr char kSeparators[] = "+-_.=#";  // that a domain may use (directory)
Reply NotOwnAddress() { return Reply(553, "5.7.1", "Sender address not allowed for this account"); }

}  // namespace

struct SmtpDialogue::CommandRule {
  Verb verb;
  Action (SmtpDialogue::*handler)(const Command&, std::string*);
  unsigned states;   // where it is allowed
  bool before_auth;  // on a submission port
  bool ends_group;   // RFC 2920 §3.1: the client waits for its reply
};

const SmtpDialogue::CommandRule SmtpDialogue::kCommands[] = {
    {Verb::kEhlo, &SmtpDialogue::Hello, kAnyState, true, true},
    {Verb::kHelo, &SmtpDialogue::Hello, kAnyState, true, true},
    {Verb::kMail, &SmtpDialogue::Mail, kIdle, false, false},
    {Verb::kRcpt, &SmtpDialogue::Rcpt, Bit(State::kMail) | Bit(State::kRcpt), false, false},
    {Verb::kData, &SmtpDialogue::Data, Bit(State::kMail) | Bit(State::kRcpt), false, true},
    // The chunk follows even a refused command, so Bdat() handles every state.
    {Verb::kBdat, &SmtpDialogue::Bdat, kAnyState, true, false},
    {Verb::kRset, &SmtpDialogue::Rset, kAnyState, true, false},
    {Verb::kNoop, &SmtpDialogue::Noop, kAnyState, true, true},
    {Verb::kQuit, &SmtpDialogue::Quit, kAnyState, true, true},
    {Verb::kVrfy, &SmtpDialogue::Vrfy, kAnyState, false, true},
    {Verb::kExpn, &SmtpDialogue::Unavailable, kAnyState, true, true},
    {Verb::kLhlo, &SmtpDialogue::Unavailable, kAnyState, true, true},
    {Verb::kHelp, &SmtpDialogue::Help, kAnyState, true, false},
    {Verb::kStartTls, &SmtpDialogue::StartTls, Bit(State::kNew) | kIdle, true, true},
    {Verb::kAuth, &SmtpDialogue::Auth, kIdle, true, true},
    {Verb::kForeign, &SmtpDialogue::Foreign, kAnyState, true, true},
};

SmtpDialogue::SmtpDialogue(Rules rules, bool tls) : rules_(std::move(rules)), tls_(tls) {}

void SmtpDialogue::Greet(std::string* out) {
  // RFC 5321 §4.3.1: "ESMTP" invites EHLO.
  Say(220, "", absl::StrCat(rules_.policy->hostname, " ESMTP Posthouse"), out);
}

SmtpDialogue::Action SmtpDialogue::OnLineTooLong(std::string* out) {
  // RFC 5321 §4.5.3.1.9
  if (state_ == State::kAuthDialog) state_ = State::kReady;
  auth_.reset();
  return Say(500, "5.5.2", "Line too long", out);
}

SmtpDialogue::Action SmtpDialogue::OnLine(absl::string_view line, std::string* out) {
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
    return RefuseLine(command, line, Reason::kAuthRequired, Reply(530, "5.7.0", "Authentication required"),
                      out);  // RFC 4954 §6
  }
  if (command.error.has_value()) {
    const Action action = RefuseLine(command, line, Reason::kSyntax, *command.error, out);
    if (command.verb != Verb::kBdat || action == Action::kClose) return action;
    // The size of the chunk is unknown, and its octets must not be read as commands.
    Bye(Reason::kOther, "4.5.1", "BDAT without a valid chunk size", out);
    return Action::kClose;
  }
  if ((rule->states & Bit(state_)) == 0) return OutOfOrder(command, line, out);
  return (this->*rule->handler)(command, out);
}

SmtpDialogue::Action SmtpDialogue::OutOfOrder(const Command& command, absl::string_view line, std::string* out) {
  const Verb verb = command.verb;
  const char* text = "Bad sequence of commands";
  if (state_ == State::kNew) {
    text = "Send EHLO first";
  } else if (verb == Verb::kMail) {
    text = "Mail transaction already in progress";
  } else if (verb == Verb::kRcpt || verb == Verb::kData) {
    text = state_ == State::kChunks ? "BDAT in progress" : "Send MAIL first";
  }
  return RefuseLine(command, line, Reason::kSequence, Reply(503, "5.5.1", text), out);
}

bool SmtpDialogue::OffersAuth() const {
  return rules_.submission && (tls_ || rules_.policy->allow_plaintext_auth) && !login_.has_value();
}

void SmtpDialogue::Forget() {
  envelope_ = Envelope();
  refused_recipients_ = 0;
  expanded_ = 0;
  chunk_bytes_ = 0;
  if (state_ != State::kNew && state_ != State::kClosed) state_ = State::kReady;
}

// ehlo = "EHLO" SP ( Domain / address-literal ) CRLF (RFC 5321 §4.1.1.1)
SmtpDialogue::Action SmtpDialogue::Hello(const Command& command, std::string* out) {
  state_ = State::kReady;
  Forget();  // RFC 5321 §4.1.4: EHLO in mid-session is also RSET
  client_name_ = command.argument;
  esmtp_ = command.verb == Verb::kEhlo;
  if (!esmtp_) return Say(250, "", rules_.policy->hostname, out);
  std::string text = absl::StrCat(rules_.policy->hostname,
                                  "\nPIPELINING"  // RFC 2920
                                  "\nSIZE ",
                                  rules_.policy->max_message_bytes,                                 // RFC 1870
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

SmtpDialogue::Action SmtpDialogue::Mail(const Command& command, std::string* out) {
  const std::string path = command.path.has_value() ? command.path->ToString() : "";
  // BINARYMIME (RFC 3030 §3) is not offered, since the mail store keeps lines of text.
  if (command.mail.body == smtp::Body::kBinaryMime) {
    return Refuse(Stage::kMail, Reason::kUnsupported, Reply(555, "5.5.4", "BODY=BINARYMIME not supported"), path, out);
  }
  if (command.mail.size.value_or(0) > rules_.policy->max_message_bytes) {
    return Refuse(Stage::kMail, Reason::kTooLarge, TooLarge(), path, out);  // RFC 1870 §6.1
  }
  if (login_.has_value() && !rules_.policy->allow_any_sender && !path.empty()) {
    const absl::StatusOr<Address> address = ParseAddress(path);
    const auto& own = login_->may_send_as;
    const bool is_own = address.ok() && std::find(own.begin(), own.end(), address->Folded().ToString()) != own.end();
    // A subaddress (RFC 5233): routing knows the separators of the domain.
    if (!is_own && address.ok() && address->local.find_first_of(kSeparators, 1) != std::string::npos) {
      pending_.command = command;
      pending_.address = path;
      return Action::kResolve;
    }
    if (!is_own) return Refuse(Stage::kMail, Reason::kNotOwnAddress, NotOwnAddress(), path, out);
  }
  BeginMail(command, out);
  return Action::kNone;
}

void SmtpDialogue::BeginMail(Command command, std::string* out) {
  envelope_ = Envelope();
  if (command.path.has_value()) envelope_.reverse_path = command.path->ToString();
  envelope_.parameters = std::move(command.mail);
  state_ = State::kMail;
  Say(250, "2.1.0", "Sender ok", out);
}

// A subaddress leads to the account with a detail; other addresses that lead there are
// aliases, of which may_send_as has all, or a catch-all.
SmtpDialogue::Action SmtpDialogue::OnSenderResolved(const Resolution& resolution, std::string* out) {
  if (resolution.outcome == Resolution::Outcome::kTemporary) {
    return Refuse(Stage::kMail, Reason::kUnavailable, Reply(451, "4.4.3", "Sender not resolved, try again later"),
                  pending_.address, out);
  }
  const bool own = resolution.outcome == Resolution::Outcome::kAccept && !resolution.detail.empty() &&
                   !login_->account_id.empty() && resolution.account_id == login_->account_id;
  if (!own) return Refuse(Stage::kMail, Reason::kNotOwnAddress, NotOwnAddress(), pending_.address, out);
  BeginMail(std::move(pending_.command), out);
  return Action::kNone;
}

SmtpDialogue::Action SmtpDialogue::Rcpt(const Command& command, std::string* out) {
  const std::string path = command.path->ToString();
  if (!envelope_.parameters.smtputf8 && !command.path->ascii()) {
    return RefuseRecipient(Reason::kNeedsSmtpUtf8, Reply(553, "5.6.7", "Address needs SMTPUTF8"), path,
                           out);  // RFC 6531 §3.5
  }
  // RFC 5321 §4.5.3.1.10: temporary, so that the client sends the rest later.
  if (envelope_.recipients.size() >= rules_.policy->max_recipients) {
    return Refuse(Stage::kRcpt, Reason::kTooManyRecipients, TooManyRecipients(), path, out);
  }
  pending_.command = command;
  // RFC 5321 §4.5.1: routing resolves <postmaster> without a domain. Our host name need
  // not be a domain with mailboxes.
  pending_.address = path;
  return Action::kResolve;
}

SmtpDialogue::Action SmtpDialogue::OnResolved(const Resolution& resolution, std::string* out) {
  if (pending_.command.verb == Verb::kMail) return OnSenderResolved(resolution, out);
  const Reply reply = ReplyForRecipient(resolution.outcome);
  if (!reply.positive()) return RefuseRecipient(ReasonFor(resolution.outcome), reply, pending_.address, out);
  const std::optional<Misfit> misfit = DoesNotFit({.bytes = envelope_.parameters.size.value_or(0)}, resolution.places);
  if (misfit.has_value()) return RefuseRecipient(misfit->reason, misfit->reply, pending_.address, out);
  const auto same = [this](const Recipient& r) { return r.original == pending_.address; };
  // A recipient that is given twice gets the message once.
  if (std::none_of(envelope_.recipients.begin(), envelope_.recipients.end(), same)) {
    if (expanded_ + resolution.recipients > rules_.policy->max_envelope_recipients) {
      // With other recipients the client sends the rest later. Alone it would never fit.
      return expanded_ > 0
                 ? Refuse(Stage::kRcpt, Reason::kTooManyRecipients, TooManyRecipients(), pending_.address, out)
                 : RefuseRecipient(Reason::kTooManyRecipients,
                                   Reply(554, "5.5.3", "Address leads to too many recipients"), pending_.address, out);
    }
    expanded_ += resolution.recipients;
    envelope_.recipients.push_back({pending_.address, std::move(pending_.command.rcpt), resolution.answer,
                                    resolution.places, resolution.current_at});
  }
  state_ = State::kRcpt;
  return Say(reply.code, reply.enhanced, reply.Text(), out);
}

SmtpDialogue::Action SmtpDialogue::Data(const Command&, std::string* out) {
  if (envelope_.recipients.empty()) {
    // RFC 5321 §3.3: 503 without RCPT, 554 when every one was refused.
    return refused_recipients_ > 0
               ? Refuse(Stage::kData, Reason::kNoRecipients, Reply(554, "5.5.1", "No valid recipients"), "", out)
               : Refuse(Stage::kData, Reason::kSequence, Reply(503, "5.5.1", "Send RCPT first"), "", out);
  }
  Say(354, "", "End data with <CR><LF>.<CR><LF>", out);
  return Action::kReceiveData;
}

SmtpDialogue::Action SmtpDialogue::Bdat(const Command& command, std::string* out) {
  const bool allowed = (state_ == State::kRcpt || state_ == State::kChunks) && !envelope_.recipients.empty();
  chunk_ = Chunk{.bytes = command.chunk_bytes, .last = command.last, .discard = !allowed};
  if (allowed) {
    // RFC 1870 §6.3: a message over the limit is refused at the command. Its octets follow
    // all the same; a chunk that alone is over the limit is not read to its end.
    const uint64_t max = rules_.policy->max_message_bytes;
    if (command.chunk_bytes > max || chunk_bytes_ > max - command.chunk_bytes) {
      const Action action = Refuse(Stage::kData, Reason::kTooLarge, TooLarge(), "", out);
      Forget();
      chunk_.refused = true;
      chunk_.discard = true;
      if (action == Action::kClose) return action;
      if (command.chunk_bytes <= max) return Action::kReceiveChunk;
      Bye(Reason::kTooMuchData, "4.3.4", "Message data exceeds the limit", out);
      return Action::kClose;
    }
    chunk_bytes_ += command.chunk_bytes;
    state_ = State::kChunks;
    return Action::kReceiveChunk;
  }
  // RFC 3030 §2: the client sends the chunk in any case. More octets than a message
  // may have are not read.
  if (command.chunk_bytes > rules_.policy->max_message_bytes) {
    Bye(Reason::kTooMuchData, "4.5.1", "BDAT out of order", out);
    return Action::kClose;
  }
  return Action::kReceiveChunk;
}

SmtpDialogue::Action SmtpDialogue::OnChunk(const std::optional<Reply>& refusal, std::string* out) {
  if (chunk_.refused) return Action::kNone;
  if (chunk_.discard) {
    const bool tried = state_ == State::kMail && refused_recipients_ > 0;
    return tried ? Refuse(Stage::kData, Reason::kNoRecipients, Reply(554, "5.5.1", "No valid recipients"), "", out)
                 : Refuse(Stage::kData, Reason::kSequence, Reply(503, "5.5.1", "BDAT out of order"), "", out);
  }
  if (refusal.has_value()) {
    // RFC 3030 §2: after a refused chunk only RSET is valid; reset here.
    Forget();
    return Say(refusal->code, refusal->enhanced, refusal->Text(), out);
  }
  return Say(250, "2.0.0", absl::StrCat(chunk_.bytes, " octets received"), out);
}

SmtpDialogue::Action SmtpDialogue::OnMessage(const Reply& reply, std::string* out) {
  Forget();
  if (reply.positive()) errors_ = refused_alone_ = 0;
  return Say(reply.code, reply.enhanced, reply.Text(), out);
}

SmtpDialogue::Action SmtpDialogue::Rset(const Command&, std::string* out) {
  Forget();
  return Say(250, "2.0.0", "Ok", out);
}

SmtpDialogue::Action SmtpDialogue::Noop(const Command&, std::string* out) { return Say(250, "2.0.0", "Ok", out); }

SmtpDialogue::Action SmtpDialogue::Quit(const Command&, std::string* out) {
  Say(221, "2.0.0", "Bye", out);
  state_ = State::kClosed;
  return Action::kClose;
}

// RFC 5321 §3.5.3, §7.3: the reply does not reveal whether the user exists.
SmtpDialogue::Action SmtpDialogue::Vrfy(const Command&, std::string* out) {
  return Say(252, "2.5.2", "Cannot VRFY user, but will accept message and attempt delivery", out);
}

SmtpDialogue::Action SmtpDialogue::Help(const Command&, std::string* out) {
  return Say(214, "2.0.0", "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP STARTTLS AUTH\nSee RFC 5321", out);
}

SmtpDialogue::Action SmtpDialogue::Unavailable(const Command&, std::string* out) {
  return Say(502, "5.5.1", "Command not implemented", out);
}

SmtpDialogue::Action SmtpDialogue::Foreign(const Command&, std::string* out) {
  Bye(Reason::kUnsupported, "4.7.0", "This is an SMTP server", out);
  return Action::kClose;
}

SmtpDialogue::Action SmtpDialogue::StartTls(const Command&, std::string* out) {
  if (tls_) return Say(503, "5.5.1", "TLS is already active", out);
  if (!rules_.starttls) return Say(502, "5.5.1", "Command not implemented", out);
  Say(220, "2.0.0", "Ready to start TLS", out);
  return Action::kStartTls;
}

void SmtpDialogue::OnTlsStarted() {
  // RFC 3207 §4.2: the server discards what the client sent before the handshake.
  state_ = State::kNew;
  tls_ = true;
  esmtp_ = false;
  client_name_.clear();
  login_.reset();
  Forget();
}

// ---- AUTH (RFC 4954)

SmtpDialogue::Action SmtpDialogue::Auth(const Command& command, std::string* out) {
  const auto refuse = [&](Reason reason, const Reply& reply) { return Refuse(Stage::kAuth, reason, reply, "", out); };
  if (!rules_.submission) {
    return refuse(Reason::kUnsupported, Reply(502, "5.5.1", "AUTH not available, use the submission port"));
  }
  if (login_.has_value())
    return refuse(Reason::kSequence, Reply(503, "5.5.1", "Already authenticated"));  // RFC 4954 §4
  if (!OffersAuth()) {
    return refuse(Reason::kEncryptionRequired,
                  Reply(538, "5.7.11", "Encryption required for requested authentication mechanism"));
  }
  auth_ = sasl::Exchange::Begin(command.argument);
  if (!auth_.has_value()) {
    return refuse(Reason::kUnsupported, Reply(504, "5.5.4", "Authentication mechanism not supported"));
  }
  return OnSasl(auth_->Start(command.initial_response), out);
}

SmtpDialogue::Action SmtpDialogue::OnSasl(sasl::Step step, std::string* out) {
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
  return Refuse(Stage::kAuth, Reason::kSyntax, ReplyForSaslError(std::get<absl::Status>(step)), "", out);
}

SmtpDialogue::Action SmtpDialogue::OnAuthenticated(const absl::Status& status, const Login& login, std::string* out) {
  const std::string username = std::exchange(credentials_, sasl::Credentials()).username;
  const Reply reply = ReplyForLogin(status);
  if (!reply.positive()) return Refuse(Stage::kAuth, ReasonForLogin(status), reply, username, out);
  login_ = login;
  return Say(reply.code, reply.enhanced, reply.Text(), out);
}

}  // namespace posthouse::ingress
