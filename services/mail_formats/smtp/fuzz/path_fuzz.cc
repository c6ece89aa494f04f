// Every parsed mailbox prints to a text that parses to the same mailbox.
#include <cstddef>
#include <cstdint>

#include "services/common/status/status.h"
#include "services/common/utf8/utf8.h"
#include "services/mail_formats/smtp/path.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace posthouse::smtp;  // NOLINT: a fuzz target's only scope
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const auto mailbox = ParseMailbox(text, true);
  if (mailbox.ok()) {
    PH_CHECK(posthouse::IsUtf8(text));
    const auto again = ParseMailbox(mailbox->ToString(), true);
    PH_CHECK(again.ok() && *again == *mailbox);
    PH_CHECK(ParseMailbox(text, false).ok() == mailbox->ascii());
  }
  for (const PathKind kind : {PathKind::kReverse, PathKind::kForward}) {
    absl::string_view input = text;
    const auto path = TakePath(&input, kind, true);
    if (path.ok()) PH_CHECK(text.size() - input.size() <= kMaxPath);
  }
  return 0;
}
