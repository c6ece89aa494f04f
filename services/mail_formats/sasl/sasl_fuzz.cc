// First line: the mechanism and, after a space, the initial response. Each further line
// answers a challenge. Every exchange ends after three lines at most, and credentials
// are as mechanism.h promises.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "services/common/status/status.h"
#include "services/common/utf8/utf8.h"
#include "services/mail_formats/sasl/exchange.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace posthouse::sasl;  // NOLINT: a fuzz target's only scope
  const std::vector<absl::string_view> lines =
      absl::StrSplit(absl::string_view(reinterpret_cast<const char*>(data), size), '\n');
  const std::pair<absl::string_view, absl::string_view> first = absl::StrSplit(lines[0], absl::MaxSplits(' ', 1));
  std::optional<Exchange> exchange = Exchange::Begin(first.first);
  if (!exchange.has_value()) return 0;
  Step step = exchange->Start(first.second.empty() ? std::nullopt : std::optional<absl::string_view>(first.second));
  for (size_t i = 1; i < lines.size() && std::holds_alternative<Challenge>(step); ++i) {
    PH_CHECK(i <= 3);
    step = exchange->OnLine(lines[i]);
  }
  if (const auto* credentials = std::get_if<Credentials>(&step)) {
    PH_CHECK(!credentials->username.empty() && posthouse::IsUtf8(credentials->username));
    PH_CHECK(posthouse::IsUtf8(credentials->password));
  }
  if (const auto* error = std::get_if<absl::Status>(&step)) PH_CHECK(!error->ok());
  return 0;
}
