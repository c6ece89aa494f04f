// Client: one outbound SMTP (or LMTP) session over one connection, for the queue.
//
//   Connect ─▶ greeting ─▶ EHLO ─▶ [STARTTLS, TLS, EHLO] ─▶ ready
//     ready ─▶ Send(message) ─▶ ready (or unusable) ─▶ ... ─▶ Quit()
//
//   absl::StatusOr<std::unique_ptr<net::Connection>> connection = co_await net::Connect(...);
//   OpenResult opened = co_await Client::Open(*std::move(connection), options);
//   if (opened.client == nullptr) -> opened.outcome says why
//   SendResult sent = co_await opened.client->Send(std::move(message));
//   for (i) sent.recipients[i] -> settle, retry or bounce
//   if (opened.client->usable()) keep it for the next message, else co_await Quit()
//
// The client never loses a result: every Outcome has the step, the server's reply or
// the error of the connection, and whether the server may have accepted the message.
// A failure that is not definitely permanent is temporary.
//
// Threads: a client lives on its connection's EventLoop. One call at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/net/connection.h"
#include "services/common/net/tls.h"
#include "services/mail_formats/smtp/capabilities.h"
#include "services/mail_formats/smtp/params.h"
#include "services/mail_formats/smtp/reply.h"

namespace posthouse::smtp {

// RFC 5321 §4.5.3.2: how long to wait for each reply.
struct ClientTimeouts {
  absl::Duration greeting = absl::Minutes(5);
  absl::Duration hello = absl::Minutes(5);  // EHLO, HELO, RSET, STARTTLS
  absl::Duration tls = absl::Minutes(1);    // the handshake
  absl::Duration mail = absl::Minutes(5);
  absl::Duration rcpt = absl::Minutes(5);
  absl::Duration data = absl::Minutes(2);   // the 354
  absl::Duration block = absl::Minutes(3);  // each write of the body
  absl::Duration end_of_data = absl::Minutes(10);
  absl::Duration quit = absl::Seconds(10);  // courtesy only

  // Each of them at most `limit` (a queue's reply_timeout), but for end_of_data: to give that
  // up early sends the message twice.
  ClientTimeouts CappedAt(absl::Duration limit) const;
};

// When the client asks for STARTTLS.
enum class ClientTls {
  kNever,          // even when offered
  kOpportunistic,  // when offered; a handshake that fails is kTls: connect again with kNever
  kRequired,       // refused without STARTTLS (RFC 7435, RFC 8461 need kHostname in the context too)
};

struct ClientOptions {
  std::string helo_name;  // our name, argument of EHLO
  ClientTls tls = ClientTls::kOpportunistic;
  std::shared_ptr<net::TlsClientContext> tls_context;  // null: as kNever
  std::string server_name;                             // for SNI and verification
  bool lmtp = false;                                   // RFC 2033: LHLO, a reply per recipient after the data
  ClientTimeouts timeouts;
};

// The step of a session that an Outcome reports.
enum class ClientStep { kGreeting, kHello, kStartTls, kTls, kMail, kRcpt, kData, kBody, kEndOfData, kReset, kConnect };
absl::string_view ClientStepName(ClientStep step);

struct Outcome {
  enum class Kind {
    kAccepted,    // the server took responsibility (for this recipient)
    kTemporary,   // 4yz, or a reply that is not understood
    kPermanent,   // 5yz, or this server can never take this message
    kConnection,  // the connection failed or the server broke the protocol: temporary, try another host
  };
  Kind kind = Kind::kConnection;
  ClientStep step = ClientStep::kGreeting;
  // The server's reply; code 0: none came. When `ours`, the client made the reply, since
  // the server cannot take the message (5.3.4 too large, 5.6.7 no SMTPUTF8, ...).
  Reply reply;
  bool ours = false;
  // Set with kConnection: what failed.
  absl::Status error;
  // The end of data was (perhaps partly) sent and no reply came: the server may
  // have the message, and a retry may deliver it twice (RFC 5321 §4.5.3.2.6).
  bool maybe_accepted = false;
};

// One RCPT TO.
struct ClientRecipient {
  std::string address;        // Mailbox::ToString() form
  RcptParameters parameters;  // sent to servers with DSN only
};

// One mail transaction.
struct ClientMessage {
  std::string reverse_path;  // "" is the null reverse-path
  std::vector<ClientRecipient> recipients;
  // Each is sent only to servers that announce its extension. `auth` is not sent;
  // neither is a `size` of 0.
  MailParameters parameters;
  // The next piece of the message as stored (CRLF line ends, not dot-stuffed); an
  // empty cord at its end. Called only after the server's 354. An error closes the
  // connection, so that the server does not accept half a message.
  std::function<Task<absl::StatusOr<absl::Cord>>()> next;
};

struct SendResult {
  // One per recipient, in order.
  std::vector<Outcome> recipients;
};

class Client;

struct OpenResult {
  std::unique_ptr<Client> client;  // null: it failed, see `outcome`
  Outcome outcome;                 // kAccepted when open; step and reply of the last exchange
  // With kOpportunistic: the host's refusal of STARTTLS, which it had announced. The session
  // is open in the clear.
  std::optional<Outcome> tls_refused;
  // On failure: owns the closed connection, so that the caller can first tell a thread
  // that might still Close() it. Of no other use.
  std::unique_ptr<Client> failed;
};

class Client {
 public:
  // Reads the greeting, sends EHLO and starts TLS as `options` say. On failure the
  // connection is closed, with QUIT if the server still answers.
  static Task<OpenResult> Open(std::unique_ptr<net::Connection> connection, ClientOptions options);

  virtual ~Client() = default;  // closes at once

  // One mail transaction. With PIPELINING, MAIL, all RCPTs and DATA travel together
  // (RFC 2920). A refused recipient does not stop the others. A failure of MAIL or
  // DATA is the outcome of every recipient without a final one.
  // An 8BITMIME message goes unchanged to a server without that extension: the caller
  // converts it before. A message
  // that needs SMTPUTF8, BINARYMIME or a larger SIZE than the server has is kPermanent,
  // `ours`; a recipient that needs SMTPUTF8 is so alone.
  virtual Task<SendResult> Send(ClientMessage message) = 0;
  // RSET: checks an idle connection before it is used again.
  virtual Task<Outcome> Reset() = 0;
  // Sends QUIT, waits for the 221 (ClientTimeouts::quit), closes.
  virtual Task<void> Quit() = 0;

  // False after a connection failure or a 421: destroy it.
  virtual bool usable() const = 0;
  virtual const Capabilities& capabilities() const = 0;
  virtual net::Connection& connection() = 0;  // for tls_info() and peer()
  virtual uint32_t messages_sent() const = 0;

 protected:
  Client() = default;
};

}  // namespace posthouse::smtp
