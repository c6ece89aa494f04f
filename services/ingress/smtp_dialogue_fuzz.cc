// For any lines and any results of other services, replies are well-formed, and no
// message begins without an accepted recipient.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "services/common/status/status.h"
#include "services/ingress/smtp_dialogue.h"
#include "services/mail_formats/smtp/reply.h"

namespace {

using posthouse::ingress::Login;
using posthouse::ingress::Resolution;
using posthouse::ingress::Rules;
using posthouse::ingress::SmtpDialogue;
using posthouse::ingress::SmtpPolicy;
using Action = SmtpDialogue::Action;

// Decides what the outside says; each byte of the line that asked counts.
Action Answer(SmtpDialogue& dialogue, Action action, unsigned seed, std::string* out) {
  switch (action) {
    case Action::kResolve: {
      Resolution resolution;
      resolution.outcome = static_cast<Resolution::Outcome>(seed % 6);
      if (!dialogue.may_relay() && seed % 6 == 0 && seed % 7 == 0)
        resolution.outcome = Resolution::Outcome::kRelayDenied;
      return dialogue.OnResolved(resolution, out);
    }
    case Action::kAuthenticate: {
      Login login;
      login.address = "user@mx.example";
      login.may_send_as = {"user@mx.example"};
      return dialogue.OnAuthenticated(seed % 2 == 0 ? absl::OkStatus() : absl::UnauthenticatedError(""), login, out);
    }
    case Action::kStartTls:
      dialogue.OnTlsStarted();
      return Action::kNone;
    case Action::kReceiveData:
      PH_CHECK(!dialogue.envelope().recipients.empty());
      return dialogue.OnMessage(posthouse::smtp::Reply(seed % 2 == 0 ? 250 : 451, "", "x"), out);
    case Action::kReceiveChunk:
      PH_CHECK(dialogue.chunk().discard || !dialogue.envelope().recipients.empty());
      if (dialogue.chunk().last && !dialogue.chunk().discard) {
        return dialogue.OnMessage(posthouse::smtp::Reply(250, "2.0.0", "x"), out);
      }
      return dialogue.OnChunk(std::nullopt, out);
    default:
      return action;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  SmtpPolicy policy;
  policy.hostname = "mx.example";
  policy.allow_plaintext_auth = (data[0] & 4) != 0;
  policy.max_recipients = 3;
  Rules rules;
  rules.policy = std::make_shared<const SmtpPolicy>(policy);
  rules.submission = (data[0] & 1) != 0;
  rules.starttls = (data[0] & 2) != 0;
  SmtpDialogue dialogue(rules, (data[0] & 8) != 0);
  absl::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::string out;
  dialogue.Greet(&out);
  Action action = Action::kNone;
  while (!input.empty() && action != Action::kClose) {
    const size_t end = input.find('\n');
    const absl::string_view line = input.substr(0, end);
    input.remove_prefix(end == absl::string_view::npos ? input.size() : end + 1);
    unsigned seed = 0;
    for (const char c : line) seed = seed * 31 + static_cast<unsigned char>(c);
    action = dialogue.OnLine(line, &out);
    while (action != Action::kNone && action != Action::kClose) action = Answer(dialogue, action, seed, &out);
    PH_CHECK(dialogue.envelope().recipients.size() <= 3);
    if (rules.submission) PH_CHECK(dialogue.login().has_value() || dialogue.envelope().recipients.empty());
  }
  // All that was said parses as replies.
  posthouse::smtp::ReplyLimits limits;
  limits.max_line = 1 << 20;
  posthouse::smtp::ReplyParser parser(limits);
  absl::string_view rest = out;
  while (!rest.empty()) {
    // 3yz replies of ours are well-formed too; the parser takes 2 to 5.
    const auto reply = parser.Feed(&rest);
    PH_CHECK(reply.ok() && reply->has_value());
  }
  return 0;
}
