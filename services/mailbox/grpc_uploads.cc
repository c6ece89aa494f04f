#include "services/mailbox/grpc_uploads.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/rpc/streaming.h"
#include "services/common/status/status.h"
#include "services/mailbox/message/body_receiver.h"
#include "services/mailbox/message/delivery.h"
#include "services/mailbox/message/mailbox_proto.h"
#include "services/mailbox/message/quota_append.h"
#include "services/mailbox/rows/key_schema.h"

namespace posthouse::mailbox {
namespace {

constexpr int kMaxTargets = 1000;

// The data of either stream until its commit. The first piece, and the commit, may have come
// with the header.
template <typename Request, typename Response>
Task<absl::StatusOr<ReceivedMessage>> ReceiveBody(rpc::ReaderCall<Request, Response>& call, BodyReceiver& receiver,
                                                  std::string first_piece, bool committed) {
  uint64_t expected = 0;
  if (!first_piece.empty()) PH_CO_RETURN_IF_ERROR(co_await receiver.Add(std::move(first_piece)));
  while (!committed) {
    PH_CO_ASSIGN_OR_RETURN(std::optional<Request> next, co_await call.Read());
    if (!next.has_value()) co_return absl::CancelledError("the stream ended without commit");
    if (next->has_data()) {
      PH_CO_RETURN_IF_ERROR(co_await receiver.Add(std::move(*next->mutable_data())));
    } else if (next->has_commit()) {
      expected = next->commit().size_bytes();
      committed = true;
    } else {
      co_return absl::InvalidArgumentError("the stream has a second header");
    }
  }
  co_return co_await receiver.Finish(expected);
}

std::vector<TenantId> TenantsOf(const v1::DeliverRequest::Header& header) {
  std::vector<TenantId> tenants;
  for (const v1::DeliveryTarget& t : header.targets()) {
    TenantId tenant(t.account().tenant());
    if (std::find(tenants.begin(), tenants.end(), tenant) == tenants.end()) tenants.push_back(std::move(tenant));
  }
  return tenants;
}

Task<absl::Status> AppendOne(MailboxDeps& deps, Mailboxes& mailboxes,
                             rpc::ReaderCall<v1::AppendRequest, v1::AppendResponse>& call) {
  PH_CO_ASSIGN_OR_RETURN(std::optional<v1::AppendRequest> first, co_await call.Read());
  if (!first.has_value() || !first->has_header())
    co_return absl::InvalidArgumentError("the first message of an append is its header");
  v1::AppendRequest::Header header = std::move(*first->mutable_header());
  if (header.operation_id().size() > kMaxOperationIdBytes) {
    co_return absl::InvalidArgumentError("operation_id: at most 64 bytes");
  }
  PH_CO_ASSIGN_OR_RETURN(std::vector<std::string> keywords, CheckKeywords(header.keywords()));
  // Before the body is read, so that a missing folder costs no transfer.
  PH_CO_ASSIGN_OR_RETURN(
      const std::shared_ptr<Account> account,
      co_await mailboxes.OpenAccount(TenantId(header.account().tenant()), AccountId(header.account().account_id()),
                                     header.account().placement_epoch()));
  PH_CO_ASSIGN_OR_RETURN(const std::shared_ptr<Folder> folder,
                         co_await mailboxes.OpenFolder(account, FolderId(header.folder_id())));
  if (header.ask()) {
    PH_CO_ASSIGN_OR_RETURN(const std::optional<Uid> stored,
                           co_await folder->FindStoredUid(OperationKey(header.operation_id())));
    PH_CO_ASSIGN_OR_RETURN(const FolderSnapshot state, co_await folder->Snapshot());
    call.response().set_uid_validity(state.head.uid_validity.value());
    call.response().set_uid(stored.value_or(Uid()).value());
    ToProto(state, deps.settings.keywords_per_folder, call.response().mutable_state());
    co_return absl::OkStatus();
  }
  BodyReceiver receiver(deps, {TenantId(header.account().tenant())});
  std::string first_piece = std::move(*header.mutable_data());
  PH_CO_ASSIGN_OR_RETURN(const ReceivedMessage received,
                         co_await ReceiveBody(call, receiver, std::move(first_piece), header.commit()));
  NewMessage message = MessageOf(received);
  message.flags = header.flags() & kAllFlags;
  message.keywords = std::move(keywords);
  message.internal_date =
      header.has_internal_date() ? header.internal_date().seconds() : absl::ToUnixSeconds(deps.clock());
  message.zone = header.internal_date_zone();
  if (!header.operation_id().empty()) message.dedupe_key = OperationKey(header.operation_id());
  const AppendOutcome stored =
      co_await AppendWithinQuota(mailboxes, account, folder, mailboxes.QuotaOf(header.account()), std::move(message));
  const bool unused = stored.result.ok() ? stored.result->duplicate : !stored.tried;
  if (unused) co_await receiver.Discard();
  PH_CO_RETURN_IF_ERROR(stored.result.status());
  (stored.result->duplicate ? deps.metrics.append_duplicates : deps.metrics.appends).Add();
  PH_CO_ASSIGN_OR_RETURN(const FolderSnapshot state, co_await folder->Snapshot());
  call.response().set_uid_validity(state.head.uid_validity.value());
  call.response().set_uid(stored.result->uid.value());
  ToProto(state, deps.settings.keywords_per_folder, call.response().mutable_state());
  co_return absl::OkStatus();
}

}  // namespace

Task<absl::Status> ReceiveDelivery(MailboxDeps& deps, Mailboxes& mailboxes,
                                   rpc::ReaderCall<v1::DeliverRequest, v1::DeliverResponse>& call) {
  PH_CO_ASSIGN_OR_RETURN(std::optional<v1::DeliverRequest> first, co_await call.Read());
  if (!first.has_value() || !first->has_header())
    co_return absl::InvalidArgumentError("the first message of a delivery is its header");
  v1::DeliverRequest::Header header = std::move(*first->mutable_header());
  if (header.targets().empty() || header.targets_size() > kMaxTargets) {
    co_return absl::InvalidArgumentError("targets: 1 to 1000");
  }
  BodyReceiver receiver(deps, TenantsOf(header));
  std::string first_piece = std::move(*header.mutable_data());
  const absl::StatusOr<ReceivedMessage> message =
      co_await ReceiveBody(call, receiver, std::move(first_piece), header.commit());
  if (!message.ok() && !receiver.too_large()) co_return message.status();
  if (!message.ok()) {
    for (int i = 0; i < header.targets_size(); ++i) {
      v1::DeliveryOutcome* outcome = call.response().add_outcomes();
      outcome->set_kind(v1::DeliveryOutcome::KIND_TOO_LARGE);
      outcome->set_detail("message too large");
      deps.metrics.Deliveries(DeliveryResult::kTooLarge).Add();
    }
    co_return absl::OkStatus();
  }
  // What follows is a part of this call.
  if (!call.info().parent_span.empty()) header.set_traceparent(call.info().trace.ToHeader());
  const bool named = co_await DeliverToAll(deps, mailboxes, header, *message, &call.response());
  if (!named) co_await receiver.Discard();
  co_return absl::OkStatus();
}

Task<absl::Status> ReceiveAppend(MailboxDeps& deps, Mailboxes& mailboxes,
                                 rpc::ReaderCall<v1::AppendRequest, v1::AppendResponse>& call) {
  const absl::Status status = co_await AppendOne(deps, mailboxes, call);
  if (!status.ok()) deps.metrics.append_failures.Add();
  co_return status;
}

}  // namespace posthouse::mailbox
