// trace: answers "where is my mail?"
#include <algorithm>
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "posthouse/queue/v1/queue.grpc.pb.h"
#include "services/common/status/status.h"
#include "tools/posthousectl/command.h"
#include "tools/posthousectl/context.h"
#include "tools/posthousectl/items.h"
#include "tools/posthousectl/output.h"
#include "tools/posthousectl/trace_query.h"

namespace posthouse::ctl {
namespace {

namespace v1 = queue::v1;

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
  if (found.empty()) {
    return absl::NotFoundError(
        absl::StrCat("no message found for \"", Printable(what),
                     "\". The queue remembers finished messages for queue.done_retention. A message that was "
                     "refused at SMTP never reached the queue: look in the log of ingress"));
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
  return absl::OkStatus();
}

}  // namespace

Command TraceCommand() {
  return {{"trace",
           {{"ID|ADDRESS"}},
           "Find messages by queue id, Message-ID, trace id or address, newest first",
           {cli::Count("limit", "N", "show at most N messages (default 20)")},
           {"posthousectl trace alice@example.org", "posthousectl trace '<20240102.1@example.net>' --json"}},
          Trace};
}

}  // namespace posthouse::ctl
