#include "services/mailbox/grpc_service.h"

#include <atomic>
#include <utility>

#include "posthouse/mailbox/v1/mailbox.grpc.pb.h"
#include "services/common/async/when_all.h"
#include "services/common/log/log.h"
#include "services/common/rpc/bidi_streaming.h"
#include "services/common/rpc/streaming.h"
#include "services/common/status/status.h"
#include "services/common/uid_set/uid_set_proto.h"
#include "services/mailbox/folder/folder_tree_ops.h"
#include "services/mailbox/folder/mover.h"
#include "services/mailbox/grpc_uploads.h"
#include "services/mailbox/message/fetch.h"
#include "services/mailbox/message/mailbox_proto.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/search/search.h"

namespace posthouse::mailbox {
namespace {

constexpr absl::Duration kHeartbeat = absl::Seconds(15);
constexpr size_t kMaxHints = 1000;  // of one message

using AccountPtr = std::shared_ptr<Account>;
using FolderPtr = std::shared_ptr<Folder>;

template <typename Request, typename Response>
using Unary = rpc::UnaryCall<Request, Response>;

// Handlers are coroutines; `call` lives until they return.
class MailboxGrpcService final : public v1::MailboxService::CallbackService {
 public:
  MailboxGrpcService(MailboxDeps& deps, Mailboxes& mailboxes, rpc::ServerRunner& runner, Executor& pool)
      : deps_(deps), mailboxes_(mailboxes), runner_(runner), pool_(pool) {}

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
    return rpc::ClientStreaming<v1::DeliverRequest>(
        runner_, context, response, [this](auto& call) { return ReceiveDelivery(deps_, mailboxes_, call); });
  }
  grpc::ServerReadReactor<v1::AppendRequest>* Append(grpc::CallbackServerContext* context,
                                                     v1::AppendResponse* response) override {
    return rpc::ClientStreaming<v1::AppendRequest>(
        runner_, context, response, [this](auto& call) { return ReceiveAppend(deps_, mailboxes_, call); });
  }
  grpc::ServerWriteReactor<v1::FetchResponse>* Fetch(grpc::CallbackServerContext* context,
                                                     const v1::FetchRequest* request) override {
    return rpc::ServerStreaming<v1::FetchResponse>(runner_, context, request,
                                                   [this](auto& call) { return DoFetch(call); });
  }
  grpc::ServerBidiReactor<v1::WatchRequest, v1::WatchResponse>* Watch(grpc::CallbackServerContext* context) override {
    return rpc::BidiStreaming<v1::WatchRequest, v1::WatchResponse>(runner_, context,
                                                                   [this](auto& call) { return DoWatch(call); });
  }

 private:
  Task<absl::StatusOr<AccountPtr>> OpenAccount(const common::v1::AccountRef& ref) {
    return mailboxes_.OpenAccount(TenantId(ref.tenant()), AccountId(ref.account_id()), ref.placement_epoch());
  }
  Task<absl::StatusOr<FolderPtr>> OpenFolder(const common::v1::AccountRef& ref, const std::string& folder_id) {
    PH_CO_ASSIGN_OR_RETURN(AccountPtr account, co_await OpenAccount(ref));
    co_return co_await mailboxes_.OpenFolder(std::move(account), FolderId(folder_id));
  }
  void SetState(const FolderSnapshot& state, v1::FolderState* out) const {
    ToProto(state, deps_.settings.keywords_per_folder, out);
  }
  // With the state, unless the level only holds children.
  Task<absl::Status> FillFolder(AccountPtr account, const FolderInfo& info, v1::Folder* out, bool with_recent = false) {
    ToProto(info, out);
    if (info.folder_id.empty()) co_return absl::OkStatus();
    PH_CO_ASSIGN_OR_RETURN(const FolderPtr folder, co_await mailboxes_.OpenFolder(account, info.folder_id));
    PH_CO_ASSIGN_OR_RETURN(const FolderSnapshot state, co_await folder->Snapshot());
    SetState(state, out->mutable_state());
    if (with_recent) {
      PH_CO_ASSIGN_OR_RETURN(const uint64_t recent, co_await folder->CountRecent());
      out->mutable_state()->set_recent(recent);
    }
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
      const absl::Status filled = co_await FillFolder(account, info, out, call.request().with_recent());
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
                           co_await mailbox::RenameFolder(deps_, mailboxes_, account, request.from(), request.to()));
    co_return co_await FillFolder(account, info, call.response().mutable_folder());
  }

  Task<absl::Status> DoSubscribe(Unary<v1::SubscribeRequest, v1::SubscribeResponse>& call) {
    PH_CO_ASSIGN_OR_RETURN(const AccountPtr account, co_await OpenAccount(call.request().account()));
    co_return co_await account->Subscribe(call.request().name(), call.request().subscribed());
  }

  Task<absl::Status> DoGetFolder(Unary<v1::GetFolderRequest, v1::GetFolderResponse>& call) {
    const v1::GetFolderRequest& request = call.request();
    PH_CO_ASSIGN_OR_RETURN(const AccountPtr account, co_await OpenAccount(request.account()));
    PH_CO_ASSIGN_OR_RETURN(const FolderInfo info, request.has_folder_id()
                                                      ? account->FindById(FolderId(request.folder_id()))
                                                      : account->FindByName(request.name()));
    co_return co_await FillFolder(account, info, call.response().mutable_folder(), request.with_recent());
  }

  // UIDs above the answer are \Recent to the session that asks for the folder up to `uid_next`.
  static Task<absl::StatusOr<Uid>> Recent(FolderPtr folder, bool claim, Uid uid_next) {
    if (claim) return folder->recent().Claim(uid_next.empty() ? Uid() : Uid(uid_next.value() - 1));
    return folder->recent().Told();
  }

  Task<absl::Status> DoListUids(Unary<v1::ListUidsRequest, v1::ListUidsResponse>& call) {
    PH_CO_ASSIGN_OR_RETURN(const FolderPtr folder,
                           co_await OpenFolder(call.request().account(), call.request().folder_id()));
    PH_CO_ASSIGN_OR_RETURN(const std::shared_ptr<const UidsView> view, co_await folder->Uids());
    SetState(view->state, call.response().mutable_state());
    call.response().set_more(ToProto(view->uids, Uid(call.request().after_uid()), call.response().mutable_uids()));
    call.response().set_first_unseen_uid(view->first_unseen.value());
    if (call.request().after_uid() == 0) {
      PH_CO_ASSIGN_OR_RETURN(const Uid recent_after,
                             co_await Recent(folder, call.request().claim_recent(), view->state.head.uid_next));
      call.response().set_recent_after(recent_after.value());
    }
    co_return absl::OkStatus();
  }

  // ---- reading

  Task<absl::Status> DoFetch(rpc::WriterCall<v1::FetchRequest, v1::FetchResponse>& call) {
    const v1::FetchRequest& request = call.request();
    PH_CO_ASSIGN_OR_RETURN(FolderPtr folder, co_await OpenFolder(request.account(), request.folder_id()));
    co_return co_await FetchMessages(deps_, std::move(folder), request,
                                     [&call](v1::FetchResponse chunk) { return call.Write(std::move(chunk)); });
  }

  Task<absl::Status> DoSearch(Unary<v1::SearchRequest, v1::SearchResponse>& call) {
    // Decoding text costs CPU: not on an event loop.
    co_await SwitchTo(pool_);
    PH_CO_ASSIGN_OR_RETURN(FolderPtr folder, co_await OpenFolder(call.request().account(), call.request().folder_id()));
    const std::function<bool()> cancelled = [&call] { return call.cancelled(); };
    co_return co_await SearchMessages(deps_, std::move(folder), call.request(), cancelled, &call.response());
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
        co_return absl::InvalidArgumentError("mode: one of replace, add, remove");
    }
    change.flags = request.flags() & kAllFlags;
    PH_CO_ASSIGN_OR_RETURN(change.keywords, CheckKeywords(request.keywords()));
    if (request.has_unchanged_since()) change.unchanged_since = Modseq(request.unchanged_since());
    change.after = Uid(request.after_uid());
    change.max_messages = MaxRows(deps_.settings.keywords_per_folder);
    PH_CO_ASSIGN_OR_RETURN(const FolderPtr folder, co_await OpenFolder(request.account(), request.folder_id()));
    PH_CO_ASSIGN_OR_RETURN(const FlagResult result,
                           co_await folder->StoreFlags(UidSetFromProto(request.uids()), std::move(change)));
    ToProto(result.messages, call.response().mutable_rows());
    UidSetToProto(result.modified, call.response().mutable_modified());
    call.response().set_continue_after(result.continue_after.value());
    for (const Modseq modseq : result.own_modseqs) call.response().add_own_modseq(modseq.value());
    SetState(result.state, call.response().mutable_state());
    co_return absl::OkStatus();
  }

  Task<absl::Status> DoExpunge(Unary<v1::ExpungeRequest, v1::ExpungeResponse>& call) {
    const v1::ExpungeRequest& request = call.request();
    PH_CO_ASSIGN_OR_RETURN(const FolderPtr folder, co_await OpenFolder(request.account(), request.folder_id()));
    const bool all = request.uids().empty();
    // No client means to expunge every message whatever its flags.
    if (all && request.even_undeleted()) co_return absl::InvalidArgumentError("even_undeleted: name the uids");
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
    PH_CO_ASSIGN_OR_RETURN(const FolderPtr from,
                           co_await mailboxes_.OpenFolder(account, FolderId(request.from_folder_id())));
    PH_CO_ASSIGN_OR_RETURN(const FolderPtr to,
                           co_await mailboxes_.OpenFolder(account, FolderId(request.to_folder_id())));
    CopyOrder order;
    order.uids = UidSetFromProto(request.uids());
    order.move = request.move();
    order.all = request.all();
    order.operation_id = request.operation_id();
    order.quota = mailboxes_.QuotaOf(request.account());
    PH_CO_ASSIGN_OR_RETURN(const CopyDone done,
                           co_await CopyMessages(deps_, mailboxes_, account, from, to, std::move(order)));
    call.response().set_uid_validity(done.to_uid_validity.value());
    for (const auto& [source, target] : done.uids) {
      AppendInOrder(call.response().mutable_from_uids(), source);
      AppendInOrder(call.response().mutable_to_uids(), target);
    }
    SetState(done.from_state, call.response().mutable_from_state());
    call.response().set_gone(done.gone);
    co_return absl::OkStatus();
  }

  // ---- watching

  Task<absl::Status> DoGetChanges(Unary<v1::GetChangesRequest, v1::GetChangesResponse>& call) {
    const v1::GetChangesRequest& request = call.request();
    PH_CO_ASSIGN_OR_RETURN(const FolderPtr folder, co_await OpenFolder(request.account(), request.folder_id()));
    const size_t limit = MaxRows(deps_.settings.keywords_per_folder);
    PH_CO_ASSIGN_OR_RETURN(const FolderChanges changes, co_await folder->ChangesAfter(Modseq(request.after_modseq()),
                                                                                      Uid(request.after_uid()), limit));
    SetState(changes.state, call.response().mutable_state());
    ToProto(changes.messages, call.response().mutable_rows());
    UidSetToProto(changes.vanished, call.response().mutable_vanished());
    call.response().set_full(changes.full);
    call.response().set_more(changes.more);
    if (request.after_uid() == 0) {
      PH_CO_ASSIGN_OR_RETURN(const Uid recent_after,
                             co_await Recent(folder, request.claim_recent(), changes.state.head.uid_next));
      call.response().set_recent_after(recent_after.value());
    }
    co_return absl::OkStatus();
  }

  using WatchCall = rpc::StreamCall<v1::WatchRequest, v1::WatchResponse>;
  Task<absl::Status> DoWatch(WatchCall& call) {
    const auto stream = std::make_shared<ChangeHints::Stream>(deps_.hints);
    call.OnCancel([stream] { stream->wakeup().Signal(); });
    std::atomic<bool> client_gone{false};
    std::vector<Task<absl::Status>> directions;
    directions.push_back(TakeWatched(call, *stream, client_gone));
    directions.push_back(SendHints(call, *stream, client_gone));
    co_await WhenAll(std::move(directions));
    co_return absl::OkStatus();
  }

  // To the end of the call.
  Task<absl::Status> TakeWatched(WatchCall& call, ChangeHints::Stream& stream, std::atomic<bool>& client_gone) {
    while (true) {
      const absl::StatusOr<std::optional<v1::WatchRequest>> request = co_await call.Read();
      if (!request.ok() || !request->has_value()) break;
      for (const auto& remove : (*request)->remove())
        stream.Forget(AccountId(remove.account_id()), FolderId(remove.folder_id()));
      for (const auto& add : (*request)->add()) {
        // Watched before the state is read: a change in between is a hint, not a gap.
        const AccountId account_id(add.account().account_id());
        const FolderId folder_id(add.folder_id());
        stream.Watch(account_id, folder_id);
        const absl::StatusOr<Modseq> newest = co_await HighestModseq(add.account(), add.folder_id());
        if (newest.ok() && *newest <= Modseq(add.known_modseq())) continue;
        stream.Push({account_id, folder_id, newest.value_or(Modseq())});
      }
    }
    client_gone = true;
    stream.wakeup().Signal();
    co_return absl::OkStatus();
  }

  Task<absl::StatusOr<Modseq>> HighestModseq(const common::v1::AccountRef& account, const std::string& folder_id) {
    PH_CO_ASSIGN_OR_RETURN(const FolderPtr folder, co_await OpenFolder(account, folder_id));
    PH_CO_ASSIGN_OR_RETURN(const FolderSnapshot state, co_await folder->Snapshot());
    co_return state.head.highest_modseq;
  }

  Task<absl::Status> SendHints(WatchCall& call, ChangeHints::Stream& stream, const std::atomic<bool>& client_gone) {
    absl::Status written = co_await call.Write(v1::WatchResponse());  // the stream is up
    while (written.ok() && !client_gone && !call.cancelled() && !deps_.hints.closed()) {
      co_await stream.wakeup().WaitFor(kHeartbeat);
      bool more = true;
      while (more && written.ok()) {
        const std::vector<Hint> hints = stream.Take(kMaxHints);
        v1::WatchResponse response;
        for (const Hint& hint : hints) {
          v1::WatchResponse::Hint* out = response.add_hints();
          out->set_account_id(hint.account_id.value());
          out->set_folder_id(hint.folder_id.value());
          out->set_highest_modseq(hint.highest_modseq.value());
        }
        more = hints.size() == kMaxHints;
        deps_.metrics.hints_sent.Add(static_cast<double>(hints.size()));
        written = co_await call.Write(std::move(response));
      }
    }
    call.Cancel();  // ends TakeWatched()
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

  MailboxDeps& deps_;
  Mailboxes& mailboxes_;
  rpc::ServerRunner& runner_;
  Executor& pool_;
};

}  // namespace

std::vector<std::shared_ptr<grpc::Service>> NewGrpcServices(rpc::ServerRunner& runner, MailboxDeps& deps,
                                                            Mailboxes& mailboxes, Executor& pool) {
  std::vector<std::shared_ptr<grpc::Service>> services;
  services.push_back(std::make_shared<MailboxGrpcService>(deps, mailboxes, runner, pool));
  return services;
}

}  // namespace posthouse::mailbox
