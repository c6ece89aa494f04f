#include "services/ingress/replies.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace posthouse::ingress {

using smtp::Reply;

namespace {

std::optional<Misfit> DoesNotFit(MessageSize size, const MailboxRoom& room) {
  if (room.max_message_bytes > 0 && size.bytes > room.max_message_bytes) {
    return Misfit{Reason::kTooLarge, Reply(552, "5.3.4", "Message exceeds the maximum size of this mailbox")};
  }
  if (!room.usage.has_value()) return std::nullopt;
  const MailboxUsage& u = *room.usage;
  const uint64_t stored = size.bytes + size.added;
  if (u.limit_bytes > 0 && stored > u.limit_bytes) {
    return Misfit{Reason::kOverQuota, Reply(552, "5.2.2", "Message exceeds the quota of this mailbox")};
  }
  const bool full = (u.limit_bytes > 0 && (u.bytes >= u.limit_bytes || stored > u.limit_bytes - u.bytes)) ||
                    (u.limit_messages > 0 && u.messages >= u.limit_messages);
  if (full) return Misfit{Reason::kOverQuota, Reply(452, "4.2.2", "Mailbox full, try again later")};  // RFC 3463 §3.3
  return std::nullopt;
}

}  // namespace

Reply ReplyForRecipient(Resolution::Outcome outcome) {
  switch (outcome) {
    case Resolution::Outcome::kAccept:
      return Reply(250, "2.1.5", "Recipient ok");
    case Resolution::Outcome::kNoSuchMailbox:
      return Reply(550, "5.1.1", "No such mailbox");  // RFC 3463 §3.2
    case Resolution::Outcome::kBadAddress:
      return Reply(553, "5.1.3", "Bad destination mailbox address syntax");
    case Resolution::Outcome::kRelayDenied:
      return Reply(554, "5.7.1", "Relaying denied");  // RFC 3463 §3.8
    case Resolution::Outcome::kSuspended:
      return Reply(450, "4.2.1", "Mailbox disabled, try again later");
    case Resolution::Outcome::kTooDeep:
      return Reply(554, "5.4.6", "Aliases of this address are nested too deep");  // RFC 3463 §3.5
    case Resolution::Outcome::kTooMany:
      return Reply(554, "5.5.3", "This address leads to too many recipients");  // RFC 3463 §3.6
    case Resolution::Outcome::kTemporary:
      break;
  }
  return Reply(451, "4.4.3", "Recipient not resolved, try again later");
}

Reason ReasonFor(Resolution::Outcome outcome) {
  switch (outcome) {
    case Resolution::Outcome::kNoSuchMailbox:
      return Reason::kNoSuchMailbox;
    case Resolution::Outcome::kBadAddress:
      return Reason::kBadAddress;
    case Resolution::Outcome::kRelayDenied:
      return Reason::kRelayDenied;
    case Resolution::Outcome::kSuspended:
      return Reason::kSuspended;
    case Resolution::Outcome::kTooDeep:
      return Reason::kLoop;
    case Resolution::Outcome::kTooMany:
      return Reason::kTooManyRecipients;
    case Resolution::Outcome::kTemporary:
    case Resolution::Outcome::kAccept:
      break;
  }
  return Reason::kUnavailable;
}

Reply ReplyForLogin(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return Reply(235, "2.7.0", "Authenticated");  // RFC 4954 §6
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kInvalidArgument:
      return Reply(535, "5.7.8", "Authentication credentials invalid");
    case absl::StatusCode::kPermissionDenied:
      return Reply(535, "5.7.8", "This account is not allowed to log in");
    default:
      return Reply(454, "4.7.0", "Temporary authentication failure");
  }
}

Reason ReasonForLogin(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kInvalidArgument:
      return Reason::kWrongPassword;
    case absl::StatusCode::kPermissionDenied:
      return Reason::kLoginDenied;
    case absl::StatusCode::kResourceExhausted:
      return Reason::kLoginLimit;
    default:
      return Reason::kUnavailable;
  }
}

Reply ReplyForSaslError(const absl::Status& error) {
  switch (error.code()) {
    case absl::StatusCode::kCancelled:
      return Reply(501, "5.7.0", "Authentication cancelled");
    case absl::StatusCode::kInvalidArgument:  // RFC 4954 §4
      return Reply(501, "5.5.2", "Malformed SASL response");
    case absl::StatusCode::kPermissionDenied:
      return Reply(535, "5.7.8", "The authorization identity must be the user name");
    default:
      return ReplyForLogin(error);
  }
}

Reply ReplyForMessage(const absl::Status& enqueued, const std::string& queue_id) {
  switch (enqueued.code()) {
    case absl::StatusCode::kOk:
      return Reply(250, "2.0.0", absl::StrCat("Queued as ", queue_id));
    case absl::StatusCode::kResourceExhausted:
      return Reply(452, "4.3.1", "Mail system full, try again later");  // RFC 3463 §3.4
    case absl::StatusCode::kInvalidArgument:                            // the same message would be refused again
      return Reply(554, "5.3.0", "Message refused by the queue");
    case absl::StatusCode::kOutOfRange:  // queue.proto: the sender can divide the recipients
      return TooManyRecipients();
    default:
      return Reply(451, "4.3.0", "Message not queued, try again later");
  }
}

Reason ReasonForMessage(const absl::Status& enqueued) {
  switch (enqueued.code()) {
    case absl::StatusCode::kResourceExhausted:
      return Reason::kQueueFull;
    case absl::StatusCode::kInvalidArgument:
      return Reason::kQueueRefused;
    case absl::StatusCode::kOutOfRange:
      return Reason::kTooManyRecipients;
    default:
      return Reason::kUnavailable;
  }
}

Reply TooManyRecipients() { return Reply(452, "4.5.3", "Too many recipients"); }  // RFC 5321 §4.5.3.1.10

std::optional<Misfit> DoesNotFit(MessageSize size, const Places& places) {
  if (places.others || places.mailboxes.empty()) return std::nullopt;
  std::optional<Misfit> misfit;
  for (const MailboxRoom& room : places.mailboxes) {
    std::optional<Misfit> one = DoesNotFit(size, room);
    if (!one.has_value()) return std::nullopt;
    // A later try may fit into one of them: the reply for all is temporary.
    if (!misfit.has_value() || one->reply.temporary()) misfit = std::move(one);
  }
  return misfit;
}

std::optional<Misfit> FitsNobody(MessageSize size, const Envelope& envelope, bool retried) {
  std::optional<Misfit> misfit;
  for (const Recipient& recipient : envelope.recipients) {
    MessageSize stored = size;
    // The queue adds Return-Path and Delivered-To.
    constexpr uint64_t kNames = sizeof("Return-Path: <>\r\nDelivered-To: \r\n") - 1;
    stored.added += kNames + envelope.reverse_path.size() + recipient.original.size();
    std::optional<Misfit> one = DoesNotFit(stored, recipient.places);
    if (!one.has_value() || (one->reply.temporary() && !retried)) return std::nullopt;
    if (!misfit.has_value() || one->reply.temporary()) misfit = std::move(one);
  }
  return misfit;
}

Reply TooLarge() { return Reply(552, "5.3.4", "Message exceeds fixed maximum message size"); }  // RFC 1870 §6.3

Reply Looping() { return Reply(554, "5.4.6", "Routing loop detected: too many Received fields"); }  // RFC 5321 §6.3

Reply BadLines(smtp::DataDecoder::Violation violation) {
  return Reply(550, "5.6.0",
               absl::StrCat("Message has a ", smtp::ViolationName(violation),
                            "; lines must end in CRLF (RFC 5321 section 2.3.8)"));
}

}  // namespace posthouse::ingress
