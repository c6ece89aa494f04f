#include "services/mailbox/rpc_service.h"

#include <utility>

#include "posthouse/mailbox/v1/mailbox.grpc.pb.h"
#include "services/common/log/log.h"
#include "services/common/rpc/streaming.h"
#include "services/common/status/status.h"
#include "services/common/uid_set/uid_set_proto.h"
#include "services/mailbox/folder/mover.h"
#include "services/mailbox/folder/tree_ops.h"
#include "services/mailbox/message/convert.h"
#include "services/mailbox/message/delivery.h"
#include "services/mailbox/message/fetch.h"
#include "services/mailbox/message/intake.h"
#include "services/mailbox/search/search.h"

namespace posthouse::mailbox {
namespace {

constexpr uint32_t kAllFlags = v1::FLAG_SEEN | v1::FLAG_ANSWERED | v1::FLAG_FLAGGED | v1::FLAG_DELETED | v1::FLAG_DRAFT;
constexpr size_t kMaxKeywordBytes = 255;
constexpr int kMaxKeywords = 1000;
constexpr int kMaxTargets = 1000;
constexpr absl::Duration kHeartbeat = absl::Seconds(15);
constexpr size_t kMaxHints = 1000;  // of one message

using AccountPtr = std::shared_ptr<Account>;
using FolderPtr = std::shared_ptr<Folder>;

absl::StatusOr<std::vector<std::string>> Keywords(const google::protobuf::RepeatedPtrField<std::string>& in) {
  if (in.size() > kMaxKeywords) return absl::InvalidArgumentError("too many keywords");
  for (const std::string& keyword : in) {
    if (keyword.empty() || keyword.size() > kMaxKeywordBytes) return absl::InvalidArgumentError("bad keyword");
  }
  return std::vector<std::string>(in.begin(), in.end());
}

template <typename Request, typename Response>
using Unary = rpc::UnaryCall<Request, Response>;

// Handlers are coroutines; `call` lives until they return.
class MailboxRpc final : public v1::MailboxService::CallbackService {
 public:
  MailboxRpc(Context& context, Mailboxes& mailboxes, rpc::ServerRunner& runner, Executor& pool)
      : context_(context), mailboxes_(mailboxes), runner_(runner), pool_(pool) {}

// One adapter a unary method: Foo() starts DoFoo().
#define POSTHOUSE_MAILBOX_UNARY(Method)                                                                      \
  grpc::ServerUnaryReactor* Method(grpc::CallbackServerContext* context, const v1::Method##Request* request, \
                                   v1::Method##Response* response) override {                                \
    return rpc::Unary(runner_, context, request, response, [this](auto& call) { return Do##Method(call); }); \
  }
  POSTHOUSE_MAILBOX_UNARY(ListFolders)
  POSTHOUSE_MAILBOX_UNARY(CreateFolder)
  POSTHOUSE_MAILBOX_UNARY(DeleteFolder)
  POSTHOUSE_MAILBOX_UNARY(RenameFolder)
  POSTHOUSE_MAILBOX_UNARY(Subscribe)
  POSTHOUSE_MAILBOX_UNARY(GetFolder)
  POSTHOUSE_MAILBOX_UNARY(ListUids)
  POSTHOUSE_MAILBOX_UNARY(Search)
  POSTHOUSE_MAILBOX_UNARY(StoreFlags)
  POSTHOUSE_MAILBOX_UNARY(Expunge)
  POSTHOUSE_MAILBOX_UNARY(Copy)
  POSTHOUSE_MAILBOX_UNARY(GetChanges)
  POSTHOUSE_MAILBOX_UNARY(GetUsage)
#undef POSTHOUSE_MAILBOX_UNARY

  grpc::ServerReadReactor<v1::DeliverRequest>* Deliver(grpc::CallbackServerContext* context,
                                                       v1::DeliverResponse* response) override {
    return rpc::ClientStreaming<v1::DeliverRequest>(runner_, context, response,
                                                    [this](auto& call) { return DoDeliver(call); });
  }
  grpc::ServerReadReactor<v1::AppendRequest>* Append(grpc::CallbackServerContext* context,
                                                     v1::AppendResponse* response) override {
    return rpc::ClientStreaming<v1::AppendRequest>(runner_, context, response,
                                                   [this](auto& call) { return DoAppend(call); });
  }
  grpc::ServerWriteReactor<v1::FetchResponse>* Fetch(grpc::CallbackServerContext* context,
                                                     const v1::FetchRequest* request) override {
    return rpc::ServerStreaming<v1::FetchResponse>(runner_, context, request,
                                                   [this](auto& call) { return DoFetch(call); });
  }
  grpc::ServerWriteReactor<v1::WatchResponse>* Watch(grpc::CallbackServerContext* context,
                                                     const v1::WatchRequest* request) override {
    return rpc::ServerStreaming<v1::WatchResponse>(runner_, context, request,
                                                   [this](auto& call) { return DoWatch(call); });
  }

 private:
  Task<absl::StatusOr<AccountPtr>> OpenAccount(const common::v1::AccountRef& ref) {
    return mailboxes_.OpenAccount(ref.tenant(), ref.account_id());
  }
  Task<absl::StatusOr<FolderPtr>> OpenFolder(const common::v1::AccountRef& ref, const std::string& folder_id) {
    PH_CO_ASSIGN_OR_RETURN(AccountPtr account, co_await OpenAccount(ref));
    co_return co_await mailboxes_.OpenFolder(std::move(account), folder_id);
  }
  void SetState(const FolderSnapshot& state, v1::FolderState* out) const {
    ToProto(state, context_.settings.keywords_per_folder, out);
  }
  // Adds the state of a folder that has one.
  Task<absl::Status> FillFolder(AccountPtr account, const FolderInfo& info, v1::Folder* out) {
    ToProto(info, out);
    if (info.folder_id.empty()) co_return absl::OkStatus();
    PH_CO_ASSIGN_OR_RETURN(const FolderPtr folder, co_await mailboxes_.OpenFolder(account, info.folder_id));
    PH_CO_ASSIGN_OR_RETURN(const FolderSnapshot state, co_await folder->Snapshot());
    SetState(state, out->mutable_state());
    co_return absl::OkStatus();
  }

  // ---- folders

  Task<absl::Status> DoListFolders(Unary<v1::ListFoldersRequest, v1::ListFoldersResponse>& call) {
    PH_CO_ASSIGN_OR_RETURN(const AccountPtr account, co_await OpenAccount(call.request().account()));
    for (const FolderInfo& info : account->List()) {
      v1::Folder* out = call.response().add_folders();
      if (!call.request().with_state()) {
        ToProto(info, out);
        continue;
      }
      const absl::Status filled = co_await FillFolder(account, info, out);
      if (absl::IsNotFound(filled)) {
        call.response().mutable_folders()->RemoveLast();  // deleted just now
        continue;
      }
      PH_CO_RETURN_IF_ERROR(filled);
      out->mutable_state()->clear_keywords();  // thousands of folders may have hundreds each
    }
    for (const std::string& name : account->SubscribedOnly()) call.response().add_subscribed_only(name);
    co_return absl::OkStatus();
  }

  Task<absl::Status> DoCreateFolder(Unary<v1::CreateFolderRequest, v1::CreateFolderResponse>& call) {
    const v1::CreateFolderRequest& request = call.request();
    PH_CO_ASSIGN_OR_RETURN(const AccountPtr account, co_await OpenAccount(request.account()));
    PH_CO_ASSIGN_OR_RETURN(const FolderInfo info, co_await account->Create(request.name(), request.special_use()));
    co_return co_await FillFolder(account, info, call.response().mutable_folder());
  }

  Task<absl::Status> DoDeleteFolder(Unary<v1::DeleteFolderRequest, v1::DeleteFolderResponse>& call) {
    PH_CO_ASSIGN_OR_RETURN(const AccountPtr account, co_await OpenAccount(call.request().account()));
    co_return co_await mailbox::DeleteFolder(mailboxes_, account, call.request().name());
  }

  Task<absl::Status> DoRenameFolder(Unary<v1::RenameFolderRequest, v1::RenameFolderResponse>& call) {
    const v1::RenameFolderRequest& request = call.request();
    PH_CO_ASSIGN_OR_RETURN(const AccountPtr account, co_await OpenAccount(request.account()));
    PH_CO_ASSIGN_OR_RETURN(const FolderInfo info,
                           co_await mailbox::RenameFolder(context_, mailboxes_, account, request.from(), request.to()));
    co_return co_await FillFolder(account, info, call.response().mutable_folder());
  }

  Task<absl::Status> DoSubscribe(Unary<v1::SubscribeRequest, v1::SubscribeResponse>& call) {
    PH_CO_ASSIGN_OR_RETURN(const AccountPtr account, co_await OpenAccount(call.request().account()));
    co_return co_await account->Subscribe(call.request().name(), call.request().subscribed());
  }

  Task<absl::Status> DoGetFolder(Unary<v1::GetFolderRequest, v1::GetFolderResponse>& call) {
    const v1::GetFolderRequest& request = call.request();
    PH_CO_ASSIGN_OR_RETURN(const AccountPtr account, co_await OpenAccount(request.account()));
    PH_CO_ASSIGN_OR_RETURN(const FolderInfo info, request.has_folder_id() ? account->FindById(request.folder_id())
                                                                          : account->FindByName(request.name()));
    co_return co_await FillFolder(account, info, call.response().mutable_folder());
  }

  Task<absl::Status> DoListUids(Unary<v1::ListUidsRequest, v1::ListUidsResponse>& call) {
    PH_CO_ASSIGN_OR_RETURN(const FolderPtr folder,
                           co_await OpenFolder(call.request().account(), call.request().folder_id()));
    PH_CO_ASSIGN_OR_RETURN(const std::shared_ptr<const UidsView> view, co_await folder->Uids());
    SetState(view->state, call.response().mutable_state());
    call.response().set_more(ToProto(view->uids, call.request().after_uid(), call.response().mutable_uids()));
    call.response().set_first_unseen_uid(view->first_unseen);
    co_return absl::OkStatus();
  }

  // ---- adding

  Task<absl::Status> DoDeliver(rpc::ReaderCall<v1::DeliverRequest, v1::DeliverResponse>& call) {
    PH_CO_ASSIGN_OR_RETURN(std::optional<v1::DeliverRequest> first, co_await call.Read());
    if (!first.has_value() || !first->has_header())
      co_return absl::InvalidArgumentError("a delivery starts with header");
    v1::DeliverRequest::Header header = std::move(*first->mutable_header());
    if (header.targets().empty() || header.targets_size() > kMaxTargets) {
      co_return absl::InvalidArgumentError("a delivery needs 1 to 1000 targets");
    }
    std::vector<std::string> tenants;
    for (const v1::DeliveryTarget& t : header.targets()) {
      if (std::find(tenants.begin(), tenants.end(), t.account().tenant()) == tenants.end()) {
        tenants.push_back(t.account().tenant());
      }
    }
    Intake intake(context_, std::move(tenants));
    std::string inlined = std::move(*header.mutable_data());
    const absl::StatusOr<TakenMessage> message = co_await TakeBody(call, intake, std::move(inlined), header.commit());
    if (!message.ok() && !intake.too_large()) co_return message.status();
    if (!message.ok()) {
      for (int i = 0; i < header.targets_size(); ++i) {
        v1::DeliveryOutcome* outcome = call.response().add_outcomes();
        outcome->set_kind(v1::DeliveryOutcome::KIND_TOO_LARGE);
        outcome->set_detail("message too large");
        context_.metrics.Deliveries(DeliveryResult::kTooLarge).Add();
      }
      co_return absl::OkStatus();
    }
    const bool named = co_await DeliverToAll(context_, mailboxes_, header, *message, &call.response());
    if (!named) co_await intake.Discard();
    co_return absl::OkStatus();
  }

  // Data until commit, for both streams. The first piece may have come with the header.
  template <typename Request, typename Response>
  Task<absl::StatusOr<TakenMessage>> TakeBody(rpc::ReaderCall<Request, Response>& call, Intake& intake,
                                              std::string inlined, bool committed) {
    uint64_t expected = 0;
    if (!inlined.empty()) PH_CO_RETURN_IF_ERROR(co_await intake.Add(std::move(inlined)));
    while (!committed) {
      PH_CO_ASSIGN_OR_RETURN(std::optional<Request> next, co_await call.Read());
      if (!next.has_value()) co_return absl::CancelledError("the stream ended without commit");
      if (next->has_data()) {
        PH_CO_RETURN_IF_ERROR(co_await intake.Add(std::move(*next->mutable_data())));
      } else if (next->has_commit()) {
        expected = next->commit().size_bytes();
        committed = true;
      } else {
        co_return absl::InvalidArgumentError("a second header");
      }
    }
    co_return co_await intake.Finish(expected);
  }

  Task<absl::Status> DoAppend(rpc::ReaderCall<v1::AppendRequest, v1::AppendResponse>& call) {
    const absl::Status status = co_await AppendOne(call);
    if (!status.ok()) context_.metrics.append_failures.Add();
    co_return status;
  }

  Task<absl::Status> AppendOne(rpc::ReaderCall<v1::AppendRequest, v1::AppendResponse>& call) {
    PH_CO_ASSIGN_OR_RETURN(std::optional<v1::AppendRequest> first, co_await call.Read());
    if (!first.has_value() || !first->has_header())
      co_return absl::InvalidArgumentError("an append starts with header");
    v1::AppendRequest::Header header = std::move(*first->mutable_header());
    if (header.operation_id().size() > kMaxOperationIdBytes)
      co_return absl::InvalidArgumentError("operation_id too long");
    NewMessage add;
    PH_CO_ASSIGN_OR_RETURN(add.keywords, Keywords(header.keywords()));
    // Before the body is read, so that a missing folder costs no transfer.
    PH_CO_ASSIGN_OR_RETURN(const AccountPtr account, co_await OpenAccount(header.account()));
    PH_CO_ASSIGN_OR_RETURN(const FolderPtr folder, co_await mailboxes_.OpenFolder(account, header.folder_id()));
    Intake intake(context_, {header.account().tenant()});
    std::string inlined = std::move(*header.mutable_data());
    PH_CO_ASSIGN_OR_RETURN(const TakenMessage message,
                           co_await TakeBody(call, intake, std::move(inlined), header.commit()));
    add.flags = header.flags() & kAllFlags;
    add.internal_date =
        header.has_internal_date() ? header.internal_date().seconds() : absl::ToUnixSeconds(context_.clock());
    add.zone = header.internal_date_zone();
    add.size_bytes = message.size_bytes;
    add.blob = message.blob;
    add.thread_id = message.cached->thread_id;
    if (!header.operation_id().empty()) add.done_key = OperationKey(header.operation_id());
    add.cached = message.cached;
    bool tried = false;
    const absl::StatusOr<AppendResult> stored =
        co_await AppendWithin(mailboxes_.QuotaOf(header.account()), account, folder, std::move(add), tried);
    if (!stored.ok()) {
      // After a try a row may name the body, whatever the error is: an open commit may
      // still come true when a full disk has room again.
      if (!tried) co_await intake.Discard();
      co_return stored.status();
    }
    (stored->duplicate ? context_.metrics.append_duplicates : context_.metrics.appends).Add();
    if (stored->duplicate) co_await intake.Discard();
    call.response().set_uid_validity(stored->state.head.uid_validity);
    call.response().set_uid(stored->uid);
    SetState(stored->state, call.response().mutable_state());
    co_return absl::OkStatus();
  }

  // `tried` is set when a commit may have been tried.
  Task<absl::StatusOr<AppendResult>> AppendWithin(Quota quota, AccountPtr account, FolderPtr folder, NewMessage add,
                                                  bool& tried) {
    if (quota.limited()) PH_CO_RETURN_IF_ERROR(co_await mailboxes_.CountUsage(account));
    const Usage::Reservation room = account->usage()->Reserve({static_cast<int64_t>(add.size_bytes), 1}, quota);
    if (!room.ok()) {
      if (!add.done_key.empty()) {
        PH_CO_ASSIGN_OR_RETURN(const std::optional<uint32_t> before, co_await folder->FindDoneUid(add.done_key));
        if (before.has_value()) {
          AppendResult result;
          result.uid = *before;
          result.duplicate = true;
          PH_CO_ASSIGN_OR_RETURN(result.state, co_await folder->Snapshot());
          co_return result;
        }
      }
      co_return absl::ResourceExhaustedError("over quota");
    }
    tried = true;
    co_return co_await folder->Append(std::move(add));
  }

  // ---- reading

  Task<absl::Status> DoFetch(rpc::WriterCall<v1::FetchRequest, v1::FetchResponse>& call) {
    const v1::FetchRequest& request = call.request();
    PH_CO_ASSIGN_OR_RETURN(FolderPtr folder, co_await OpenFolder(request.account(), request.folder_id()));
    co_return co_await FetchMessages(context_, std::move(folder), request,
                                     [&call](v1::FetchResponse chunk) { return call.Write(std::move(chunk)); });
  }

  Task<absl::Status> DoSearch(Unary<v1::SearchRequest, v1::SearchResponse>& call) {
    // Decoding text costs CPU: not on an event loop.
    co_await SwitchTo(pool_);
    PH_CO_ASSIGN_OR_RETURN(FolderPtr folder, co_await OpenFolder(call.request().account(), call.request().folder_id()));
    const std::function<bool()> cancelled = [&call] { return call.cancelled(); };
    co_return co_await SearchMessages(context_, std::move(folder), call.request(), cancelled, &call.response());
  }

  // ---- changing

  Task<absl::Status> DoStoreFlags(Unary<v1::StoreFlagsRequest, v1::StoreFlagsResponse>& call) {
    const v1::StoreFlagsRequest& request = call.request();
    FlagChange change;
    switch (request.mode()) {
      case v1::StoreFlagsRequest::MODE_REPLACE:
        change.mode = FlagChange::Mode::kReplace;
        break;
      case v1::StoreFlagsRequest::MODE_ADD:
        change.mode = FlagChange::Mode::kAdd;
        break;
      case v1::StoreFlagsRequest::MODE_REMOVE:
        change.mode = FlagChange::Mode::kRemove;
        break;
      default:
        co_return absl::InvalidArgumentError("mode missing");
    }
    change.flags = request.flags() & kAllFlags;
    PH_CO_ASSIGN_OR_RETURN(change.keywords, Keywords(request.keywords()));
    if (request.has_unchanged_since()) change.unchanged_since = request.unchanged_since();
    change.after = request.after_uid();
    change.max_messages = MaxRows(context_.settings.keywords_per_folder);
    PH_CO_ASSIGN_OR_RETURN(const FolderPtr folder, co_await OpenFolder(request.account(), request.folder_id()));
    PH_CO_ASSIGN_OR_RETURN(const FlagResult result,
                           co_await folder->StoreFlags(UidSetFromProto(request.uids()), std::move(change)));
    ToProto(result.messages, result.keyword_bits, call.response().mutable_rows());
    UidSetToProto(result.modified, call.response().mutable_modified());
    call.response().set_continue_after(result.continue_after);
    call.response().mutable_own_modseq()->Add(result.own_modseqs.begin(), result.own_modseqs.end());
    SetState(result.state, call.response().mutable_state());
    co_return absl::OkStatus();
  }

  Task<absl::Status> DoExpunge(Unary<v1::ExpungeRequest, v1::ExpungeResponse>& call) {
    const v1::ExpungeRequest& request = call.request();
    PH_CO_ASSIGN_OR_RETURN(const FolderPtr folder, co_await OpenFolder(request.account(), request.folder_id()));
    const bool all = request.uids().empty();
    // Everything, whatever its flags, is never what a client means.
    if (all && request.even_undeleted()) co_return absl::InvalidArgumentError("even_undeleted needs uids");
    PH_CO_ASSIGN_OR_RETURN(const ExpungeResult result,
                           co_await folder->Expunge(all ? UidSet::All() : UidSetFromProto(request.uids()),
                                                    request.even_undeleted(), kMaxRanges));
    UidSetToProto(result.expunged, call.response().mutable_expunged());
    call.response().set_more(result.more);
    SetState(result.state, call.response().mutable_state());
    co_return absl::OkStatus();
  }

  Task<absl::Status> DoCopy(Unary<v1::CopyRequest, v1::CopyResponse>& call) {
    const v1::CopyRequest& request = call.request();
    PH_CO_ASSIGN_OR_RETURN(const AccountPtr account, co_await OpenAccount(request.account()));
    PH_CO_ASSIGN_OR_RETURN(const FolderPtr from, co_await mailboxes_.OpenFolder(account, request.from_folder_id()));
    PH_CO_ASSIGN_OR_RETURN(const FolderPtr to, co_await mailboxes_.OpenFolder(account, request.to_folder_id()));
    CopyOrder order;
    order.uids = UidSetFromProto(request.uids());
    order.move = request.move();
    order.operation_id = request.operation_id();
    order.quota = mailboxes_.QuotaOf(request.account());
    PH_CO_ASSIGN_OR_RETURN(const CopyDone done,
                           co_await CopyMessages(context_, mailboxes_, account, from, to, std::move(order)));
    call.response().set_uid_validity(done.to_uid_validity);
    for (const auto& [source, target] : done.uids) {
      AppendInOrder(call.response().mutable_from_uids(), source);
      AppendInOrder(call.response().mutable_to_uids(), target);
    }
    SetState(done.from_state, call.response().mutable_from_state());
    co_return absl::OkStatus();
  }

  // ---- watching

  Task<absl::Status> DoGetChanges(Unary<v1::GetChangesRequest, v1::GetChangesResponse>& call) {
    const v1::GetChangesRequest& request = call.request();
    PH_CO_ASSIGN_OR_RETURN(const FolderPtr folder, co_await OpenFolder(request.account(), request.folder_id()));
    const size_t limit = MaxRows(context_.settings.keywords_per_folder);
    PH_CO_ASSIGN_OR_RETURN(const FolderChanges changes,
                           co_await folder->ChangesAfter(request.after_modseq(), request.after_uid(), limit));
    SetState(changes.state, call.response().mutable_state());
    ToProto(changes.messages, changes.keyword_bits, call.response().mutable_rows());
    UidSetToProto(changes.vanished, call.response().mutable_vanished());
    call.response().set_full(changes.full);
    call.response().set_more(changes.more);
    co_return absl::OkStatus();
  }

  Task<absl::Status> DoWatch(rpc::WriterCall<v1::WatchRequest, v1::WatchResponse>& call) {
    const auto subscription = std::make_shared<HintHub::Subscription>(context_.hints);
    call.OnCancel([subscription] { subscription->wakeup().Signal(); });
    // The first message tells the gateway that it misses nothing from here on.
    PH_CO_RETURN_IF_ERROR(co_await call.Write(v1::WatchResponse()));
    uint64_t lost = 0;
    while (!call.cancelled() && !context_.hints.closed()) {
      co_await subscription->wakeup().WaitFor(kHeartbeat);
      v1::WatchResponse response;
      bool more = true;
      while (more) {
        const std::vector<Hint> hints = subscription->Take(kMaxHints);
        for (const Hint& hint : hints) {
          v1::WatchResponse::Hint* out = response.add_hints();
          out->set_account_id(hint.account_id);
          out->set_folder_id(hint.folder_id);
          out->set_highest_modseq(hint.highest_modseq);
          out->set_tree_changed(hint.tree_changed);
        }
        more = hints.size() == kMaxHints;
        context_.metrics.hints_sent.Add(static_cast<double>(hints.size()));
        PH_CO_RETURN_IF_ERROR(co_await call.Write(std::exchange(response, v1::WatchResponse())));
      }
      const uint64_t lost_now = subscription->lost();
      context_.metrics.hints_lost.Add(static_cast<double>(lost_now - std::exchange(lost, lost_now)));
    }
    co_return absl::OkStatus();
  }

  Task<absl::Status> DoGetUsage(Unary<v1::GetUsageRequest, v1::GetUsageResponse>& call) {
    PH_CO_ASSIGN_OR_RETURN(const AccountPtr account, co_await OpenAccount(call.request().account()));
    PH_CO_RETURN_IF_ERROR(co_await mailboxes_.CountUsage(account));
    const Usage::Amount total = account->usage()->Total();
    const Quota quota = mailboxes_.QuotaOf(call.request().account());
    call.response().set_bytes(static_cast<uint64_t>(total.bytes));
    call.response().set_messages(static_cast<uint64_t>(total.messages));
    call.response().set_limit_bytes(quota.bytes);
    call.response().set_limit_messages(quota.messages);
    co_return absl::OkStatus();
  }

  Context& context_;
  Mailboxes& mailboxes_;
  rpc::ServerRunner& runner_;
  Executor& pool_;
};

}  // namespace

std::unique_ptr<grpc::Service> NewMailboxService(Context& context, Mailboxes& mailboxes, rpc::ServerRunner& runner,
                                                 Executor& pool) {
  return std::make_unique<MailboxRpc>(context, mailboxes, runner, pool);
}

}  // namespace posthouse::mailbox
