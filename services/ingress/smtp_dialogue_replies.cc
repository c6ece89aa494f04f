// The replies of SmtpDialogue: what is counted, reported, and ends a session.
#include <cstddef>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "services/ingress/smtp_dialogue.h"

namespace posthouse::ingress {
namespace {

using smtp::Command;
using smtp::Reply;
using smtp::Verb;

// The session takes them after each line, which makes one or two.
constexpr size_t kMaxRefusals = 64;

// The stage that a refused command belongs to; nullopt: its refusal concerns no mail.
std::optional<Stage> StageOf(Verb verb) {
  switch (verb) {
    case Verb::kMail:
      return Stage::kMail;
    case Verb::kRcpt:
      return Stage::kRcpt;
    case Verb::kData:
    case Verb::kBdat:
      return Stage::kData;
    case Verb::kAuth:
      return Stage::kAuth;
    default:
      return std::nullopt;
  }
}

// The address of a MAIL or RCPT that may not parse: what follows the colon.
absl::string_view AddressIn(absl::string_view line) {
  const size_t colon = line.find(':');
  line = absl::StripAsciiWhitespace(colon == absl::string_view::npos ? line : line.substr(colon + 1));
  if (absl::ConsumePrefix(&line, "<")) absl::ConsumeSuffix(&line, ">");
  return line;
}

}  // namespace

void SmtpDialogue::Append(int code, absl::string_view enhanced, absl::string_view text, std::string* out) {
  smtp::AppendReply(out, code, enhanced, text);
  ++counts_.replies[static_cast<size_t>(code / 100)];
}

// Appends a reply and counts it. Too many 5yz replies end the session.
SmtpDialogue::Action SmtpDialogue::Say(int code, absl::string_view enhanced, absl::string_view text, std::string* out) {
  Append(code, enhanced, text, out);
  if (code >= 500) ++errors_;
  return EndAfterErrors(out);
}

SmtpDialogue::Action SmtpDialogue::EndAfterErrors(std::string* out) {
  if (errors_ < rules_.policy->max_errors) return Action::kNone;
  Bye(Reason::kMaxErrors, "4.7.0", "Too many errors", out);
  return Action::kClose;
}

void SmtpDialogue::Note(Stage stage, Reason reason, const Reply& reply, absl::string_view address) {
  if (refusals_.size() >= kMaxRefusals) return;
  Refusal& refusal = refusals_.emplace_back();
  refusal.stage = stage;
  refusal.reason = reason;
  refusal.reply = reply.ToString();
  refusal.from = stage == Stage::kMail ? std::string(address) : envelope_.reverse_path;
  if (stage == Stage::kRcpt) refusal.to.emplace_back(address);
  if (stage == Stage::kAuth) refusal.login = std::string(address);
}

SmtpDialogue::Action SmtpDialogue::Refuse(Stage stage, Reason reason, const Reply& reply, absl::string_view address,
                                          std::string* out) {
  Note(stage, reason, reply, address);
  return Say(reply.code, reply.enhanced, reply.Text(), out);
}

SmtpDialogue::Action SmtpDialogue::RefuseLine(const Command& command, absl::string_view line, Reason reason,
                                              const Reply& reply, std::string* out) {
  const std::optional<Stage> stage = StageOf(command.verb);
  if (!stage.has_value()) return Say(reply.code, reply.enhanced, reply.Text(), out);
  // A line of AUTH may have a password.
  const bool addressed = *stage == Stage::kMail || *stage == Stage::kRcpt;
  return Refuse(*stage, reason, reply, addressed ? AddressIn(line) : "", out);
}

void SmtpDialogue::Bye(std::optional<Reason> why, absl::string_view enhanced, absl::string_view text,
                       std::string* out) {
  // RFC 5321 §3.8: a server that ends the session on its own sends 421.
  const Reply reply(421, enhanced, absl::StrCat(rules_.policy->hostname, " ", text));
  smtp::AppendReply(out, reply.code, reply.enhanced, reply.Text());
  ++counts_.replies[4];
  state_ = State::kClosed;
  if (!why.has_value() || refusals_.size() >= kMaxRefusals) return;
  Refusal& refusal = refusals_.emplace_back();
  refusal.stage = Stage::kSession;
  refusal.reason = *why;
  refusal.reply = reply.ToString();
  refusal.from = envelope_.reverse_path;
  for (const Recipient& recipient : envelope_.recipients) refusal.to.push_back(recipient.original);
}

// Refused recipients beside an accepted one are part of the mail of a list, and do not end
// its session. Without an accepted one two of them count as one error, since the accepted
// ones may come last.
SmtpDialogue::Action SmtpDialogue::RefuseRecipient(Reason reason, const Reply& reply, absl::string_view address,
                                                   std::string* out) {
  Note(Stage::kRcpt, reason, reply, address);
  Append(reply.code, reply.enhanced, reply.Text(), out);
  ++refused_recipients_;
  if (reply.permanent() && envelope_.recipients.empty() && ++refused_alone_ % 2 == 0) ++errors_;
  if (refused_recipients_ >= rules_.policy->max_recipients) errors_ = rules_.policy->max_errors;
  return EndAfterErrors(out);
}

std::vector<Refusal> SmtpDialogue::TakeRefusals() { return std::exchange(refusals_, {}); }

}  // namespace posthouse::ingress
