#include "services/mail_formats/smtp/client.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/mail_formats/smtp/client_channel.h"
#include "services/mail_formats/smtp/client_commands.h"
#include "services/mail_formats/smtp/client_transaction.h"

namespace posthouse::smtp {
namespace {

using Kind = Outcome::Kind;

class ClientSession final : public Client {
 public:
  ClientSession(std::unique_ptr<net::Connection> connection, ClientOptions options)
      : options_(std::move(options)), channel_(std::move(connection)) {}

  Task<Outcome> Start();
  std::optional<Outcome> TakeTlsRefusal() { return std::exchange(tls_refused_, std::nullopt); }
  Task<SendResult> Send(ClientMessage message) override;
  Task<Outcome> Reset() override;
  Task<void> Quit() override;
  bool usable() const override { return channel_.usable(); }
  const Capabilities& capabilities() const override { return capabilities_; }
  net::Connection& connection() override { return channel_.connection(); }
  uint32_t messages_sent() const override { return messages_; }

 private:
  Task<Outcome> Hello(bool may_fall_back);
  Task<std::optional<Outcome>> Encrypt();

  const ClientOptions options_;
  ClientChannel channel_;
  Capabilities capabilities_;
  std::optional<Outcome> tls_refused_;
  uint32_t messages_ = 0;
};

// ---- opening

Task<Outcome> ClientSession::Start() {
  Outcome outcome = co_await channel_.ReadOutcome(ClientStep::kGreeting, 2, options_.timeouts.greeting);
  if (outcome.kind != Kind::kAccepted) co_return outcome;
  outcome = co_await Hello(/*may_fall_back=*/true);
  if (outcome.kind != Kind::kAccepted) co_return outcome;
  std::optional<Outcome> refused = co_await Encrypt();
  co_return refused.has_value() ? *std::move(refused) : outcome;
}

Task<Outcome> ClientSession::Hello(bool may_fall_back) {
  const char* const verb = options_.lmtp ? "LHLO " : "EHLO ";
  absl::StatusOr<Reply> reply =
      co_await channel_.Exchange(absl::StrCat(verb, options_.helo_name, "\r\n"), options_.timeouts.hello);
  if (!reply.ok()) co_return channel_.Broken(ClientStep::kHello, reply.status());
  if (reply->positive()) {
    capabilities_ = ParseCapabilities(reply->lines);
  } else if (reply->permanent() && may_fall_back && !options_.lmtp) {
    // RFC 5321 §3.2: HELO for a server that does not know EHLO.
    capabilities_ = Capabilities();
    reply = co_await channel_.Exchange(absl::StrCat("HELO ", options_.helo_name, "\r\n"), options_.timeouts.hello);
    if (!reply.ok()) co_return channel_.Broken(ClientStep::kHello, reply.status());
  }
  co_return channel_.Read(ClientStep::kHello, *reply, 2);
}

// STARTTLS as the options say (RFC 3207). nullopt: go on.
Task<std::optional<Outcome>> ClientSession::Encrypt() {
  const bool required = options_.tls == ClientTls::kRequired;
  if (options_.tls == ClientTls::kNever || (options_.tls_context == nullptr && !required)) co_return std::nullopt;
  if (!capabilities_.starttls || options_.tls_context == nullptr) {
    if (!required) co_return std::nullopt;
    co_return Ours(ClientStep::kStartTls, Reply(451, "4.7.4", "TLS is required, and the host does not offer it"));
  }
  const Outcome outcome =
      co_await channel_.ExchangeOutcome(ClientStep::kStartTls, "STARTTLS\r\n", 2, options_.timeouts.hello);
  if (outcome.kind != Kind::kAccepted) {
    if (required || !usable()) co_return outcome;
    tls_refused_ = outcome;
    co_return std::nullopt;
  }
  // Plaintext after the 220 was injected by an attacker (RFC 3207 §6).
  if (channel_.HasUnread()) {
    co_return channel_.Broken(ClientStep::kStartTls,
                              absl::InvalidArgumentError("unencrypted bytes after the STARTTLS reply"));
  }
  const absl::Status handshake =
      co_await connection().StartTlsClient(options_.tls_context, options_.server_name, options_.timeouts.tls);
  if (!handshake.ok()) co_return channel_.Broken(ClientStep::kTls, handshake);
  // RFC 3207 §4.2: discard the capabilities that were announced in the clear.
  capabilities_ = Capabilities();
  Outcome hello = co_await Hello(/*may_fall_back=*/false);
  if (hello.kind != Kind::kAccepted) co_return hello;
  co_return std::nullopt;
}

// ---- open

Task<SendResult> ClientSession::Send(ClientMessage message) {
  ClientTransaction transaction(channel_, options_, capabilities_, std::move(message));
  SendResult result = co_await transaction.Run();
  if (transaction.sent()) ++messages_;
  // The server accepted MAIL and no recipient: its transaction is still open.
  if (transaction.open() && usable()) co_await Reset();
  co_return result;
}

Task<Outcome> ClientSession::Reset() {
  if (!usable()) {
    co_return FromError(ClientStep::kReset, absl::UnavailableError("the connection is not usable any more"));
  }
  Outcome outcome = co_await channel_.ExchangeOutcome(ClientStep::kReset, "RSET\r\n", 2, options_.timeouts.hello);
  // RFC 5321 §4.1.1.5: only 250 is possible; anything else is a server to leave.
  if (outcome.kind != Kind::kAccepted) channel_.Abandon();
  co_return outcome;
}

Task<void> ClientSession::Quit() {
  channel_.Abandon();
  // A courtesy: neither end depends on it.
  (co_await channel_.Exchange("QUIT\r\n", options_.timeouts.quit)).status().IgnoreError();
  connection().Close();
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
