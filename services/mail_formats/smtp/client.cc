#include "services/mail_formats/smtp/client.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/common/status/status.h"
#include "services/mail_formats/smtp/client_commands.h"
#include "services/mail_formats/smtp/data_encoder.h"

namespace posthouse::smtp {
namespace {

using Kind = Outcome::Kind;

constexpr size_t kReadBytes = 16 * 1024;
constexpr size_t kWriteBytes = 64 * 1024;
// RCPTs in one write: their replies must fit into the socket buffers, since the client
// does not read while it writes (RFC 2920 §3.1).
constexpr size_t kRcptsPerGroup = 100;

class ClientSession final : public Client {
 public:
  ClientSession(std::unique_ptr<net::Connection> connection, ClientOptions options)
      : options_(std::move(options)), connection_(std::move(connection)) {}

  Task<Outcome> Start();
  std::optional<Outcome> TakeTlsRefusal() { return std::exchange(tls_refused_, std::nullopt); }
  Task<SendResult> Send(ClientMessage message) override;
  Task<Outcome> Reset() override;
  Task<void> Quit() override;
  bool usable() const override { return usable_; }
  const Capabilities& capabilities() const override { return capabilities_; }
  net::Connection& connection() override { return *connection_; }
  uint32_t messages_sent() const override { return messages_; }

 private:
  // One transaction in progress.
  struct Transaction {
    ClientMessage message;
    SendResult result;
    std::vector<size_t> hopeful;  // accepted at RCPT, without a final result
    size_t asked = 0;             // recipients whose RCPT was answered
    bool open = false;            // MAIL was accepted, nothing ended it yet
  };

  Task<absl::StatusOr<Reply>> ReadReply(absl::Duration timeout);
  Task<absl::StatusOr<Reply>> Exchange(std::string line, absl::Duration timeout);
  Task<Outcome> Hello(bool may_fall_back);
  Task<std::optional<Outcome>> Encrypt();
  Task<bool> Envelope(Transaction& t);
  Task<bool> SendGroup(Transaction& t, bool with_mail, size_t end, bool with_data);
  Task<bool> ReadData(Transaction& t);
  Task<void> Body(Transaction& t);
  Task<absl::Status> WriteBody(Transaction& t, DataEncoder& encoder, std::string& out);
  Task<void> EndOfData(Transaction& t, std::string rest);
  Outcome WithoutReply(const absl::Status& error);
  Task<void> EndUnwantedData();

  // Sets `outcome` for every recipient without a final result, including those whose
  // RCPT was not answered.
  static void SettleRest(Transaction& t, const Outcome& outcome) {
    for (const size_t i : t.hopeful) t.result.recipients[i] = outcome;
    for (; t.asked < t.message.recipients.size(); ++t.asked) {
      if (t.result.recipients[t.asked].reply.code == 0) t.result.recipients[t.asked] = outcome;
    }
    t.hopeful.clear();
  }
  // Turns a reply into an Outcome; marks the connection unusable when it must be.
  Outcome Read(ClientStep step, const Reply& reply, int expected) {
    // RFC 5321 §4.2.2: 421 is the last reply of a connection. A reply that is neither
    // of the expected class nor a refusal shows that client and server are out of step.
    const bool understood = reply.code / 100 == expected || reply.code >= 400;
    if (reply.code == 421 || !understood) usable_ = false;
    return FromReply(step, reply, expected);
  }
  Outcome Broken(ClientStep step, const absl::Status& error) {
    usable_ = false;
    connection_->Close();
    return FromError(step, error);
  }

  const ClientOptions options_;
  const std::unique_ptr<net::Connection> connection_;
  Capabilities capabilities_;
  ReplyParser parser_;
  std::string in_;  // received, not parsed
  bool usable_ = true;
  std::optional<Outcome> tls_refused_;
  uint32_t messages_ = 0;
};

Task<absl::StatusOr<Reply>> ClientSession::ReadReply(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;  // for all lines of the reply together
  while (true) {
    absl::string_view input = in_;
    absl::StatusOr<std::optional<Reply>> reply = parser_.Feed(&input);
    in_.erase(0, in_.size() - input.size());
    if (!reply.ok()) co_return reply.status();
    if (reply->has_value()) co_return **std::move(reply);
    absl::StatusOr<std::string> bytes = co_await connection_->ReadSome(kReadBytes, deadline - absl::Now());
    if (!bytes.ok()) co_return bytes.status();
    in_ = *std::move(bytes);
  }
}

Task<absl::StatusOr<Reply>> ClientSession::Exchange(std::string line, absl::Duration timeout) {
  const absl::Status written = co_await connection_->Write(std::move(line), timeout);
  if (!written.ok()) {
    // A reply that the server sent before it closed tells more than the write error.
    absl::StatusOr<Reply> last = co_await ReadReply(absl::Seconds(1));
    if (!last.ok()) co_return written;
    co_return last;
  }
  co_return co_await ReadReply(timeout);
}

// ---- opening

Task<Outcome> ClientSession::Start() {
  const absl::StatusOr<Reply> greeting = co_await ReadReply(options_.timeouts.greeting);
  if (!greeting.ok()) co_return Broken(ClientStep::kGreeting, greeting.status());
  Outcome outcome = Read(ClientStep::kGreeting, *greeting, 2);
  if (outcome.kind != Kind::kAccepted) co_return outcome;
  outcome = co_await Hello(/*may_fall_back=*/true);
  if (outcome.kind != Kind::kAccepted) co_return outcome;
  std::optional<Outcome> refused = co_await Encrypt();
  co_return refused.has_value() ? *std::move(refused) : outcome;
}

Task<Outcome> ClientSession::Hello(bool may_fall_back) {
  const char* const verb = options_.lmtp ? "LHLO " : "EHLO ";
  absl::StatusOr<Reply> reply =
      co_await Exchange(absl::StrCat(verb, options_.helo_name, "\r\n"), options_.timeouts.hello);
  if (!reply.ok()) co_return Broken(ClientStep::kHello, reply.status());
  if (reply->positive()) {
    capabilities_ = ParseCapabilities(reply->lines);
  } else if (reply->permanent() && may_fall_back && !options_.lmtp) {
    // RFC 5321 §3.2: HELO for a server that does not know EHLO.
    capabilities_ = Capabilities();
    reply = co_await Exchange(absl::StrCat("HELO ", options_.helo_name, "\r\n"), options_.timeouts.hello);
    if (!reply.ok()) co_return Broken(ClientStep::kHello, reply.status());
  }
  co_return Read(ClientStep::kHello, *reply, 2);
}

// STARTTLS as the options say (RFC 3207). nullopt: go on.
Task<std::optional<Outcome>> ClientSession::Encrypt() {
  const bool required = options_.tls == ClientTls::kRequired;
  if (options_.tls == ClientTls::kNever || (options_.tls_context == nullptr && !required)) co_return std::nullopt;
  if (!capabilities_.starttls || options_.tls_context == nullptr) {
    if (!required) co_return std::nullopt;
    co_return Ours(ClientStep::kStartTls, Reply(451, "4.7.4", "TLS is required, and the host does not offer it"));
  }
  const absl::StatusOr<Reply> reply = co_await Exchange("STARTTLS\r\n", options_.timeouts.hello);
  if (!reply.ok()) co_return Broken(ClientStep::kStartTls, reply.status());
  const Outcome outcome = Read(ClientStep::kStartTls, *reply, 2);
  if (outcome.kind != Kind::kAccepted) {
    if (required || !usable_) co_return outcome;
    tls_refused_ = outcome;
    co_return std::nullopt;
  }
  // Plaintext after the 220 was injected by an attacker (RFC 3207 §6).
  if (!in_.empty() || connection_->Buffered() > 0) {
    co_return Broken(ClientStep::kStartTls, absl::InvalidArgumentError("unencrypted bytes after the STARTTLS reply"));
  }
  const absl::Status handshake =
      co_await connection_->StartTlsClient(options_.tls_context, options_.server_name, options_.timeouts.tls);
  if (!handshake.ok()) co_return Broken(ClientStep::kTls, handshake);
  // RFC 3207 §4.2: discard the capabilities that were announced in the clear.
  capabilities_ = Capabilities();
  Outcome hello = co_await Hello(/*may_fall_back=*/false);
  if (hello.kind != Kind::kAccepted) co_return hello;
  co_return std::nullopt;
}

// ---- a transaction

Task<SendResult> ClientSession::Send(ClientMessage message) {
  Transaction t;
  t.result.recipients.resize(message.recipients.size());
  t.message = std::move(message);
  const std::optional<Reply> cannot = CannotTake(t.message, capabilities_);
  bool anybody = false;
  for (size_t i = 0; i < t.message.recipients.size(); ++i) {
    const std::optional<Reply> not_him = CannotTake(t.message.recipients[i], capabilities_);
    if (not_him.has_value()) t.result.recipients[i] = Ours(ClientStep::kRcpt, *not_him);
    anybody |= !not_him.has_value();
  }
  if (cannot.has_value()) {
    SettleRest(t, Ours(ClientStep::kMail, *cannot));
  } else if (!anybody) {
    co_return std::move(t.result);
  } else if (!usable_) {
    SettleRest(t, FromError(ClientStep::kMail, absl::UnavailableError("the connection is not usable any more")));
  } else if (co_await Envelope(t)) {
    co_await Body(t);
  }
  // The server accepted MAIL and no recipient: its transaction is still open.
  if (t.open && usable_) co_await Reset();
  co_return std::move(t.result);
}

// MAIL, RCPTs and DATA. True: the server waits for the message.
Task<bool> ClientSession::Envelope(Transaction& t) {
  const size_t count = t.message.recipients.size();
  if (!capabilities_.pipelining) {
    if (!co_await SendGroup(t, /*with_mail=*/true, 0, false)) co_return false;
    while (t.asked < count) {
      if (!co_await SendGroup(t, false, t.asked + 1, false)) co_return false;
    }
    if (t.hopeful.empty()) co_return false;
    co_return co_await SendGroup(t, false, count, /*with_data=*/true);
  }
  bool first = true;
  while (true) {
    const size_t end = std::min(count, t.asked + kRcptsPerGroup);
    const bool last = end == count;
    if (!co_await SendGroup(t, first, end, last) || last) co_return last && !t.hopeful.empty() && usable_;
    first = false;
  }
}

// Writes [MAIL] RCPT... [DATA] at once and reads each answer. False: no message now.
Task<bool> ClientSession::SendGroup(Transaction& t, bool with_mail, size_t end, bool with_data) {
  std::string out = with_mail ? MailCommand(t.message, capabilities_) : "";
  std::vector<size_t> sent;
  for (size_t i = t.asked; i < end; ++i) {
    if (t.result.recipients[i].ours) continue;
    out += RcptCommand(t.message.recipients[i], capabilities_);
    sent.push_back(i);
  }
  if (with_data) out += "DATA\r\n";
  const absl::Duration write_timeout = options_.timeouts.mail;
  if (!out.empty()) {
    // A failed write shows in the read that follows, with the server's last words.
    (co_await connection_->Write(std::move(out), write_timeout)).IgnoreError();
  }
  bool mail_accepted = true;
  Outcome mail;
  if (with_mail) {
    const absl::StatusOr<Reply> reply = co_await ReadReply(options_.timeouts.mail);
    mail = reply.ok() ? Read(ClientStep::kMail, *reply, 2) : Broken(ClientStep::kMail, reply.status());
    mail_accepted = t.open = mail.kind == Kind::kAccepted;
    if (!usable_) {
      t.open = false;
      SettleRest(t, mail);
      co_return false;
    }
  }
  for (const size_t i : sent) {
    const absl::StatusOr<Reply> reply = co_await ReadReply(options_.timeouts.rcpt);
    Outcome& outcome = t.result.recipients[i];
    outcome = reply.ok() ? Read(ClientStep::kRcpt, *reply, 2) : Broken(ClientStep::kRcpt, reply.status());
    if (outcome.kind == Kind::kAccepted && mail_accepted) t.hopeful.push_back(i);
    if (!usable_) {
      const Outcome lost = outcome;
      t.asked = i + 1;
      t.open = false;
      SettleRest(t, lost);
      co_return false;
    }
  }
  t.asked = end;
  if (with_data && !co_await ReadData(t)) {
    if (mail_accepted) co_return false;
  }
  if (!mail_accepted) {
    // The reply to MAIL is the reason, whatever the RCPTs after it got.
    for (const size_t i : sent) t.result.recipients[i] = mail;
    SettleRest(t, mail);
    co_return false;
  }
  co_return true;
}

// Reads the reply to DATA. True: 354, and at least one recipient was accepted.
Task<bool> ClientSession::ReadData(Transaction& t) {
  const absl::StatusOr<Reply> reply = co_await ReadReply(options_.timeouts.data);
  const Outcome outcome = reply.ok() ? Read(ClientStep::kData, *reply, 3) : Broken(ClientStep::kData, reply.status());
  if (outcome.kind == Kind::kAccepted) {
    if (!t.hopeful.empty()) co_return true;
    // RFC 2920 §3.1: after a 354 without a recipient the client sends an empty message.
    co_await EndUnwantedData();
    t.open = false;
    co_return false;
  }
  if (!usable_) t.open = false;
  SettleRest(t, outcome);
  co_return false;
}

Task<void> ClientSession::EndUnwantedData() {
  const absl::StatusOr<Reply> reply = co_await Exchange(".\r\n", options_.timeouts.end_of_data);
  if (!reply.ok() || reply->code == 421) usable_ = false;
}

Task<void> ClientSession::Body(Transaction& t) {
  t.open = false;
  DataEncoder encoder;
  std::string out;
  const absl::Status written = co_await WriteBody(t, encoder, out);
  if (!usable_) co_return;  // settled already
  if (!written.ok()) {
    // The server may have sent a reply before it closed, although RFC 5321 §4.2.5 wants
    // it to wait for the end of the data.
    const absl::StatusOr<Reply> reply = co_await ReadReply(absl::Seconds(1));
    Outcome outcome = Broken(ClientStep::kBody, written);
    if (reply.ok() && reply->code >= 400) outcome = FromReply(ClientStep::kBody, *reply, 2);
    SettleRest(t, outcome);
    co_return;
  }
  encoder.Finish(&out);
  co_await EndOfData(t, std::move(out));
}

// Writes the message, except for the bytes that remain in `out` for the last write.
Task<absl::Status> ClientSession::WriteBody(Transaction& t, DataEncoder& encoder, std::string& out) {
  while (true) {
    const absl::StatusOr<absl::Cord> piece = co_await t.message.next();
    if (!piece.ok()) {
      // Close inside the data, so that the server does not accept half a message.
      SettleRest(t, Ours(ClientStep::kBody, Reply(451, "4.3.0", "the message could not be read")));
      usable_ = false;
      connection_->Close();
      co_return piece.status();
    }
    if (piece->empty()) co_return absl::OkStatus();
    // No iterator of a cord lives across a co_await: all chunks are encoded first.
    for (absl::string_view chunk : piece->Chunks()) encoder.Encode(chunk, &out);
    if (out.size() >= kWriteBytes) {
      PH_CO_RETURN_IF_ERROR(co_await connection_->Write(std::exchange(out, std::string()), options_.timeouts.block));
    }
  }
}

// Sends the final dot and reads its reply: one, or with LMTP one for each recipient
// (RFC 2033 §4.2).
Task<void> ClientSession::EndOfData(Transaction& t, std::string rest) {
  const absl::Status written = co_await connection_->Write(std::move(rest), options_.timeouts.block);
  const absl::Duration timeout = written.ok() ? options_.timeouts.end_of_data : absl::Seconds(1);
  const std::vector<size_t> waiting = std::exchange(t.hopeful, {});
  ++messages_;
  Outcome outcome;
  for (size_t i = 0; i < waiting.size(); ++i) {
    if (i == 0 || (options_.lmtp && usable_)) {
      const absl::StatusOr<Reply> reply = co_await ReadReply(timeout);
      if (reply.ok()) {
        outcome = Read(ClientStep::kEndOfData, *reply, 2);
      } else {
        outcome = WithoutReply(written.ok() ? reply.status() : written);
      }
    } else if (options_.lmtp) {
      // The replies of the others never came.
      outcome = FromError(ClientStep::kEndOfData, absl::UnavailableError("the connection was lost"));
      outcome.maybe_accepted = true;
    }
    t.result.recipients[waiting[i]] = outcome;
  }
}

// The outcome of a reply to the end of data that did not come, or not to its end. A code
// that came decides, whatever happened to the text after it: a message that the host said
// it took must not be sent again.
Outcome ClientSession::WithoutReply(const absl::Status& error) {
  Outcome outcome = Broken(ClientStep::kEndOfData, error);
  if (const std::optional<Reply> unfinished = parser_.TakeUnfinished()) {
    return Read(ClientStep::kEndOfData, *unfinished, 2);
  }
  outcome.maybe_accepted = true;
  return outcome;
}

// ---- between transactions

Task<Outcome> ClientSession::Reset() {
  if (!usable_)
    co_return FromError(ClientStep::kReset, absl::UnavailableError("the connection is not usable any more"));
  const absl::StatusOr<Reply> reply = co_await Exchange("RSET\r\n", options_.timeouts.hello);
  if (!reply.ok()) co_return Broken(ClientStep::kReset, reply.status());
  Outcome outcome = Read(ClientStep::kReset, *reply, 2);
  // RFC 5321 §4.1.1.5: only 250 is possible; anything else is a server to leave.
  if (outcome.kind != Kind::kAccepted) usable_ = false;
  co_return outcome;
}

Task<void> ClientSession::Quit() {
  usable_ = false;
  // A courtesy: neither end depends on it.
  (co_await Exchange("QUIT\r\n", options_.timeouts.quit)).status().IgnoreError();
  connection_->Close();
}

}  // namespace

Task<OpenResult> Client::Open(std::unique_ptr<net::Connection> connection, ClientOptions options) {
  auto client = std::make_unique<ClientSession>(std::move(connection), std::move(options));
  OpenResult result;
  result.outcome = co_await client->Start();
  if (result.outcome.kind == Kind::kAccepted && client->usable()) {
    result.tls_refused = client->TakeTlsRefusal();
    result.client = std::move(client);
  } else {
    if (result.outcome.kind != Kind::kConnection) co_await client->Quit();
    result.failed = std::move(client);
  }
  co_return result;
}

}  // namespace posthouse::smtp
