// Reports on what strangers wrote: whatever addresses, replies and messages are, the
// report stays one message of three parts that any host takes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/common/status/status.h"
#include "services/common/utf8/utf8.h"
#include "services/queue/dsn/report.h"

// First byte: action and what is returned. Then fields, each ended by 0xF8.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace posthouse::queue::dsn;  // NOLINT: a fuzz target's only scope
  if (size == 0) return 0;
  std::vector<std::string> fields =
      absl::StrSplit(absl::string_view(reinterpret_cast<const char*>(data) + 1, size - 1), '\xf8');
  fields.resize(9);
  Report report;
  report.hostname = "mx.example.org";
  report.queue_id = report.original_queue_id = "01HF7YAT3VZZZZZZZZZZZZZZZZ";
  report.arrival = report.now = absl::FromUnixSeconds(1700000000);
  report.full = (data[0] & 4) != 0;
  report.to = fields[0];
  report.envid = fields[1];
  RecipientReport recipient;
  recipient.action = static_cast<Action>(data[0] & 3);
  recipient.final_address = fields[2];
  recipient.original_address = fields[3];
  recipient.orcpt = fields[4];
  recipient.status = "5.1.1";
  recipient.remote_mta = fields[5];
  recipient.diagnostic = fields[6];
  recipient.reason = fields[7];
  report.recipients.assign(1 + (data[0] >> 6), recipient);
  report.content = fields[8];
  const Composed composed = Compose(report);
  PH_CHECK(composed.eight_bit || posthouse::IsAscii(composed.message));

  // Up to the returned message every line is ours.
  const std::string boundary = absl::StrCat("\r\n--=_", report.queue_id, "\r\n");
  size_t at = 0;
  for (int part = 0; part < 3; ++part) {
    at = composed.message.find(boundary, at);
    PH_CHECK(at != std::string::npos);
    if (part < 2) at += boundary.size();
  }
  for (const absl::string_view line : absl::StrSplit(absl::string_view(composed.message).substr(0, at), "\r\n")) {
    PH_CHECK(line.size() <= 998);
    PH_CHECK(line.find_first_of(absl::string_view("\r\n\0", 3)) == absl::string_view::npos);
  }
  PH_CHECK(absl::EndsWith(composed.message, absl::StrCat("\r\n--=_", report.queue_id, "--\r\n")));
  return 0;
}
