#include "services/gateway/testing/fake_rpc.h"

#include <utility>

#include "posthouse/directory/v1/directory.grpc.pb.h"
#include "posthouse/mailbox/v1/mailbox.grpc.pb.h"
#include "services/common/async/when_all.h"
#include "services/common/rpc/bidi_streaming.h"
#include "services/common/rpc/server.h"
#include "services/common/status/status.h"

namespace posthouse::gateway {
namespace {

namespace dir = ::posthouse::directory::v1;
using Context = grpc::CallbackServerContext;

class DirectoryRpc final : public dir::DirectoryService::CallbackService {
 public:
  DirectoryRpc(FakeBackend& backend, rpc::ServerRunner& runner) : backend_(backend), runner_(runner) {}
  grpc::ServerUnaryReactor* Authenticate(Context* context, const dir::AuthenticateRequest* request,
                                         dir::AuthenticateResponse* response) override {
    return rpc::Unary(
        runner_, context, request, response,
        [this](rpc::UnaryCall<dir::AuthenticateRequest, dir::AuthenticateResponse>& call) { return Do(call); });
  }

 private:
  Task<absl::Status> Do(rpc::UnaryCall<dir::AuthenticateRequest, dir::AuthenticateResponse>& call) {
    PH_CO_ASSIGN_OR_RETURN(call.response(), co_await backend_.Authenticate({}, call.request()));
    co_return absl::OkStatus();
  }
  FakeBackend& backend_;
  rpc::ServerRunner& runner_;
};

class MailboxRpc final : public mail::MailboxService::CallbackService {
 public:
  MailboxRpc(FakeBackend& backend, rpc::ServerRunner& runner) : backend_(backend), runner_(runner) {}

#define PH_UNARY(Method)                                                                                   \
  grpc::ServerUnaryReactor* Method(Context* context, const mail::Method##Request* request,                 \
                                   mail::Method##Response* response) override {                            \
    return rpc::Unary(                                                                                     \
        runner_, context, request, response,                                                               \
        [this](rpc::UnaryCall<mail::Method##Request, mail::Method##Response>& call) { return Do(call); }); \
  }                                                                                                        \
  Task<absl::Status> Do(rpc::UnaryCall<mail::Method##Request, mail::Method##Response>& call) {             \
    PH_CO_ASSIGN_OR_RETURN(call.response(), co_await backend_.Method({}, call.request()));                 \
    co_return absl::OkStatus();                                                                            \
  }
  PH_UNARY(ListFolders)
  PH_UNARY(CreateFolder)
  PH_UNARY(DeleteFolder)
  PH_UNARY(RenameFolder)
  PH_UNARY(Subscribe)
  PH_UNARY(GetFolder)
  PH_UNARY(ListUids)
  PH_UNARY(Search)
  PH_UNARY(StoreFlags)
  PH_UNARY(Expunge)
  PH_UNARY(Copy)
  PH_UNARY(GetChanges)
  PH_UNARY(GetUsage)
#undef PH_UNARY

  grpc::ServerReadReactor<mail::AppendRequest>* Append(Context* context, mail::AppendResponse* response) override {
    return rpc::ClientStreaming<mail::AppendRequest>(
        runner_, context, response,
        [this](rpc::ReaderCall<mail::AppendRequest, mail::AppendResponse>& call) { return DoAppend(call); });
  }
  grpc::ServerWriteReactor<mail::FetchResponse>* Fetch(Context* context, const mail::FetchRequest* request) override {
    return rpc::ServerStreaming<mail::FetchResponse>(
        runner_, context, request,
        [this](rpc::WriterCall<mail::FetchRequest, mail::FetchResponse>& call) { return DoFetch(call); });
  }
  using WatchCall = rpc::StreamCall<mail::WatchRequest, mail::WatchResponse>;
  grpc::ServerBidiReactor<mail::WatchRequest, mail::WatchResponse>* Watch(Context* context) override {
    return rpc::BidiStreaming<mail::WatchRequest, mail::WatchResponse>(
        runner_, context, [this](WatchCall& call) { return DoWatch(call); });
  }

 private:
  Task<absl::Status> DoAppend(rpc::ReaderCall<mail::AppendRequest, mail::AppendResponse>& call) {
    const std::unique_ptr<AppendStream> stream = backend_.Append({}, AccountRef());
    while (true) {
      PH_CO_ASSIGN_OR_RETURN(std::optional<mail::AppendRequest> request, co_await call.Read());
      if (!request.has_value()) break;
      if (!(co_await stream->Write(*std::move(request))).ok()) break;
    }
    PH_CO_ASSIGN_OR_RETURN(call.response(), co_await stream->Finish());
    co_return absl::OkStatus();
  }
  Task<absl::Status> DoFetch(rpc::WriterCall<mail::FetchRequest, mail::FetchResponse>& call) {
    const std::unique_ptr<FetchStream> stream = backend_.Fetch({}, call.request());
    while (true) {
      PH_CO_ASSIGN_OR_RETURN(std::optional<mail::FetchResponse> chunk, co_await stream->Read());
      if (!chunk.has_value()) co_return absl::OkStatus();
      PH_CO_RETURN_IF_ERROR(co_await call.Write(*std::move(chunk)));
    }
  }
  Task<absl::Status> DoWatch(WatchCall& call) {
    const std::shared_ptr<WatchStream> stream = backend_.Watch("");
    call.OnCancel([stream] { stream->Cancel(); });
    std::vector<Task<absl::Status>> directions;
    directions.push_back(TakeFolders(call, *stream));
    directions.push_back(SendHints(call, *stream));
    co_await WhenAll(std::move(directions));
    co_return absl::OkStatus();
  }
  Task<absl::Status> TakeFolders(WatchCall& call, WatchStream& stream) {
    while (true) {
      PH_CO_ASSIGN_OR_RETURN(std::optional<mail::WatchRequest> request, co_await call.Read());
      if (!request.has_value()) co_return absl::OkStatus();
      PH_CO_RETURN_IF_ERROR(co_await stream.Write(*std::move(request)));
    }
  }
  Task<absl::Status> SendHints(WatchCall& call, WatchStream& stream) {
    while (true) {
      const absl::StatusOr<std::optional<mail::WatchResponse>> response = co_await stream.Read();
      if (!response.ok() || !response->has_value() || !(co_await call.Write(**response)).ok()) break;
    }
    call.Cancel();
    co_return absl::OkStatus();
  }

  FakeBackend& backend_;
  rpc::ServerRunner& runner_;
};

}  // namespace

struct FakeRpc::Impl {
  Impl(FakeBackend& backend, net::EventLoops& loops, metrics::Registry& registry)
      : runner(loops, registry), directory(backend, runner), mailbox(backend, runner) {}
  rpc::ServerRunner runner;
  DirectoryRpc directory;
  MailboxRpc mailbox;
  std::unique_ptr<rpc::RpcServer> server;
};

FakeRpc::FakeRpc(net::EventLoops& loops, metrics::Registry& registry)
    : impl_(std::make_unique<Impl>(backend_, loops, registry)) {
  rpc::ServerOptions options;
  options.port = -1;
  options.service_name = "fake";
  absl::StatusOr<std::unique_ptr<rpc::RpcServer>> server =
      rpc::RpcServer::Start(options, {&impl_->directory, &impl_->mailbox}, registry);
  PH_CHECK(server.ok());
  impl_->server = *std::move(server);
}

FakeRpc::~FakeRpc() {
  impl_->runner.BeginDrain();
  impl_->server->Shutdown(absl::Seconds(5));
}

rpc::Channels FakeRpc::channels() {
  rpc::Channels channels;
  channels.directory = impl_->server->InProcessChannel();
  channels.mailbox[""] = std::make_shared<rpc::Members>(channels.directory);
  return channels;
}

}  // namespace posthouse::gateway
