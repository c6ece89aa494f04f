// queue: messages that wait for delivery, and what an operator does about them.
#include <algorithm>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "posthouse/queue/v1/queue.grpc.pb.h"
#include "services/common/status/status.h"
#include "services/common/time/proto_time.h"
#include "tools/posthousectl/command.h"
#include "tools/posthousectl/context.h"
#include "tools/posthousectl/items.h"
#include "tools/posthousectl/output.h"

namespace posthouse::ctl {
namespace {

namespace v1 = queue::v1;
using Stub = v1::QueueAdminService::Stub;

template <typename Request, typename Response>
absl::Status Ask(Context& context, const std::string& shard,
                 grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*), const Request& request,
                 Response* response) {
  return context.Call(shard, &v1::QueueAdminService::NewStub, method, request, response);
}

// Asks the shards in turn until one knows the message; the others answer NOT_FOUND.
template <typename Request, typename Response>
absl::Status AskOwner(Context& context, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                      const Request& request, Response* response) {
  PH_RETURN_IF_ERROR(context.NeedQueue());
  absl::Status last;
  for (const std::string& shard : context.targets.queue) {
    absl::Status status = Ask(context, shard, method, request, response);
    if (status.ok()) return status;
    // A shard that does not answer may be the owner, so its error takes precedence over NOT_FOUND.
    if (last.ok() || absl::IsNotFound(last)) last = std::move(status);
  }
  return last;
}

absl::Status List(Context& context) {
  PH_RETURN_IF_ERROR(context.NeedQueue());
  const uint32_t limit = context.arguments.GetCount("limit", 100);
  Listing listing(context.json, context.out, ItemHead());
  bool more = false;
  for (const std::string& shard : context.targets.queue) {
    v1::ListItemsRequest request;
    request.set_domain(context.arguments.GetOr("domain", ""));
    request.set_sender(context.arguments.GetOr("sender", ""));
    while (true) {
      if (listing.size() == limit) {
        more = true;
        break;
      }
      request.mutable_page()->set_page_size(std::min<uint32_t>(limit - static_cast<uint32_t>(listing.size()), 1000));
      v1::ListItemsResponse response;
      PH_RETURN_IF_ERROR(Ask(context, shard, &Stub::ListItems, request, &response));
      for (const v1::Item& item : response.items()) listing.Add(item, ItemRow(item, absl::Now()));
      if (response.page().next_page_token().empty()) break;
      request.mutable_page()->set_page_token(response.page().next_page_token());
    }
  }
  if (listing.size() == 0) {
    context.Report("no messages are waiting");
    return absl::OkStatus();
  }
  listing.Finish();
  if (more) context.Report("more messages are waiting: a higher --limit lists them");
  return absl::OkStatus();
}

absl::Status Show(Context& context) {
  v1::GetItemRequest request;
  request.set_queue_id(context.Operand());
  v1::GetItemResponse response;
  PH_RETURN_IF_ERROR(AskOwner(context, &Stub::GetItem, request, &response));
  if (context.json) {
    context.out << ToJson(response) << "\n";
    return absl::OkStatus();
  }
  context.out << DescribeItem(response.item(), absl::Now());
  if (context.arguments.Has("header") && !response.header().empty()) {
    context.out << "\n";
    std::string line;
    for (const char c : response.header()) {
      if (c == '\r') continue;
      if (c != '\n') {
        line.push_back(c);
        continue;
      }
      context.out << "  " << Printable(line) << "\n";
      line.clear();
    }
    if (!line.empty()) context.out << "  " << Printable(line) << "\n";
  }
  return absl::OkStatus();
}

absl::Status Retry(Context& context) {
  const bool one = !context.arguments.operands().empty();
  const bool held = context.arguments.Has("held");
  if (one + context.arguments.Has("domain") + held != 1) {
    return absl::InvalidArgumentError("give either a QUEUE-ID, --domain or --held");
  }
  PH_RETURN_IF_ERROR(context.NeedQueue());
  v1::RetryItemsRequest request;
  uint32_t items = 0;
  if (one) {
    request.set_queue_id(context.Operand());
    v1::RetryItemsResponse response;
    PH_RETURN_IF_ERROR(AskOwner(context, &Stub::RetryItems, request, &response));
    items = response.items();
  } else {
    if (held) {
      request.set_held(true);
    } else {
      request.set_domain(*context.arguments.Get("domain"));
    }
    for (const std::string& shard : context.targets.queue) {
      v1::RetryItemsResponse response;
      PH_RETURN_IF_ERROR(Ask(context, shard, &Stub::RetryItems, request, &response));
      items += response.items();
    }
  }
  if (context.json) {
    context.out << "{\"items\":" << items << "}\n";
  } else {
    context.out << items << (items == 1 ? " message" : " messages") << " will be retried now\n";
  }
  return absl::OkStatus();
}

absl::Status Delete(Context& context) {
  v1::DeleteItemRequest request;
  request.set_queue_id(context.Operand());
  request.set_bounce(context.arguments.Has("bounce"));
  v1::DeleteItemResponse response;
  PH_RETURN_IF_ERROR(AskOwner(context, &Stub::DeleteItem, request, &response));
  context.Report(request.bounce() ? "deleted; the sender gets a bounce" : "deleted");
  return absl::OkStatus();
}

absl::Status Destinations(Context& context) {
  PH_RETURN_IF_ERROR(context.NeedQueue());
  const uint32_t limit = context.arguments.GetCount("limit", 100);
  Listing listing(context.json, context.out, DestinationHead());
  uint64_t more = 0;
  for (const std::string& shard : context.targets.queue) {
    v1::ListDestinationsRequest request;
    request.set_blocked(context.arguments.Has("blocked"));
    request.set_limit(limit);
    v1::ListDestinationsResponse response;
    PH_RETURN_IF_ERROR(Ask(context, shard, &Stub::ListDestinations, request, &response));
    for (const v1::DestinationState& state : response.destinations()) {
      listing.Add(state, DestinationRow(state, absl::Now()));
    }
    more += response.more();
  }
  if (listing.size() == 0) {
    context.Report(context.arguments.Has("blocked") ? "no destination is blocked" : "no messages are waiting");
    return absl::OkStatus();
  }
  listing.Finish();
  if (more > 0) context.Report(absl::StrCat(more, " more destinations: a higher --limit lists them"));
  return absl::OkStatus();
}

absl::Status Stats(Context& context) {
  PH_RETURN_IF_ERROR(context.NeedQueue());
  Listing listing(context.json, context.out,
                  {"SHARD", "MESSAGES", "RECIPIENTS", "ACCEPTED", "DELIVERED", "RELAYED", "FAILED", "EXPIRED",
                   "DELETED", "OLDEST"});
  for (const std::string& shard : context.targets.queue) {
    v1::GetStatsResponse s;
    PH_RETURN_IF_ERROR(Ask(context, shard, &Stub::GetStats, v1::GetStatsRequest(), &s));
    std::vector<std::string> row = {shard};
    for (const uint64_t n :
         {s.items(), s.queued(), s.accepted(), s.delivered(), s.relayed(), s.failed(), s.expired(), s.deleted()}) {
      row.push_back(absl::StrCat(n));
    }
    row.push_back(s.items() == 0 ? "-" : FormatAge(FromProto(s.oldest())));
    listing.Add(s, std::move(row));
  }
  listing.Finish();
  return absl::OkStatus();
}

}  // namespace

Noun QueueCommands() {
  return {"queue",
          "messages that wait for delivery",
          {
              {{"queue list",
                {},
                "List the waiting messages, oldest first",
                {cli::Text("domain", "DOMAIN", "list only messages that wait for a recipient in this domain"),
                 cli::Text("sender", "ADDRESS", "list only messages with this reverse-path"),
                 cli::Count("limit", "N", "list at most N messages (default 100)")},
                {"posthousectl queue list --domain example.net"}},
               List},
              {{"queue show",
                {{"QUEUE-ID"}},
                "Show a message: its recipients, the attempts and the replies",
                {cli::Switch("header", "show its header fields, too")},
                {"posthousectl queue show 01HF7YAT3W0000000000000000 --header"}},
               Show},
              {{"queue retry",
                {{"QUEUE-ID", cli::Operand::Times::kOptional}},
                "Retry one message, all messages for a domain, or all that a restore holds, now",
                {cli::Text("domain", "DOMAIN", "retry all mail queued for this domain"),
                 cli::Switch("held", "retry all mail that is held after a restore")},
                {"posthousectl queue retry --domain example.net"}},
               Retry},
              {{"queue delete",
                {{"QUEUE-ID"}},
                "Delete a message: no further attempts",
                {cli::Switch("bounce", "send its sender a bounce")},
                {"posthousectl queue delete 01HF7YAT3W0000000000000000 --bounce"}},
               Delete},
              {{"queue destinations",
                {},
                "List the destinations that messages wait for, the most messages first",
                {cli::Switch("blocked", "list only destinations that cannot be reached"),
                 cli::Count("limit", "N", "list at most N destinations of each queue (default 100)")},
                {"posthousectl queue destinations --blocked"}},
               Destinations},
              {{"queue stats",
                {},
                "Show how many messages came in and what became of them",
                {},
                {"posthousectl queue stats --json"}},
               Stats},
          }};
}

}  // namespace posthouse::ctl
