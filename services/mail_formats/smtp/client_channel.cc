#include "services/mail_formats/smtp/client_channel.h"

#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "services/mail_formats/smtp/client_commands.h"

namespace posthouse::smtp {
namespace {

constexpr size_t kReadBytes = 16 * 1024;

}  // namespace

Task<absl::StatusOr<Reply>> ClientChannel::ReadReply(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
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

Task<absl::StatusOr<Reply>> ClientChannel::Exchange(std::string line, absl::Duration timeout) {
  const absl::Status written = co_await connection_->Write(std::move(line), timeout);
  if (!written.ok()) {
    // A reply that the server sent before it closed tells more than the write error.
    absl::StatusOr<Reply> last = co_await ReadReply(absl::Seconds(1));
    if (!last.ok()) co_return written;
    co_return last;
  }
  co_return co_await ReadReply(timeout);
}

Task<Outcome> ClientChannel::ReadOutcome(ClientStep step, int expected, absl::Duration timeout) {
  const absl::StatusOr<Reply> reply = co_await ReadReply(timeout);
  co_return reply.ok() ? Read(step, *reply, expected) : Broken(step, reply.status());
}

Task<Outcome> ClientChannel::ExchangeOutcome(ClientStep step, std::string line, int expected, absl::Duration timeout) {
  const absl::StatusOr<Reply> reply = co_await Exchange(std::move(line), timeout);
  co_return reply.ok() ? Read(step, *reply, expected) : Broken(step, reply.status());
}

Outcome ClientChannel::Read(ClientStep step, const Reply& reply, int expected) {
  // RFC 5321 §4.2.2: 421 is the last reply of a connection. A reply that is neither
  // of the expected class nor a refusal shows that client and server are out of step.
  const bool understood = reply.code / 100 == expected || reply.code >= 400;
  if (reply.code == 421 || !understood) usable_ = false;
  return FromReply(step, reply, expected);
}

Outcome ClientChannel::Broken(ClientStep step, const absl::Status& error) {
  usable_ = false;
  connection_->Close();
  return FromError(step, error);
}

}  // namespace posthouse::smtp
