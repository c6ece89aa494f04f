#include "services/queue/delivery/smtp_attempt.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "posthouse/routing/v1/routing.pb.h"
#include "services/common/status/status.h"
#include "services/common/utf8/utf8.h"
#include "services/mail_formats/smtp/envelope_proto.h"

namespace posthouse::queue {
namespace {

namespace rv1 = posthouse::routing::v1;
using SmtpKind = smtp::Outcome::Kind;

constexpr uint64_t kPieceBytes = 256 * 1024;
constexpr uint64_t kHeaderBytes = 64 * 1024;

// The next piece of the message, from memory or from the spool.
Task<absl::StatusOr<absl::Cord>> NextPiece(const DeliveryAttempt* attempt, std::shared_ptr<uint64_t> at,
                                           absl::Status* unreadable) {
  if (*at >= attempt->size_bytes) co_return absl::Cord();
  if (attempt->memory != nullptr) {
    *at = attempt->size_bytes;
    co_return absl::MakeCordFromExternal(*attempt->memory, [keep = attempt->memory] {});
  }
  absl::StatusOr<absl::Cord> piece = co_await attempt->read(*at, std::min(kPieceBytes, attempt->size_bytes - *at));
  if (piece.ok() && piece->empty()) piece = absl::DataLossError("the stored message is shorter than the accepted one");
  if (!piece.ok()) {
    *unreadable = piece.status();
    co_return piece.status();
  }
  *at += piece->size();
  co_return piece;
}

// The next piece of the converted message.
Task<absl::StatusOr<absl::Cord>> NextConverted(const DeliveryAttempt* attempt, std::shared_ptr<uint64_t> at,
                                               absl::Status* unreadable,
                                               std::shared_ptr<message::Downgrader> downgrader) {
  std::string out;
  while (out.empty()) {
    const bool ended = *at >= attempt->size_bytes;
    if (ended) {
      downgrader->Finish(&out);
      break;
    }
    const absl::StatusOr<absl::Cord> piece = co_await NextPiece(attempt, at, unreadable);
    if (!piece.ok()) co_return piece.status();
    for (const absl::string_view chunk : piece->Chunks()) downgrader->Feed(chunk, &out);
  }
  co_return absl::Cord(absl::string_view(out));
}

}  // namespace

std::vector<size_t> SmtpAttempt::Open() const {
  std::vector<size_t> open;
  for (size_t i = 0; i < final_.size(); ++i) {
    if (!final_[i].has_value()) open.push_back(i);
  }
  return open;
}

smtp::ClientMessage SmtpAttempt::MessageFor(const std::vector<size_t>& recipients) {
  const v1::Envelope& envelope = attempt_.envelope;
  smtp::ClientMessage message;
  message.reverse_path = envelope.reverse_path();
  message.parameters = smtp::FromProto(envelope);
  message.parameters.size = plan_ == nullptr ? attempt_.size_bytes : converted_bytes_[plan_ == plans_[1].get()];
  // A client that sends 8-bit bytes may have announced none.
  if (scan_.has_value() && scan_->eight_bit() && message.parameters.body != smtp::Body::kBinaryMime) {
    message.parameters.body = smtp::Body::kEightBitMime;
  }
  message.parameters.smtputf8 = smtputf8_;
  for (const size_t i : recipients) {
    const v1::EnvelopeRecipient& recipient = attempt_.targets[i].recipient;
    message.recipients.push_back({recipient.address(), smtp::FromProto(recipient)});
  }
  auto at = std::make_shared<uint64_t>(0);
  if (plan_ == nullptr) {
    message.next = [this, at] { return NextPiece(&attempt_, at, &unreadable_); };
  } else {
    message.next = [this, at, downgrader = std::make_shared<message::Downgrader>(*plan_)] {
      return NextConverted(&attempt_, at, &unreadable_, downgrader);
    };
  }
  return message;
}

Task<absl::Status> SmtpAttempt::ReadAll(std::function<void(absl::string_view)> piece) {
  auto at = std::make_shared<uint64_t>(0);
  absl::Status unreadable;  // sending meets the error again, and reports it
  while (true) {
    const absl::StatusOr<absl::Cord> next = co_await NextPiece(&attempt_, at, &unreadable);
    if (!next.ok()) co_return next.status();
    if (next->empty()) co_return absl::OkStatus();
    for (const absl::string_view chunk : next->Chunks()) piece(chunk);
  }
}

Task<bool> SmtpAttempt::Prepare(bool eight_bit_mime) {
  plan_ = nullptr;
  if (!scan_.has_value()) {
    message::LineScan scan;
    const absl::Status read = co_await ReadAll([&scan](absl::string_view piece) { scan.Feed(piece); });
    if (!read.ok()) co_return false;
    scan_ = scan;
  }
  if (scan_->FitsInto(eight_bit_mime)) co_return false;
  if (plans_[eight_bit_mime] == nullptr) {
    message::Parser parser;
    absl::Status read = co_await ReadAll([&parser](absl::string_view piece) { parser.Feed(piece); });
    if (!read.ok()) co_return false;
    auto plan = std::make_unique<message::DowngradePlan>(parser.Finish(), eight_bit_mime);
    read = co_await ReadAll([&plan](absl::string_view piece) { plan->Feed(piece); });
    if (!read.ok()) co_return false;
    plan->Finish();
    // RFC 1870 §6.1: SIZE is the size of what is sent.
    message::Downgrader downgrader(*plan);
    uint64_t bytes = 0;
    std::string out;
    read = co_await ReadAll([&](absl::string_view piece) {
      downgrader.Feed(piece, &out);
      bytes += out.size();
      out.clear();
    });
    if (!read.ok()) co_return false;
    downgrader.Finish(&out);
    converted_bytes_[eight_bit_mime] = bytes + out.size();
    plans_[eight_bit_mime] = std::move(plan);
  }
  plan_ = plans_[eight_bit_mime].get();
  co_return true;
}

void SmtpAttempt::Replied(size_t recipient, Outcome outcome) {
  if (outcome.kind == Outcome::Kind::kTemporary && !outcome.maybe_accepted) {
    if (!deferred_[recipient].has_value()) deferred_[recipient] = std::move(outcome);
  } else if (outcome.kind != Outcome::Kind::kPermanent || !deferred_[recipient].has_value()) {
    final_[recipient] = std::move(outcome);
  }
}

void SmtpAttempt::HostFailed(Outcome outcome) {
  if (!host_failure_.has_value() || outcome.kind == Outcome::Kind::kTemporary) host_failure_ = std::move(outcome);
}

std::vector<Outcome> SmtpAttempt::TakeOutcomes() {
  const Outcome nobody = MakeOutcome(Outcome::Kind::kTemporary, 451, "4.4.1", "No host of the destination answered");
  std::vector<Outcome> outcomes;
  for (size_t i = 0; i < final_.size(); ++i) {
    std::optional<Outcome>& said = final_[i].has_value() ? final_[i] : deferred_[i];
    outcomes.push_back(said.has_value() ? *std::move(said) : host_failure_.value_or(nobody));
  }
  return outcomes;
}

Task<bool> NeedsSmtpUtf8(const DeliveryAttempt& attempt) {
  if (!attempt.envelope.smtputf8()) co_return false;
  if (!IsAscii(attempt.envelope.reverse_path())) co_return true;
  const uint64_t length = std::min(kHeaderBytes, attempt.size_bytes);
  std::string front;
  if (attempt.memory != nullptr) {
    front = attempt.memory->substr(0, length);
  } else {
    const absl::StatusOr<absl::Cord> bytes = co_await attempt.read(0, length);
    if (!bytes.ok()) co_return true;
    front = std::string(*bytes);
  }
  const size_t end = front.find("\r\n\r\n");
  if (end == std::string::npos && length < attempt.size_bytes) co_return true;
  co_return !IsAscii(absl::string_view(front).substr(0, end));
}

DeliveryResult ResultForNoHosts(const DeliveryAttempt& attempt, const rv1::ResolveDestinationResponse& answer) {
  using Response = rv1::ResolveDestinationResponse;
  Outcome outcome;
  switch (answer.outcome()) {
    case Response::OUTCOME_NO_SUCH_DOMAIN:
      outcome = MakeOutcome(Outcome::Kind::kPermanent, 550, "5.1.2", "domain does not exist or accepts no mail");
      break;
    case Response::OUTCOME_NULL_MX:  // RFC 7505 §4.1
      outcome = MakeOutcome(Outcome::Kind::kPermanent, 556, "5.1.10", "domain accepts no mail (null MX)");
      break;
    case Response::OUTCOME_LOOP:  // RFC 5321 §5.1: we must not send to ourselves
      outcome = MakeOutcome(Outcome::Kind::kPermanent, 554, "5.4.6", "mail for the domain loops back to this host");
      break;
    case Response::OUTCOME_PRIVATE:  // RFC 3463 §3.5: X.4.4
      outcome = MakeOutcome(
          Outcome::Kind::kPermanent, 550, "5.4.4",
          "mail hosts of the domain have addresses of private networks, to which this system sends no mail");
      break;
    default:
      outcome = MakeOutcome(Outcome::Kind::kTemporary, 451, "4.4.3", "domain lookup failed, try again later");
      break;
  }
  if (!answer.detail().empty()) outcome.attempt.set_error(CutText(answer.detail()));
  return SameForAll(attempt, outcome, Reachability::kNeutral);
}

Outcome OutcomeForReply(const smtp::Outcome& from) {
  Outcome outcome;
  outcome.maybe_accepted = from.maybe_accepted;
  const char* status = "4.0.0";
  switch (from.kind) {
    case SmtpKind::kAccepted:
      outcome.kind = Outcome::Kind::kRelayed;
      status = "2.0.0";
      break;
    case SmtpKind::kPermanent:
      outcome.kind = Outcome::Kind::kPermanent;
      status = "5.0.0";
      break;
    case SmtpKind::kTemporary:
      break;
    case SmtpKind::kConnection:
      // RFC 3463 §3.5: X.4.1 no answer from host, X.4.2 bad connection.
      // RFC 3463 §3.5: X.4.1 no answer from the host, X.4.2 bad connection.
      status = from.step == smtp::ClientStep::kConnect || from.step == smtp::ClientStep::kGreeting ? "4.4.1" : "4.4.2";
      break;
  }
  // An enhanced code whose class contradicts the reply code is ignored.
  const bool believed = !from.reply.enhanced.empty() && from.reply.enhanced[0] == status[0];
  outcome.status = believed ? CutText(from.reply.enhanced, 16) : status;
  if (from.reply.code != 0) {
    auto* reply = outcome.attempt.mutable_reply();
    reply->set_code(static_cast<uint32_t>(from.reply.code));
    reply->set_enhanced(CutText(from.reply.enhanced, 16));
    reply->set_text(CutText(from.reply.Text()));
    outcome.attempt.set_ours(from.ours);
  }
  if (!from.error.ok()) outcome.attempt.set_error(CutText(ErrorText(from)));
  return outcome;
}

Outcome OutcomeForRefusedSession(const smtp::Outcome& from, bool bounce) {
  Outcome outcome = OutcomeForReply(from);
  if (outcome.kind != Outcome::Kind::kPermanent || from.ours) return outcome;
  // RFC 7504 §3 and §4: the host accepts no mail at all, or none for the domain.
  const bool never = from.reply.code == 521 || from.reply.code == 556;
  // Required encryption that fails defers the mail, whatever the code.
  const bool at_tls = from.step == smtp::ClientStep::kStartTls;
  if (at_tls || (!bounce && !never)) {
    outcome.kind = Outcome::Kind::kTemporary;
    outcome.status = "4.3.2";  // RFC 3463 §3.4: system not accepting network messages
  }
  return outcome;
}

std::string ErrorText(const smtp::Outcome& from) {
  const absl::string_view error = from.error.message();
  // Errors of connecting name the address, those of the handshake say what they are.
  const absl::string_view step = smtp::ClientStepName(from.step);
  if (from.step == smtp::ClientStep::kConnect || absl::StartsWith(error, step)) return std::string(error);
  return absl::StrCat(step, ": ", error);
}

}  // namespace posthouse::queue
