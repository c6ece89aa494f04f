#include "services/mail_formats/smtp/client_transaction.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"
#include "services/common/net/connection.h"
#include "services/common/status/status.h"
#include "services/mail_formats/smtp/client_commands.h"

namespace posthouse::smtp {
namespace {

using Kind = Outcome::Kind;

constexpr size_t kWriteBytes = 64 * 1024;
// RCPTs in one write: their replies must fit into the socket buffers, since the client
// does not read while it writes (RFC 2920 §3.1).
constexpr size_t kRcptsPerGroup = 100;

}  // namespace

// Sets `outcome` for every recipient without a final result, including those whose
// RCPT was not answered.
void ClientTransaction::SettleRest(const Outcome& outcome) {
  for (const size_t i : hopeful_) result_.recipients[i] = outcome;
  for (; asked_ < message_.recipients.size(); ++asked_) {
    if (result_.recipients[asked_].reply.code == 0) result_.recipients[asked_] = outcome;
  }
  hopeful_.clear();
}

Task<SendResult> ClientTransaction::Run() {
  result_.recipients.resize(message_.recipients.size());
  const std::optional<Reply> cannot = CannotTake(message_, capabilities_);
  bool anybody = false;
  for (size_t i = 0; i < message_.recipients.size(); ++i) {
    const std::optional<Reply> not_this = CannotTake(message_.recipients[i], capabilities_);
    if (not_this.has_value()) result_.recipients[i] = Ours(ClientStep::kRcpt, *not_this);
    anybody |= !not_this.has_value();
  }
  if (cannot.has_value()) {
    SettleRest(Ours(ClientStep::kMail, *cannot));
  } else if (!anybody) {
    co_return std::move(result_);
  } else if (!channel_.usable()) {
    SettleRest(FromError(ClientStep::kMail, absl::UnavailableError("the connection is not usable any more")));
  } else if (co_await Envelope()) {
    co_await Body();
  }
  co_return std::move(result_);
}

// MAIL, RCPTs and DATA. True: the server waits for the message.
Task<bool> ClientTransaction::Envelope() {
  const size_t count = message_.recipients.size();
  if (!capabilities_.pipelining) {
    if (!co_await SendGroup(/*with_mail=*/true, 0, false)) co_return false;
    while (asked_ < count) {
      if (!co_await SendGroup(false, asked_ + 1, false)) co_return false;
    }
    if (hopeful_.empty()) co_return false;
    co_return co_await SendGroup(false, count, /*with_data=*/true);
  }
  bool first = true;
  while (true) {
    const size_t end = std::min(count, asked_ + kRcptsPerGroup);
    const bool last = end == count;
    if (!co_await SendGroup(first, end, last) || last) co_return last && !hopeful_.empty() && channel_.usable();
    first = false;
  }
}

// Writes [MAIL] RCPT... [DATA] at once and reads each answer. False: no message now.
Task<bool> ClientTransaction::SendGroup(bool with_mail, size_t end, bool with_data) {
  std::string out = with_mail ? MailCommand(message_, capabilities_) : "";
  std::vector<size_t> sent;
  for (size_t i = asked_; i < end; ++i) {
    if (result_.recipients[i].ours) continue;
    out += RcptCommand(message_.recipients[i], capabilities_);
    sent.push_back(i);
  }
  if (with_data) out += "DATA\r\n";
  if (!out.empty()) {
    // A failed write shows in the read that follows, with the server's last words.
    (co_await channel_.connection().Write(std::move(out), options_.timeouts.mail)).IgnoreError();
  }
  Outcome mail;
  if (with_mail && !co_await ReadMail(mail)) co_return false;
  const bool mail_accepted = !with_mail || mail.kind == Kind::kAccepted;
  if (!co_await ReadRecipients(sent, mail_accepted)) co_return false;
  asked_ = end;
  if (with_data && !co_await ReadData()) {
    if (mail_accepted) co_return false;
  }
  if (!mail_accepted) {
    // The reply to MAIL is the reason, whatever the RCPTs after it got.
    for (const size_t i : sent) result_.recipients[i] = mail;
    SettleRest(mail);
    co_return false;
  }
  co_return true;
}

// Reads the reply to MAIL. False: the session ended with it.
Task<bool> ClientTransaction::ReadMail(Outcome& mail) {
  mail = co_await channel_.ReadOutcome(ClientStep::kMail, 2, options_.timeouts.mail);
  open_ = mail.kind == Kind::kAccepted;
  if (channel_.usable()) co_return true;
  open_ = false;
  SettleRest(mail);
  co_return false;
}

// Reads the replies to the RCPTs of `asked`. False: the session ended with one of them.
Task<bool> ClientTransaction::ReadRecipients(const std::vector<size_t>& asked, bool mail_accepted) {
  for (const size_t i : asked) {
    const Outcome outcome = co_await channel_.ReadOutcome(ClientStep::kRcpt, 2, options_.timeouts.rcpt);
    result_.recipients[i] = outcome;
    if (outcome.kind == Kind::kAccepted && mail_accepted) hopeful_.push_back(i);
    if (channel_.usable()) continue;
    asked_ = i + 1;
    open_ = false;
    SettleRest(outcome);
    co_return false;
  }
  co_return true;
}

// Reads the reply to DATA. True: 354, and at least one recipient was accepted.
Task<bool> ClientTransaction::ReadData() {
  const Outcome outcome = co_await channel_.ReadOutcome(ClientStep::kData, 3, options_.timeouts.data);
  if (outcome.kind == Kind::kAccepted) {
    if (!hopeful_.empty()) co_return true;
    // RFC 2920 §3.1: after a 354 without a recipient the client sends an empty message.
    co_await EndUnwantedData();
    open_ = false;
    co_return false;
  }
  if (!channel_.usable()) open_ = false;
  SettleRest(outcome);
  co_return false;
}

Task<void> ClientTransaction::EndUnwantedData() {
  const absl::StatusOr<Reply> reply = co_await channel_.Exchange(".\r\n", options_.timeouts.end_of_data);
  if (!reply.ok() || reply->code == 421) channel_.Abandon();
}

Task<void> ClientTransaction::Body() {
  open_ = false;
  DataEncoder encoder;
  std::string out;
  const absl::Status written = co_await WriteBody(encoder, out);
  if (!channel_.usable()) co_return;  // settled already
  if (!written.ok()) {
    // The server may have sent a reply before it closed, although RFC 5321 §4.2.5 wants
    // it to wait for the end of the data.
    const absl::StatusOr<Reply> reply = co_await channel_.ReadReply(absl::Seconds(1));
    Outcome outcome = channel_.Broken(ClientStep::kBody, written);
    if (reply.ok() && reply->code >= 400) outcome = FromReply(ClientStep::kBody, *reply, 2);
    SettleRest(outcome);
    co_return;
  }
  encoder.Finish(&out);
  co_await EndOfData(std::move(out));
}

// Writes the message, except for the bytes that remain in `out` for the last write.
Task<absl::Status> ClientTransaction::WriteBody(DataEncoder& encoder, std::string& out) {
  while (true) {
    const absl::StatusOr<absl::Cord> piece = co_await message_.next();
    if (!piece.ok()) {
      // Close inside the data, so that the server does not accept half a message.
      SettleRest(Ours(ClientStep::kBody, Reply(451, "4.3.0", "the message could not be read")));
      channel_.Abandon();
      channel_.connection().Close();
      co_return piece.status();
    }
    if (piece->empty()) co_return absl::OkStatus();
    // No iterator of a cord lives across a co_await: all chunks are encoded first.
    for (absl::string_view chunk : piece->Chunks()) encoder.Encode(chunk, &out);
    if (out.size() >= kWriteBytes) {
      PH_CO_RETURN_IF_ERROR(
          co_await channel_.connection().Write(std::exchange(out, std::string()), options_.timeouts.block));
    }
  }
}

// Sends the final dot and reads its reply: one, or with LMTP one for each recipient
// (RFC 2033 §4.2).
Task<void> ClientTransaction::EndOfData(std::string rest) {
  const absl::Status written = co_await channel_.connection().Write(std::move(rest), options_.timeouts.block);
  const absl::Duration timeout = written.ok() ? options_.timeouts.end_of_data : absl::Seconds(1);
  const std::vector<size_t> waiting = std::exchange(hopeful_, {});
  sent_ = true;
  Outcome outcome;
  for (size_t i = 0; i < waiting.size(); ++i) {
    if (i == 0 || (options_.lmtp && channel_.usable())) {
      const absl::StatusOr<Reply> reply = co_await channel_.ReadReply(timeout);
      if (reply.ok()) {
        outcome = channel_.Read(ClientStep::kEndOfData, *reply, 2);
      } else {
        outcome = WithoutReply(written.ok() ? reply.status() : written);
      }
    } else if (options_.lmtp) {
      // The replies of the others never came.
      outcome = FromError(ClientStep::kEndOfData, absl::UnavailableError("the connection was lost"));
      outcome.maybe_accepted = true;
    }
    result_.recipients[waiting[i]] = outcome;
  }
}

// The outcome of a reply to the end of data that did not come, or not to its end. A code
// that came decides, whatever happened to the text after it: a message that the host said
// it took must not be sent again.
Outcome ClientTransaction::WithoutReply(const absl::Status& error) {
  Outcome outcome = channel_.Broken(ClientStep::kEndOfData, error);
  if (const std::optional<Reply> unfinished = channel_.TakeUnfinished()) {
    return channel_.Read(ClientStep::kEndOfData, *unfinished, 2);
  }
  outcome.maybe_accepted = true;
  return outcome;
}

}  // namespace posthouse::smtp
