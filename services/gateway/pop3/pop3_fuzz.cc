// Any lines from a client: the machine answers each with complete lines.
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "services/common/status/status.h"
#include "services/gateway/pop3/machine.h"
#include "services/gateway/pop3/multiline.h"

namespace posthouse::gateway::pop3 {
namespace {

void CheckReply(absl::string_view reply) {
  PH_CHECK(absl::EndsWith(reply, "\r\n"));
  PH_CHECK(absl::StartsWith(reply, "+") || absl::StartsWith(reply, "-ERR "));
}

// Any line logs in; commands that need the mailbox succeed.
void RunMachine(absl::string_view bytes) {
  Machine::Options options;
  options.tls_available = true;
  options.allow_plaintext_auth = true;
  Machine machine(options);
  for (const absl::string_view line : absl::StrSplit(bytes, '\n')) {
    Step step = machine.OnLine(line);
    switch (step.action) {
      case Step::Action::kReply:
        CheckReply(step.reply);
        break;
      case Step::Action::kClose:
        CheckReply(step.reply);
        return;
      case Step::Action::kStartTls:
        machine.OnTls();
        break;
      case Step::Action::kLogin:
        CheckReply(machine.OnLogin(absl::OkStatus(), {UidValidity(7), {{Uid(1), 10}, {Uid(3), 30}}}).reply);
        break;
      case Step::Action::kListing: {
        std::string out = step.reply;
        while (machine.AppendListing(10, &out)) {
        }
        CheckReply(out);
        PH_CHECK(absl::EndsWith(out, "\r\n.\r\n"));
        break;
      }
      case Step::Action::kSend:
        PH_CHECK(step.uid == Uid(1) || step.uid == Uid(3));
        machine.OnSent(step.uid);
        break;
      case Step::Action::kUpdate:
        PH_CHECK(machine.Deleted().Max() <= 3);
        CheckReply(machine.OnUpdated(absl::OkStatus()).reply);
        return;
    }
  }
}

// No message ends early: the terminator is once there, at the end.
void RunMultiline(absl::string_view bytes) {
  Multiline lines;
  std::string out;
  const size_t step = bytes.empty() ? 1 : 1 + static_cast<unsigned char>(bytes[0]) % 7;
  for (size_t i = 0; i < bytes.size(); i += step) lines.Feed(bytes.substr(i, step), &out);
  lines.Finish(&out);
  PH_CHECK(absl::StartsWith(out, ".\r\n") ? out.size() == 3 : out.find("\n.\r\n") == out.size() - 4);
}

}  // namespace
}  // namespace posthouse::gateway::pop3

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  posthouse::gateway::pop3::RunMachine(bytes);
  posthouse::gateway::pop3::RunMultiline(bytes);
  return 0;
}
