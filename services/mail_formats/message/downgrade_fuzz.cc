// A message is converted for each kind of host, whole and in pieces: the same bytes come
// out, bounded, and 7-bit with short lines where nothing had to stay as it was.
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "services/common/status/status.h"
#include "services/mail_formats/message/downgrade.h"
#include "services/mail_formats/message/header_downgrade.h"
#include "services/mail_formats/message/parser.h"

namespace posthouse::message {
namespace {

template <typename To>
void InPieces(absl::string_view bytes, size_t step, To to) {
  for (size_t at = 0; at < bytes.size(); at += step) to(bytes.substr(at, step));
}

std::string Convert(absl::string_view bytes, bool eight_bit, size_t step) {
  DowngradePlan plan(Parse(bytes), eight_bit);
  InPieces(bytes, step, [&](absl::string_view piece) { plan.Feed(piece); });
  plan.Finish();
  std::string out;
  Downgrader downgrader(plan);
  InPieces(bytes, step, [&](absl::string_view piece) { downgrader.Feed(piece, &out); });
  downgrader.Finish(&out);
  return out;
}

void Check(absl::string_view bytes) {
  for (const bool eight_bit : {false, true}) {
    LineScan scan, by_byte;
    scan.Feed(bytes);
    InPieces(bytes, 1, [&](absl::string_view piece) { by_byte.Feed(piece); });
    PH_CHECK(scan.eight_bit() == by_byte.eight_bit() && scan.long_lines() == by_byte.long_lines());
    const std::string whole = Convert(bytes, eight_bit, bytes.size() + 1);
    PH_CHECK(whole == Convert(bytes, eight_bit, 1));
    PH_CHECK(whole == Convert(bytes, eight_bit, 7));
    PH_CHECK(whole.size() <= 40 * bytes.size() + 1000);
    // A plain message has nothing that stays: no "--" line, no type, no encoding.
    const std::string lower = absl::AsciiStrToLower(bytes);
    if (!absl::StrContains(bytes, "--") && !absl::StrContains(lower, "content-") && !Parse(bytes).truncated) {
      LineScan after;
      after.Feed(whole);
      PH_CHECK(!after.long_lines() || absl::StrContains(bytes, "\r"));
      PH_CHECK(eight_bit || !after.eight_bit() || absl::StrContains(bytes, "\r"));
    }
  }
}

}  // namespace
}  // namespace posthouse::message

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size <= 64 * 1024) posthouse::message::Check({reinterpret_cast<const char*>(data), size});
  return 0;
}
