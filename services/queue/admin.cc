#include "services/queue/admin.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/status/status.h"
#include "services/queue/dsn/report.h"
#include "services/queue/spool/item_record.h"
#include "services/queue/spool/queue_id.h"

namespace posthouse::queue {
namespace {

constexpr size_t kPage = 200;
constexpr size_t kPagesPerAnswer = 25;
constexpr uint64_t kHeaderBytes = 64 * 1024;
constexpr uint32_t kMaxFound = 1000;
// An answer stays under the 1 MiB of a unary message, except with a single larger item.
constexpr size_t kMaxAnswerBytes = 900 * 1024;

absl::StatusOr<QueueId> ToQueueId(const std::string& text) {
  const std::optional<QueueId> id = QueueId::FromText(text);
  if (!id.has_value()) return absl::InvalidArgumentError(absl::StrCat("queue_id: \"", text, "\" is not a queue id"));
  return *id;
}

absl::string_view DomainOf(absl::string_view address) {
  const size_t at = address.rfind('@');
  return at == absl::string_view::npos ? absl::string_view() : address.substr(at + 1);
}

bool IsListed(const v1::Item& item, const v1::ListItemsRequest& request) {
  if (!request.sender().empty() && !absl::EqualsIgnoreCase(item.envelope().reverse_path(), request.sender()))
    return false;
  if (request.domain().empty()) return true;
  return std::any_of(item.recipients().begin(), item.recipients().end(), [&](const v1::ItemRecipient& r) {
    return !IsSettled(r) && absl::EqualsIgnoreCase(DomainOf(r.recipient().address()), request.domain());
  });
}

bool Matches(const v1::Item& item, const v1::FindItemsRequest& request) {
  switch (request.by_case()) {
    case v1::FindItemsRequest::kMessageId: {
      // With or without its angle brackets.
      const absl::string_view wanted = request.message_id();
      return !wanted.empty() && (item.message_id() == wanted || item.message_id() == absl::StrCat("<", wanted, ">"));
    }
    case v1::FindItemsRequest::kAddress:
      if (absl::EqualsIgnoreCase(item.envelope().reverse_path(), request.address())) return true;
      return std::any_of(item.recipients().begin(), item.recipients().end(), [&](const v1::ItemRecipient& r) {
        return absl::EqualsIgnoreCase(r.recipient().address(), request.address()) ||
               absl::EqualsIgnoreCase(r.recipient().original(), request.address());
      });
    case v1::FindItemsRequest::kTraceId:
      return !request.trace_id().empty() && absl::StrContains(item.envelope().traceparent(), request.trace_id());
    default:
      return false;
  }
}

// The newest `limit` of them, newest first.
void KeepNewest(size_t limit, std::vector<v1::Item>* items) {
  std::sort(items->begin(), items->end(),
            [](const v1::Item& a, const v1::Item& b) { return a.queue_id() > b.queue_id(); });
  if (items->size() > limit) items->erase(items->begin() + static_cast<ptrdiff_t>(limit), items->end());
}

}  // namespace

Task<absl::StatusOr<v1::GetItemResponse>> Admin::GetItem(v1::GetItemRequest request) {
  PH_CO_ASSIGN_OR_RETURN(const QueueId id, ToQueueId(request.queue_id()));
  v1::GetItemResponse response;
  PH_CO_ASSIGN_OR_RETURN(std::optional<ItemRecord> record, co_await spool_.Load(id));
  if (!record.has_value()) {
    PH_CO_ASSIGN_OR_RETURN(record, co_await spool_.LoadDone(id));
    if (!record.has_value()) co_return absl::NotFoundError(absl::StrCat("no message ", request.queue_id()));
    response.set_done(true);
  } else {
    const absl::StatusOr<absl::Cord> bytes = co_await spool_.ReadBody(id, record->item.blob(), 0, kHeaderBytes);
    if (bytes.ok()) {
      const std::string front(*bytes);
      response.set_header(std::string(dsn::HeaderOf(front)));
    }
  }
  *response.mutable_item() = std::move(record->item);
  co_return response;
}

Task<absl::StatusOr<v1::ListItemsResponse>> Admin::ListItems(v1::ListItemsRequest request) {
  std::string after = request.page().page_token();
  if (!after.empty() && !QueueId::FromText(after).has_value()) {
    co_return absl::InvalidArgumentError("page.page_token: not a token of ListItems");
  }
  const uint32_t wanted = request.page().page_size() == 0 ? 100 : std::min<uint32_t>(request.page().page_size(), 1000);
  v1::ListItemsResponse response;
  size_t bytes = 0;
  for (size_t pages = 0; pages < kPagesPerAnswer; ++pages) {
    PH_CO_ASSIGN_OR_RETURN(ItemPage page, co_await spool_.ReadItems(/*done=*/false, after, kPage));
    for (ItemRecord& record : page.items) {
      if (!IsListed(record.item, request)) continue;
      after = record.item.queue_id();
      bytes += record.item.ByteSizeLong();
      *response.add_items() = std::move(record.item);
      if (static_cast<uint32_t>(response.items_size()) < wanted && bytes < kMaxAnswerBytes) continue;
      response.mutable_page()->set_next_page_token(after);
      co_return response;
    }
    if (!page.more) co_return response;
    after = page.last_id;
  }
  response.mutable_page()->set_next_page_token(after);
  co_return response;
}

Task<absl::Status> Admin::FindBetween(bool done, std::string after, QueueId end, size_t limit,
                                      const v1::FindItemsRequest& request, std::vector<v1::Item>* found) {
  while (true) {
    PH_CO_ASSIGN_OR_RETURN(ItemPage page, co_await spool_.ReadItems(done, after, kPage));
    for (ItemRecord& record : page.items) {
      if (!end.empty() && record.queue_id() > end) co_return absl::OkStatus();
      if (Matches(record.item, request)) found->push_back(std::move(record.item));
    }
    // Bounds memory when very many messages match.
    if (found->size() > 2 * limit + kPage) KeepNewest(limit, found);
    if (!page.more) co_return absl::OkStatus();
    after = page.last_id;
  }
}

Task<absl::StatusOr<v1::FindItemsResponse>> Admin::FindItems(v1::FindItemsRequest request) {
  v1::FindItemsResponse response;
  if (request.by_case() == v1::FindItemsRequest::kQueueId) {
    v1::GetItemRequest get;
    get.set_queue_id(request.queue_id());
    absl::StatusOr<v1::GetItemResponse> item = co_await GetItem(std::move(get));
    if (item.ok()) *response.add_items() = std::move(*item->mutable_item());
    if (!item.ok() && !absl::IsNotFound(item.status())) co_return item.status();
    co_return response;
  }
  if (request.by_case() == v1::FindItemsRequest::BY_NOT_SET)
    co_return absl::InvalidArgumentError("FindItems: one of queue_id, message_id, address, trace_id is required");
  const size_t limit = std::min(request.limit() == 0 ? 20 : request.limit(), kMaxFound);
  // Backwards in time by growing steps: operators mostly ask for recent messages.
  std::vector<v1::Item> found;
  QueueId end;
  for (const absl::Duration back : {absl::Minutes(10), absl::Hours(2), absl::Hours(24), absl::InfiniteDuration()}) {
    const QueueId start = back == absl::InfiniteDuration() ? QueueId() : FirstQueueIdAt(clock_() - back);
    std::vector<v1::Item> step;
    for (const bool done : {false, true}) {
      PH_CO_RETURN_IF_ERROR(co_await FindBetween(done, start.Text(), end, limit, request, &step));
    }
    KeepNewest(limit, &step);
    std::move(step.begin(), step.end(), std::back_inserter(found));
    if (found.size() >= limit) break;
    end = start;
  }
  size_t bytes = 0;
  for (size_t i = 0; i < std::min(found.size(), limit) && bytes < kMaxAnswerBytes; ++i) {
    bytes += found[i].ByteSizeLong();
    *response.add_items() = std::move(found[i]);
  }
  co_return response;
}

Task<absl::StatusOr<v1::RetryItemsResponse>> Admin::RetryItems(v1::RetryItemsRequest request) {
  v1::RetryItemsResponse response;
  if (request.queue_id().empty() == request.domain().empty()) {
    co_return absl::InvalidArgumentError("RetryItems: exactly one of queue_id, domain is required");
  }
  if (!request.domain().empty()) {
    // Destinations are lower-case A-labels.
    const std::string domain = absl::AsciiStrToLower(request.domain());
    PH_CO_ASSIGN_OR_RETURN(const uint32_t items, co_await operations_.RetryDestination(domain));
    response.set_items(items);
    co_return response;
  }
  PH_CO_ASSIGN_OR_RETURN(const QueueId id, ToQueueId(request.queue_id()));
  PH_CO_RETURN_IF_ERROR(co_await operations_.Retry(id));
  response.set_items(1);
  co_return response;
}

Task<absl::StatusOr<v1::DeleteItemResponse>> Admin::DeleteItem(v1::DeleteItemRequest request) {
  PH_CO_ASSIGN_OR_RETURN(const QueueId id, ToQueueId(request.queue_id()));
  PH_CO_RETURN_IF_ERROR(co_await operations_.Delete(id, request.bounce()));
  co_return v1::DeleteItemResponse();
}

Task<absl::StatusOr<v1::GetStatsResponse>> Admin::GetStats(v1::GetStatsRequest) {
  const Ledger ledger = spool_.ledger();
  v1::GetStatsResponse response;
  response.set_accepted(ledger.accepted);
  response.set_delivered(ledger.delivered);
  response.set_relayed(ledger.relayed);
  response.set_failed(ledger.failed);
  response.set_expired(ledger.expired);
  response.set_deleted(ledger.deleted);
  response.set_queued(ledger.queued());
  response.set_items(ledger.items);
  ToProto(oldest_(), response.mutable_oldest());
  co_return response;
}

}  // namespace posthouse::queue
