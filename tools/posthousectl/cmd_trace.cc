// trace: answers "where is my mail?"
#include <algorithm>
#include <map>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "posthouse/ingress/v1/ingress.grpc.pb.h"
#include "posthouse/queue/v1/queue.grpc.pb.h"
#include "services/common/status/status.h"
#include "services/common/time/proto_time.h"
#include "tools/posthousectl/command.h"
#include "tools/posthousectl/context.h"
#include "tools/posthousectl/items.h"
#include "tools/posthousectl/output.h"
#include "tools/posthousectl/trace_query.h"

namespace posthouse::ctl {
namespace {

namespace v1 = queue::v1;

// Prints what ingress refused, newest first, and the hint for the case that nothing is found.
struct Refused {
  std::vector<ingress::v1::Refusal> refusals;
  std::string coverage;
};

absl::StatusOr<Refused> FindRefused(Context& context, const std::string& what, uint32_t limit) {
  std::vector<std::string> targets = context.Edges();
  if (context.targets.one_process) targets.push_back(context.targets.queue.front());
  Refused found;
  uint64_t remembered = 0;
  size_t asked = 0;
  absl::Time started = absl::InfinitePast();
  for (ingress::v1::FindRefusalsRequest& request : RefusalQueriesFor(what)) {
    request.set_limit(limit);
    for (const std::string& target : targets) {
      ingress::v1::FindRefusalsResponse response;
      const absl::Status status =
          context.Call(target, &ingress::v1::IngressAdminService::NewStub,
                       &ingress::v1::IngressAdminService::Stub::FindRefusals, request, &response);
      if (absl::IsUnimplemented(status)) continue;  // a gateway
      PH_RETURN_IF_ERROR(status);
      ++asked;
      remembered += response.remembered();
      started = std::max(started, FromProto(response.started()));
      for (ingress::v1::Refusal& refusal : *response.mutable_refusals()) {
        found.refusals.push_back(std::move(refusal));
      }
    }
  }
  std::sort(found.refusals.begin(), found.refusals.end(),
            [](const auto& a, const auto& b) { return FromProto(a.at()) > FromProto(b.at()); });
  if (found.refusals.size() > limit) found.refusals.resize(limit);
  if (asked > 0) {
    found.coverage = absl::StrCat("It is not among the ", remembered, " refusals that ingress remembers since ",
                                  ShowTime(started), "; its log has older ones");
  } else if (targets.empty()) {
    found.coverage = "Ingress was not asked what it refused: use --edge";
  } else {
    found.coverage = "Ingress finds what it refused by an address, a trace id or the IP address of the client";
  }
  return found;
}

absl::Status Trace(Context& context) {
  const uint32_t limit = context.arguments.GetCount("limit", 20);
  PH_RETURN_IF_ERROR(context.NeedQueue());
  const std::string& what = context.Operand();
  std::map<std::string, v1::Item, std::greater<>> found;  // newest first
  for (v1::FindItemsRequest& request : QueriesFor(what)) {
    request.set_limit(limit);
    for (const std::string& shard : context.targets.queue) {
      v1::FindItemsResponse response;
      PH_RETURN_IF_ERROR(context.Call(shard, &v1::QueueAdminService::NewStub, &v1::QueueAdminService::Stub::FindItems,
                                      request, &response));
      for (v1::Item& item : *response.mutable_items()) found.emplace(item.queue_id(), std::move(item));
    }
  }
  PH_ASSIGN_OR_RETURN(const Refused refused, FindRefused(context, what, limit));
  if (found.empty() && refused.refusals.empty()) {
    return absl::NotFoundError(absl::StrCat("no message found for \"", Printable(what),
                                            "\". The queue remembers finished messages for queue.done_retention. ",
                                            refused.coverage));
  }
  uint32_t shown = 0;
  for (const auto& [queue_id, item] : found) {
    if (shown++ == limit) break;
    if (context.json) {
      context.out << ToJson(item) << "\n";
    } else {
      context.out << (shown > 1 ? "\n" : "") << DescribeItem(item, absl::Now());
    }
  }
  for (const ingress::v1::Refusal& refusal : refused.refusals) {
    if (context.json) {
      context.out << ToJson(refusal) << "\n";
    } else {
      context.out << (shown++ > 0 ? "\n" : "") << DescribeRefusal(refusal);
    }
  }
  return absl::OkStatus();
}

}  // namespace

Command TraceCommand() {
  return {{"trace",
           {{"ID|ADDRESS"}},
           "Find messages, and what ingress refused, by queue id, Message-ID, trace id or address, newest first",
           {cli::Count("limit", "N", "show at most N messages and N refusals (default 20)")},
           {"posthousectl trace alice@example.org", "posthousectl trace '<20240102.1@example.net>' --json"}},
          Trace};
}

}  // namespace posthouse::ctl
