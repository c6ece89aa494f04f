// ClientChannel: the connection of an outbound session. Sends lines, reads replies, says what
// they mean, and knows whether the session can go on. Part of Client.
//
// Threads: as Client. One call at a time.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/net/connection.h"
#include "services/mail_formats/smtp/client.h"
#include "services/mail_formats/smtp/reply.h"

namespace posthouse::smtp {

class ClientChannel {
 public:
  explicit ClientChannel(std::unique_ptr<net::Connection> connection) : connection_(std::move(connection)) {}

  // `timeout` is for all lines of the reply together.
  Task<absl::StatusOr<Reply>> ReadReply(absl::Duration timeout);
  // Sends `line` and reads its reply. When the write fails, the reply may be one that the server
  // sent before it closed.
  Task<absl::StatusOr<Reply>> Exchange(std::string line, absl::Duration timeout);
  // The same, as an outcome: Read() of the reply, or Broken(). `expected`: the first digit of success.
  Task<Outcome> ReadOutcome(ClientStep step, int expected, absl::Duration timeout);
  Task<Outcome> ExchangeOutcome(ClientStep step, std::string line, int expected, absl::Duration timeout);

  // The outcome of a reply. The session ends with a 421, and with a reply that is not understood.
  Outcome Read(ClientStep step, const Reply& reply, int expected);
  // The connection failed: closes it.
  Outcome Broken(ClientStep step, const absl::Status& error);
  // After an error of ReadReply(): the code of a reply whose text did not come to its end.
  std::optional<Reply> TakeUnfinished() { return parser_.TakeUnfinished(); }

  // Whether bytes have come that no reply has used.
  bool HasUnread() const { return !in_.empty() || connection_->Buffered() > 0; }
  bool usable() const { return usable_; }
  // The session ends after what is in progress.
  void Abandon() { usable_ = false; }
  net::Connection& connection() { return *connection_; }

 private:
  const std::unique_ptr<net::Connection> connection_;
  ReplyParser parser_;
  std::string in_;  // received, not parsed
  bool usable_ = true;
};

}  // namespace posthouse::smtp
