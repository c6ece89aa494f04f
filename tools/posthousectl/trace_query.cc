#include "tools/posthousectl/trace_query.h"

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace posthouse::ctl {
namespace {

using queue::v1::FindItemsRequest;

// A queue id is 26 characters of base 32 (services/queue/spool/queue_id.h).
bool LooksLikeQueueId(absl::string_view text) {
  return text.size() == 26 && std::all_of(text.begin(), text.end(), [](char c) { return absl::ascii_isalnum(c); });
}

bool LooksLikeTraceId(absl::string_view text) {
  return text.size() == 32 && std::all_of(text.begin(), text.end(), [](char c) { return absl::ascii_isxdigit(c); });
}

}  // namespace

std::vector<FindItemsRequest> QueriesFor(absl::string_view what) {
  what = absl::StripAsciiWhitespace(what);
  std::vector<FindItemsRequest> queries;
  if (LooksLikeQueueId(what)) {
    queries.emplace_back().set_queue_id(absl::AsciiStrToUpper(what));
    return queries;
  }
  if (LooksLikeTraceId(what)) {
    queries.emplace_back().set_trace_id(absl::AsciiStrToLower(what));
    return queries;
  }
  absl::string_view inner = what;
  if (absl::ConsumePrefix(&inner, "<") && absl::ConsumeSuffix(&inner, ">")) what = inner;
  if (what.find('@') != absl::string_view::npos) queries.emplace_back().set_address(std::string(what));
  queries.emplace_back().set_message_id(absl::StrCat("<", what, ">"));
  return queries;
}

}  // namespace posthouse::ctl
