#include "services/gateway/mailbox_client.h"

#include <sys/random.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "posthouse/mailbox/v1/mailbox.grpc.pb.h"
#include "services/common/rpc/bidi_streaming.h"
#include "services/common/rpc/client.h"
#include "services/common/rpc/streaming.h"
#include "services/common/status/status.h"

namespace posthouse::gateway {
namespace {

using MailStub = mail::MailboxService::Stub;
using Async = mail::MailboxService::StubInterface::async_interface;
template <typename Request, typename Response>
using Method = void (Async::*)(grpc::ClientContext*, const Request*, Response*, std::function<void(grpc::Status)>);

constexpr absl::Duration kCall = absl::Seconds(30);
// A search may read every message of a folder, and so may a change of all flags.
constexpr absl::Duration kLongCall = absl::Minutes(5);
// A stream is as slow as its client, whose own time-outs end it.
constexpr absl::Duration kStream = absl::Hours(2);
constexpr absl::Duration kWatch = absl::Hours(24);

absl::Status UnknownShard() { return absl::UnavailableError("unknown mailbox shard"); }

rpc::CallOptions Options(absl::Duration deadline, const rpc::TraceContext& trace) {
  rpc::CallOptions options;
  options.deadline = deadline;
  options.trace = trace;
  return options;
}

// Each AddPart() adds a part of a long answer to `whole` and makes `request` ask for the next
// part; false: it was the last. The state is that of the first part: the next GetChanges tells
// what has changed since.

bool AddPart(mail::ListUidsResponse part, mail::ListUidsRequest& request, mail::ListUidsResponse& whole) {
  if (!whole.has_state()) {
    whole.set_first_unseen_uid(part.first_unseen_uid());
    whole.set_recent_after(part.recent_after());
    *whole.mutable_state() = std::move(*part.mutable_state());
  }
  const bool more = part.more() && !part.uids().empty();
  if (more) request.set_after_uid(part.uids().rbegin()->last());
  for (auto& range : *part.mutable_uids()) {
    if (range.first() >= whole.state().uid_next()) break;  // came after the first part
    range.set_last(std::min(range.last(), whole.state().uid_next() - 1));
    *whole.add_uids() = std::move(range);
  }
  return more;
}

bool AddPart(mail::SearchResponse part, mail::SearchRequest& request, mail::SearchResponse& whole) {
  const bool more = part.more() && !part.uids().empty();
  if (more) request.set_after_uid(part.uids().rbegin()->last());
  whole.mutable_uids()->MergeFrom(part.uids());
  whole.set_highest_modseq(std::max(whole.highest_modseq(), part.highest_modseq()));
  return more;
}

// The last state counts here: it has everything that this request did.
bool AddPart(mail::StoreFlagsResponse part, mail::StoreFlagsRequest& request, mail::StoreFlagsResponse& whole) {
  request.set_after_uid(part.continue_after());
  const bool more = part.continue_after() != 0;
  whole.mutable_rows()->MergeFrom(part.rows());
  whole.mutable_modified()->MergeFrom(part.modified());
  whole.mutable_own_modseq()->MergeFrom(part.own_modseq());
  *whole.mutable_state() = std::move(*part.mutable_state());
  return more;
}

bool AddPart(mail::ExpungeResponse part, mail::ExpungeRequest& request, mail::ExpungeResponse& whole) {
  const bool more = part.more() && !part.expunged().empty();
  whole.mutable_expunged()->MergeFrom(part.expunged());
  *whole.mutable_state() = std::move(*part.mutable_state());
  return more;
}

bool AddPart(mail::GetChangesResponse part, mail::GetChangesRequest& request, mail::GetChangesResponse& whole) {
  if (!whole.has_state()) {
    whole.set_full(part.full());
    whole.set_recent_after(part.recent_after());
    *whole.mutable_state() = std::move(*part.mutable_state());
  }
  const bool more = part.more() && part.rows().uid_size() > 0;
  if (more) request.set_after_uid(*part.rows().uid().rbegin());
  if (whole.full()) request.set_after_modseq(0);  // later parts are full, too
  whole.mutable_rows()->MergeFrom(part.rows());
  whole.mutable_vanished()->MergeFrom(part.vanished());
  return more;
}

}  // namespace

// ---- streams

struct FetchStream::Call : rpc::ClientReader<mail::FetchRequest, mail::FetchResponse> {
  using ClientReader::ClientReader;
};
FetchStream::FetchStream(std::unique_ptr<Call> call) : call_(std::move(call)) {}
FetchStream::FetchStream(FetchStream&&) noexcept = default;
FetchStream::~FetchStream() = default;

Task<absl::StatusOr<std::optional<mail::FetchResponse>>> FetchStream::Read() {
  if (call_ == nullptr) co_return UnknownShard();
  co_return co_await call_->Read();
}

struct AppendStream::Call : rpc::ClientWriter<mail::AppendRequest, mail::AppendResponse> {
  using ClientWriter::ClientWriter;
};
AppendStream::AppendStream(std::unique_ptr<Call> call) : call_(std::move(call)) {}
AppendStream::AppendStream(AppendStream&&) noexcept = default;
AppendStream::~AppendStream() = default;

Task<absl::Status> AppendStream::Write(mail::AppendRequest request) {
  if (call_ == nullptr) co_return UnknownShard();
  co_return co_await call_->Write(std::move(request));
}
Task<absl::StatusOr<mail::AppendResponse>> AppendStream::Finish() {
  if (call_ == nullptr) co_return UnknownShard();
  co_return co_await call_->Finish();
}

struct WatchStream::Call : rpc::ClientStream<mail::WatchRequest, mail::WatchResponse> {
  using ClientStream::ClientStream;
};
WatchStream::WatchStream(std::unique_ptr<Call> call) : call_(std::move(call)) {}
WatchStream::~WatchStream() = default;

Task<absl::Status> WatchStream::Write(mail::WatchRequest request) {
  if (call_ == nullptr) co_return UnknownShard();
  co_return co_await call_->Write(std::move(request));
}
Task<absl::StatusOr<std::optional<mail::WatchResponse>>> WatchStream::Read() {
  if (call_ == nullptr) co_return UnknownShard();
  co_return co_await call_->Read();
}
void WatchStream::Cancel() {
  if (call_ != nullptr) call_->Cancel();
}

// ---- MailboxClient

struct MailboxClient::Impl {
  // The stub of the process that serves `account`; null: its home is not configured.
  std::shared_ptr<MailStub> StubFor(const AccountRef& account) const {
    const std::shared_ptr<rpc::Members> members = peers->Get()->MailboxOf(Home(account.home()));
    return members == nullptr ? nullptr : members->For(AccountId(account.account_id()))->Stub<mail::MailboxService>();
  }

  template <typename Request, typename Response>
  Answer<Response> Call(Method<Request, Response> method, absl::Duration deadline, Trace trace, Request request) const {
    const std::shared_ptr<MailStub> stub = StubFor(request.account());
    if (stub == nullptr) co_return UnknownShard();
    const auto start = [stub, method](auto* context, auto* req, auto* resp, auto done) {
      (stub->async()->*method)(context, req, resp, std::move(done));
    };
    co_return co_await rpc::Call<Response>(Options(deadline, trace), std::move(request), start);
  }

  // All parts of the answer; each has the deadline for itself.
  template <typename Request, typename Response>
  Answer<Response> CallInParts(Method<Request, Response> method, absl::Duration deadline, Trace trace,
                               Request request) const {
    Response whole;
    for (bool more = true; more;) {
      absl::StatusOr<Response> part = co_await Call<Request, Response>(method, deadline, trace, request);
      if (!part.ok()) co_return part.status();
      more = AddPart(*std::move(part), request, whole);
    }
    co_return whole;
  }

  const std::shared_ptr<const rpc::LivePeers> peers;
};

MailboxClient::MailboxClient(std::shared_ptr<const rpc::LivePeers> peers) : impl_(new Impl{std::move(peers)}) {}
MailboxClient::MailboxClient(const rpc::Channels& channels)
    : MailboxClient(std::make_shared<const rpc::LivePeers>(channels)) {}
MailboxClient::~MailboxClient() = default;

MailboxClient::Answer<mail::ListFoldersResponse> MailboxClient::ListFolders(Trace trace,
                                                                            mail::ListFoldersRequest request) {
  return impl_->Call<mail::ListFoldersRequest, mail::ListFoldersResponse>(&Async::ListFolders, kCall, trace,
                                                                          std::move(request));
}
MailboxClient::Answer<mail::CreateFolderResponse> MailboxClient::CreateFolder(Trace trace,
                                                                              mail::CreateFolderRequest request) {
  return impl_->Call<mail::CreateFolderRequest, mail::CreateFolderResponse>(&Async::CreateFolder, kCall, trace,
                                                                            std::move(request));
}
MailboxClient::Answer<mail::DeleteFolderResponse> MailboxClient::DeleteFolder(Trace trace,
                                                                              mail::DeleteFolderRequest request) {
  return impl_->Call<mail::DeleteFolderRequest, mail::DeleteFolderResponse>(&Async::DeleteFolder, kLongCall, trace,
                                                                            std::move(request));
}
MailboxClient::Answer<mail::RenameFolderResponse> MailboxClient::RenameFolder(Trace trace,
                                                                              mail::RenameFolderRequest request) {
  return impl_->Call<mail::RenameFolderRequest, mail::RenameFolderResponse>(&Async::RenameFolder, kLongCall, trace,
                                                                            std::move(request));
}
MailboxClient::Answer<mail::SubscribeResponse> MailboxClient::Subscribe(Trace trace, mail::SubscribeRequest request) {
  return impl_->Call<mail::SubscribeRequest, mail::SubscribeResponse>(&Async::Subscribe, kCall, trace,
                                                                      std::move(request));
}
MailboxClient::Answer<mail::GetFolderResponse> MailboxClient::GetFolder(Trace trace, mail::GetFolderRequest request) {
  return impl_->Call<mail::GetFolderRequest, mail::GetFolderResponse>(&Async::GetFolder, kCall, trace,
                                                                      std::move(request));
}
MailboxClient::Answer<mail::ListUidsResponse> MailboxClient::ListUids(Trace trace, mail::ListUidsRequest request) {
  return impl_->CallInParts<mail::ListUidsRequest, mail::ListUidsResponse>(&Async::ListUids, kCall, trace,
                                                                           std::move(request));
}
MailboxClient::Answer<mail::SearchResponse> MailboxClient::Search(Trace trace, mail::SearchRequest request) {
  return impl_->CallInParts<mail::SearchRequest, mail::SearchResponse>(&Async::Search, kLongCall, trace,
                                                                       std::move(request));
}
MailboxClient::Answer<mail::StoreFlagsResponse> MailboxClient::StoreFlags(Trace trace,
                                                                          mail::StoreFlagsRequest request) {
  return impl_->CallInParts<mail::StoreFlagsRequest, mail::StoreFlagsResponse>(&Async::StoreFlags, kLongCall, trace,
                                                                               std::move(request));
}
MailboxClient::Answer<mail::ExpungeResponse> MailboxClient::Expunge(Trace trace, mail::ExpungeRequest request) {
  return impl_->CallInParts<mail::ExpungeRequest, mail::ExpungeResponse>(&Async::Expunge, kLongCall, trace,
                                                                         std::move(request));
}
MailboxClient::Answer<mail::CopyResponse> MailboxClient::Copy(Trace trace, mail::CopyRequest request) {
  return impl_->Call<mail::CopyRequest, mail::CopyResponse>(&Async::Copy, kLongCall, trace, std::move(request));
}
MailboxClient::Answer<mail::GetChangesResponse> MailboxClient::GetChanges(Trace trace,
                                                                          mail::GetChangesRequest request) {
  return impl_->CallInParts<mail::GetChangesRequest, mail::GetChangesResponse>(&Async::GetChanges, kCall, trace,
                                                                               std::move(request));
}

FetchStream MailboxClient::Fetch(Trace trace, mail::FetchRequest request) {
  const std::shared_ptr<MailStub> stub = impl_->StubFor(request.account());
  if (stub == nullptr) return FetchStream(nullptr);
  const auto start = [stub](auto* context, const auto* req, auto* reactor) {
    stub->async()->Fetch(context, req, reactor);
  };
  return FetchStream(std::make_unique<FetchStream::Call>(Options(kStream, trace), std::move(request), start));
}

AppendStream MailboxClient::Append(Trace trace, const AccountRef& account) {
  const std::shared_ptr<MailStub> stub = impl_->StubFor(account);
  if (stub == nullptr) return AppendStream(nullptr);
  const auto start = [stub](auto* context, auto* response, auto* reactor) {
    stub->async()->Append(context, response, reactor);
  };
  return AppendStream(std::make_unique<AppendStream::Call>(Options(kStream, trace), start));
}

std::shared_ptr<WatchStream> MailboxClient::Watch(const Home& shard) {
  std::unique_ptr<WatchStream::Call> call;
  // With several members any of them sends hints, of its own commits; polls find those of the others.
  if (const std::shared_ptr<rpc::Members> members = impl_->peers->Get()->MailboxOf(shard); members != nullptr) {
    const auto stub = members->For(AccountId())->Stub<mail::MailboxService>();
    const auto start = [stub](auto* context, auto* reactor) { stub->async()->Watch(context, reactor); };
    call = std::make_unique<WatchStream::Call>(Options(kWatch, Trace()), start);
  }
  return std::shared_ptr<WatchStream>(new WatchStream(std::move(call)));
}

Home MailboxClient::ShardOf(const AccountRef& account) const {
  const std::shared_ptr<const rpc::Channels> channels = impl_->peers->Get();
  if (channels->mailbox.empty()) return Home();
  // By its name: it keeps that when a second shard comes.
  return channels->mailbox.size() == 1 ? channels->mailbox.begin()->first : Home(account.home());
}

std::string NewOperationId() {
  std::string id(16, '\0');
  PH_CHECK(getrandom(id.data(), id.size(), 0) == static_cast<ssize_t>(id.size()));
  return id;
}

}  // namespace posthouse::gateway
