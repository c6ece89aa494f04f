// Replies read whole and byte by byte are the same; memory stays bounded. Each is
// read as an answer to EHLO too.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "services/common/status/status.h"
#include "services/mail_formats/smtp/capabilities.h"
#include "services/mail_formats/smtp/reply.h"

namespace {

std::vector<posthouse::smtp::Reply> Parse(absl::string_view text, size_t step, bool* failed) {
  posthouse::smtp::ReplyParser parser;
  std::vector<posthouse::smtp::Reply> replies;
  while (!text.empty()) {
    absl::string_view piece = text.substr(0, step);
    text.remove_prefix(piece.size());
    while (!piece.empty()) {
      auto reply = parser.Feed(&piece);
      if (!reply.ok()) {
        *failed = true;
        return replies;
      }
      if (reply->has_value()) replies.push_back(**reply);
    }
  }
  return replies;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  bool whole_failed = false, bytes_failed = false;
  const auto whole = Parse(text, size + 1, &whole_failed);
  const auto bytes = Parse(text, 1, &bytes_failed);
  PH_CHECK(whole == bytes && whole_failed == bytes_failed);
  for (const auto& reply : whole) {
    PH_CHECK(reply.code >= 200 && reply.code <= 599 && !reply.lines.empty());
    PH_CHECK(posthouse::smtp::Format(reply).size() >= 6);
    const posthouse::smtp::Capabilities capabilities = posthouse::smtp::ParseCapabilities(reply.lines);
    PH_CHECK(capabilities.esmtp && capabilities.auth.size() <= size);
  }
  return 0;
}
