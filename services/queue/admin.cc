#include "services/queue/admin.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/status/status.h"
#include "services/common/time/proto_time.h"
#include "services/mail_formats/address/address.h"
#include "services/queue/dsn/report.h"
#include "services/queue/spool/hold.h"
#include "services/queue/spool/item_record.h"
#include "services/queue/spool/key_schema.h"
#include "services/queue/spool/queue_id.h"

namespace posthouse::queue {
namespace {

constexpr size_t kPage = 200;
constexpr size_t kPagesPerAnswer = 25;
constexpr uint64_t kHeaderBytes = 64 * 1024;
constexpr uint32_t kMaxFound = 1000;
constexpr size_t kDuePage = 1000;
constexpr int kDomainsShown = 10;
constexpr uint32_t kDestinations = 100;
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

// A domain as operators write it, in the form of addresses and destinations: a lower-case A-label. Address literals
// and what is no domain stay as they are.
std::string DomainKey(absl::string_view domain) {
  absl::StatusOr<std::string> name = NormalizeDomain(domain);
  return name.ok() ? *std::move(name) : absl::AsciiStrToLower(domain);
}

// `domain`: a DomainKey().
bool IsListed(const v1::Item& item, const v1::ListItemsRequest& request, const std::string& domain) {
  if (!request.sender().empty() && !absl::EqualsIgnoreCase(item.envelope().reverse_path(), request.sender()))
    return false;
  if (domain.empty()) return true;
  return std::any_of(item.recipients().begin(), item.recipients().end(), [&](const v1::ItemRecipient& r) {
    if (IsSettled(r)) return false;
    const absl::string_view own = DomainOf(r.recipient().address());
    if (absl::EqualsIgnoreCase(own, domain) || DestinationOf(r) == Destination::Remote(domain)) return true;
    const bool ascii = std::all_of(own.begin(), own.end(), [](char c) { return absl::ascii_isascii(c); });
    return !ascii && DomainKey(own) == domain;
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

v1::Block BlockOf(const DestinationScheduler::SiteState& state) {
  v1::Block block;
  block.set_destination(state.site.ToString());
  ToProto(state.failing_since, block.mutable_since());
  ToProto(state.blocked_until, block.mutable_until());
  block.set_failures(static_cast<uint32_t>(state.failures));
  *block.mutable_last() = state.last_failure;
  return block;
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
  if (!response.done()) MarkBlocked(Blocks(), response.mutable_item());
  co_return response;
}

Task<absl::StatusOr<v1::ListItemsResponse>> Admin::ListItems(v1::ListItemsRequest request) {
  std::string after = request.page().page_token();
  if (!after.empty() && !QueueId::FromText(after).has_value()) {
    co_return absl::InvalidArgumentError("page.page_token: not a token of ListItems");
  }
  const uint32_t wanted = request.page().page_size() == 0 ? 100 : std::min<uint32_t>(request.page().page_size(), 1000);
  v1::ListItemsResponse response;
  const absl::flat_hash_map<Destination, v1::Block> blocks = Blocks();
  const std::string domain = request.domain().empty() ? "" : DomainKey(request.domain());
  size_t bytes = 0;
  for (size_t pages = 0; pages < kPagesPerAnswer; ++pages) {
    PH_CO_ASSIGN_OR_RETURN(ItemPage page, co_await spool_.ReadItems(/*done=*/false, after, kPage));
    for (ItemRecord& record : page.items) {
      if (!IsListed(record.item, request, domain)) continue;
      after = record.item.queue_id();
      MarkBlocked(blocks, &record.item);
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
  if (!request.queue_id().empty() + !request.domain().empty() + request.held() != 1) {
    co_return absl::InvalidArgumentError("RetryItems: exactly one of queue_id, domain, held is required");
  }
  if (request.held()) {
    PH_CO_ASSIGN_OR_RETURN(const uint32_t items, co_await RetryHeld());
    response.set_items(items);
    co_return response;
  }
  if (!request.domain().empty()) {
    PH_CO_ASSIGN_OR_RETURN(const uint32_t items, co_await operations_.RetryDestination(DomainKey(request.domain())));
    response.set_items(items);
    co_return response;
  }
  PH_CO_ASSIGN_OR_RETURN(const QueueId id, ToQueueId(request.queue_id()));
  PH_CO_RETURN_IF_ERROR(co_await operations_.Retry(id));
  response.set_items(1);
  co_return response;
}

// All rows of held messages are at the end of the due index.
Task<absl::StatusOr<uint32_t>> Admin::RetryHeld() {
  uint32_t items = 0;
  std::string after = DueKey(kHeldUntil - absl::Microseconds(1), QueueId());
  while (true) {
    PH_CO_ASSIGN_OR_RETURN(const DuePage page, co_await spool_.ReadDue(after, kDuePage));
    for (const DueEntry& entry : page.entries) {
      if (entry.due < kHeldUntil) continue;
      const absl::Status status = co_await operations_.Retry(entry.queue_id);
      if (absl::IsNotFound(status)) continue;  // deleted meanwhile
      PH_CO_RETURN_IF_ERROR(status);
      ++items;
    }
    if (!page.more) co_return items;
    after = page.last_key;
  }
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

// ---- destinations

absl::flat_hash_map<Destination, v1::Block> Admin::Blocks() {
  absl::flat_hash_map<Destination, v1::Block> blocks;
  const absl::Time now = clock_();
  for (const DestinationScheduler::SiteState& state : operations_.Destinations()) {
    if (state.blocked_until > now) blocks[state.site] = BlockOf(state);
  }
  return blocks;
}

void Admin::MarkBlocked(const absl::flat_hash_map<Destination, v1::Block>& blocks, v1::Item* item) {
  if (blocks.empty()) return;
  for (v1::ItemRecipient& recipient : *item->mutable_recipients()) {
    if (!IsWaiting(recipient)) continue;
    const auto block = blocks.find(operations_.SiteFor(DestinationOf(recipient)));
    if (block != blocks.end()) *recipient.mutable_blocked() = block->second;
  }
}

Task<absl::StatusOr<v1::ListDestinationsResponse>> Admin::ListDestinations(v1::ListDestinationsRequest request) {
  std::map<Destination, v1::DestinationState> states;
  const auto count = [&](const Destination& destination) {
    v1::DestinationState& state = states[operations_.SiteFor(destination)];
    state.set_waiting(state.waiting() + 1);
    if (!destination.remote() || state.domains_size() >= kDomainsShown) return;
    const std::string name(destination.name());
    if (std::find(state.domains().begin(), state.domains().end(), name) == state.domains().end()) {
      state.add_domains(name);
    }
  };
  std::string after;
  while (true) {
    PH_CO_ASSIGN_OR_RETURN(DuePage page, co_await spool_.ReadDue(after, kDuePage));
    for (const DueEntry& entry : page.entries) {
      if (entry.destination.resolved()) {
        count(entry.destination);
        continue;
      }
      // Several destinations, or none yet: the item has them.
      const absl::StatusOr<std::optional<ItemRecord>> record = co_await spool_.Load(entry.queue_id);
      if (!record.ok() || !record->has_value()) continue;
      std::set<Destination> destinations;
      for (const v1::ItemRecipient& r : (*record)->item.recipients()) {
        if (IsWaiting(r)) destinations.insert(DestinationOf(r));
      }
      for (const Destination& destination : destinations) count(destination);
    }
    if (!page.more) break;
    after = page.last_key;
  }
  const absl::Time now = clock_();
  for (const DestinationScheduler::SiteState& known : operations_.Destinations()) {
    v1::DestinationState& state = states[known.site];
    state.set_in_progress(static_cast<uint32_t>(known.running));
    state.set_limit(static_cast<uint32_t>(known.limit));
    if (known.blocked_until > now) *state.mutable_blocked() = BlockOf(known);
  }
  std::vector<v1::DestinationState> sorted;
  for (auto& [site, state] : states) {
    state.set_destination(site.ToString());
    if (!request.blocked() || state.has_blocked()) sorted.push_back(std::move(state));
  }
  std::sort(sorted.begin(), sorted.end(), [](const v1::DestinationState& a, const v1::DestinationState& b) {
    return std::make_pair(b.waiting(), a.destination()) < std::make_pair(a.waiting(), b.destination());
  });
  v1::ListDestinationsResponse response;
  const size_t limit = std::min(request.limit() == 0 ? kDestinations : request.limit(), kMaxFound);
  for (size_t i = 0; i < std::min(limit, sorted.size()); ++i) *response.add_destinations() = std::move(sorted[i]);
  response.set_more(sorted.size() - static_cast<size_t>(response.destinations_size()));
  co_return response;
}

}  // namespace posthouse::queue
