#include "services/gateway/backend.h"

#include <algorithm>
#include <utility>

#include "posthouse/directory/v1/directory.grpc.pb.h"
#include "posthouse/mailbox/v1/mailbox.grpc.pb.h"
#include "services/common/rpc/bidi_streaming.h"
#include "services/common/rpc/client.h"
#include "services/common/rpc/streaming.h"

namespace posthouse::gateway {
namespace {

namespace dir = ::posthouse::directory::v1;
using MailStub = mail::MailboxService::Stub;

constexpr absl::Duration kCall = absl::Seconds(30);
// A search may read every message of a folder, a change of all flags too.
constexpr absl::Duration kLongCall = absl::Minutes(5);
// As slow as the client: a stream ends when the client's own time-outs end it.
constexpr absl::Duration kStream = absl::Hours(2);
constexpr absl::Duration kWatch = absl::Hours(24);

rpc::CallOptions Options(absl::Duration deadline, const rpc::TraceContext& trace) {
  rpc::CallOptions options;
  options.deadline = deadline;
  options.trace = trace;
  return options;
}

class Fetching final : public FetchStream {
 public:
  using Reader = rpc::ClientReader<mail::FetchRequest, mail::FetchResponse>;
  explicit Fetching(Reader reader) : reader_(std::move(reader)) {}
  Task<absl::StatusOr<std::optional<mail::FetchResponse>>> Read() override { return reader_.Read(); }

 private:
  Reader reader_;
};

class Watching final : public WatchStream {
 public:
  using Stream = rpc::ClientStream<mail::WatchRequest, mail::WatchResponse>;
  explicit Watching(Stream stream) : stream_(std::move(stream)) {}
  Task<absl::Status> Write(mail::WatchRequest request) override { return stream_.Write(std::move(request)); }
  Task<absl::StatusOr<std::optional<mail::WatchResponse>>> Read() override { return stream_.Read(); }
  void Cancel() override { stream_.Cancel(); }

 private:
  Stream stream_;
};

class Appending final : public AppendStream {
 public:
  using Writer = rpc::ClientWriter<mail::AppendRequest, mail::AppendResponse>;
  explicit Appending(Writer writer) : writer_(std::move(writer)) {}
  Task<absl::Status> Write(mail::AppendRequest request) override { return writer_.Write(std::move(request)); }
  Task<absl::StatusOr<mail::AppendResponse>> Finish() override { return writer_.Finish(); }

 private:
  Writer writer_;
};

// Long answers come in parts (mailbox.proto, "long answers"). Each Absorb() adds a part
// to `whole` and makes `request` ask for the next; false: that was the last. The state
// is that of the first part: what changed since is told by the next look.

bool Absorb(mail::ListUidsResponse part, mail::ListUidsRequest& request, mail::ListUidsResponse& whole) {
  if (!whole.has_state()) {
    whole.set_first_unseen_uid(part.first_unseen_uid());
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

bool Absorb(mail::SearchResponse part, mail::SearchRequest& request, mail::SearchResponse& whole) {
  const bool more = part.more() && !part.uids().empty();
  if (more) request.set_after_uid(part.uids().rbegin()->last());
  whole.mutable_uids()->MergeFrom(part.uids());
  whole.set_highest_modseq(std::max(whole.highest_modseq(), part.highest_modseq()));
  return more;
}

// Here the last state counts: it has all that was done.
bool Absorb(mail::StoreFlagsResponse part, mail::StoreFlagsRequest& request, mail::StoreFlagsResponse& whole) {
  request.set_after_uid(part.continue_after());
  const bool more = part.continue_after() != 0;
  whole.mutable_rows()->MergeFrom(part.rows());
  whole.mutable_modified()->MergeFrom(part.modified());
  whole.mutable_own_modseq()->MergeFrom(part.own_modseq());
  *whole.mutable_state() = std::move(*part.mutable_state());
  return more;
}

bool Absorb(mail::ExpungeResponse part, mail::ExpungeRequest& request, mail::ExpungeResponse& whole) {
  const bool more = part.more() && !part.expunged().empty();
  whole.mutable_expunged()->MergeFrom(part.expunged());
  *whole.mutable_state() = std::move(*part.mutable_state());
  return more;
}

bool Absorb(mail::GetChangesResponse part, mail::GetChangesRequest& request, mail::GetChangesResponse& whole) {
  if (!whole.has_state()) {
    whole.set_full(part.full());
    *whole.mutable_state() = std::move(*part.mutable_state());
  }
  const bool more = part.more() && part.rows().uid_size() > 0;
  if (more) request.set_after_uid(*part.rows().uid().rbegin());
  if (whole.full()) request.set_after_modseq(0);  // full to its end
  whole.mutable_rows()->MergeFrom(part.rows());
  whole.mutable_vanished()->MergeFrom(part.vanished());
  return more;
}

class GrpcBackend final : public Backend {
 public:
  explicit GrpcBackend(const rpc::Channels& channels) : channels_(channels) {
    if (channels.directory != nullptr) directory_ = dir::DirectoryService::NewStub(channels.directory);
  }

  Task<absl::StatusOr<dir::AuthenticateResponse>> Authenticate(rpc::TraceContext trace,
                                                               dir::AuthenticateRequest request) override {
    if (directory_ == nullptr) co_return absl::UnavailableError("no directory");
    const auto start = [stub = directory_.get()](auto* context, auto* req, auto* resp, auto done) {
      stub->async()->Authenticate(context, req, resp, std::move(done));
    };
    co_return co_await rpc::Call<dir::AuthenticateResponse>(Options(kCall, trace), std::move(request), start);
  }

#define PH_UNARY(Method, deadline)                                                                             \
  Answer<mail::Method##Response> Method(Trace trace, mail::Method##Request request) override {                 \
    const std::shared_ptr<MailStub> stub = StubFor(request.account());                                         \
    if (stub == nullptr) co_return absl::UnavailableError("unknown mailbox shard");                            \
    const auto start = [stub](auto* context, auto* req, auto* resp, auto done) {                               \
      stub->async()->Method(context, req, resp, std::move(done));                                              \
    };                                                                                                         \
    co_return co_await rpc::Call<mail::Method##Response>(Options(deadline, trace), std::move(request), start); \
  }
// As PH_UNARY, all parts of the answer; each has the deadline for itself.
#define PH_LONG(Method, deadline)                                                               \
  Answer<mail::Method##Response> Method(Trace trace, mail::Method##Request request) override {  \
    const std::shared_ptr<MailStub> stub = StubFor(request.account());                          \
    if (stub == nullptr) co_return absl::UnavailableError("unknown mailbox shard");             \
    const auto start = [stub](auto* context, auto* req, auto* resp, auto done) {                \
      stub->async()->Method(context, req, resp, std::move(done));                               \
    };                                                                                          \
    mail::Method##Response whole;                                                               \
    for (bool more = true; more;) {                                                             \
      absl::StatusOr<mail::Method##Response> part =                                             \
          co_await rpc::Call<mail::Method##Response>(Options(deadline, trace), request, start); \
      if (!part.ok()) co_return part.status();                                                  \
      more = Absorb(*std::move(part), request, whole);                                          \
    }                                                                                           \
    co_return whole;                                                                            \
  }
  PH_UNARY(ListFolders, kCall)
  PH_UNARY(CreateFolder, kCall)
  PH_UNARY(DeleteFolder, kLongCall)
  PH_UNARY(RenameFolder, kLongCall)
  PH_UNARY(Subscribe, kCall)
  PH_UNARY(GetFolder, kCall)
  PH_LONG(ListUids, kCall)
  PH_LONG(Search, kLongCall)
  PH_LONG(StoreFlags, kLongCall)
  PH_LONG(Expunge, kLongCall)
  PH_UNARY(Copy, kLongCall)
  PH_LONG(GetChanges, kCall)
  PH_UNARY(GetUsage, kCall)
#undef PH_UNARY
#undef PH_LONG

  std::unique_ptr<FetchStream> Fetch(Trace trace, mail::FetchRequest request) override {
    const std::shared_ptr<MailStub> stub = StubFor(request.account());
    if (stub == nullptr) return nullptr;
    const auto start = [stub](auto* context, const auto* req, auto* reactor) {
      stub->async()->Fetch(context, req, reactor);
    };
    return std::make_unique<Fetching>(Fetching::Reader(Options(kStream, trace), std::move(request), start));
  }

  std::unique_ptr<AppendStream> Append(Trace trace, const AccountRef& account) override {
    const std::shared_ptr<MailStub> stub = StubFor(account);
    if (stub == nullptr) return nullptr;
    const auto start = [stub](auto* context, auto* response, auto* reactor) {
      stub->async()->Append(context, response, reactor);
    };
    return std::make_unique<Appending>(Appending::Writer(Options(kStream, trace), start));
  }

  std::unique_ptr<WatchStream> Watch(const std::string& home) override {
    // With several members any of them sends hints, of its own commits; polls find the others'.
    const std::shared_ptr<rpc::Members> members = channels_.MailboxOf(home);
    if (members == nullptr) return nullptr;
    const auto stub = members->For("")->Stub<mail::MailboxService>();
    const auto start = [stub](auto* context, auto* reactor) { stub->async()->Watch(context, reactor); };
    return std::make_unique<Watching>(Watching::Stream(Options(kWatch, Trace()), start));
  }

  std::string ShardOf(const std::string& home) const override { return channels_.mailbox.size() <= 1 ? "" : home; }

 private:
  // The process that serves `account`; null: its home is not configured.
  std::shared_ptr<MailStub> StubFor(const AccountRef& account) const {
    const std::shared_ptr<rpc::Members> members = channels_.MailboxOf(account.home());
    return members == nullptr ? nullptr : members->For(account.account_id())->Stub<mail::MailboxService>();
  }

  const rpc::Channels channels_;
  std::unique_ptr<dir::DirectoryService::Stub> directory_;
};

}  // namespace

std::unique_ptr<Backend> Backend::Create(const rpc::Channels& channels) {
  return std::make_unique<GrpcBackend>(channels);
}

}  // namespace posthouse::gateway
