#include "tools/posthousectl/trace_query.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
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

absl::string_view WithoutBrackets(absl::string_view what) {
  absl::string_view inner = what;
  return absl::ConsumePrefix(&inner, "<") && absl::ConsumeSuffix(&inner, ">") ? inner : what;
}

bool IsIpAddress(const std::string& text) {
  in6_addr bytes{};
  return inet_pton(AF_INET, text.c_str(), &bytes) == 1 || inet_pton(AF_INET6, text.c_str(), &bytes) == 1;
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
  what = WithoutBrackets(what);
  if (what.find('@') != absl::string_view::npos) queries.emplace_back().set_address(std::string(what));
  queries.emplace_back().set_message_id(absl::StrCat("<", what, ">"));
  return queries;
}

std::vector<ingress::v1::FindRefusalsRequest> RefusalQueriesFor(absl::string_view what) {
  what = absl::StripAsciiWhitespace(what);
  std::vector<ingress::v1::FindRefusalsRequest> queries;
  if (LooksLikeTraceId(what)) {
    queries.emplace_back().set_trace_id(absl::AsciiStrToLower(what));
    return queries;
  }
  const std::string text(WithoutBrackets(what));
  if (absl::StrContains(text, '@')) {
    queries.emplace_back().set_address(text);
  } else if (IsIpAddress(text)) {
    queries.emplace_back().set_client_address(text);
  }
  return queries;
}

}  // namespace posthouse::ctl
