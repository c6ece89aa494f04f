// Any line gives a command or a refusal; what was accepted keeps its promises.
#include <cstddef>
#include <cstdint>

#include "services/common/status/status.h"
#include "services/mail_formats/smtp/command.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace posthouse::smtp;  // NOLINT: a fuzz target's only scope
  const Command command = ParseCommand(absl::string_view(reinterpret_cast<const char*>(data), size));
  if (command.error.has_value()) {
    PH_CHECK(command.error->permanent());
    return 0;
  }
  PH_CHECK(command.verb != Verb::kUnknown);
  if (command.verb == Verb::kRcpt) PH_CHECK(command.path.has_value());
  if (command.path.has_value() && !command.path->domain.empty()) {
    const auto again = ParseMailbox(command.path->ToString(), true);
    PH_CHECK(again.ok() && *again == *command.path);
  }
  PH_CHECK(!(command.rcpt.notify.never && command.rcpt.notify.success));
  return 0;
}
