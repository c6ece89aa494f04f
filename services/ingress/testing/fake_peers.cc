#include "services/ingress/testing/fake_peers.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/ids/ids.h"
#include "services/common/status/status.h"

namespace posthouse::ingress {

namespace q = ::posthouse::queue::v1;
namespace r = ::posthouse::routing::v1;
namespace d = ::posthouse::directory::v1;
namespace m = ::posthouse::mailbox::v1;

class FakePeers::Routing final : public r::RoutingService::CallbackService {
 public:
  Routing(rpc::ServerRunner& runner, Data& data) : runner_(runner), data_(data) {}
  grpc::ServerUnaryReactor* ResolveRecipient(grpc::CallbackServerContext* context,
                                             const r::ResolveRecipientRequest* request,
                                             r::ResolveRecipientResponse* response) override {
    return rpc::Unary(runner_, context, request, response, [this](auto& call) { return Resolve(call); });
  }

 private:
  Task<absl::Status> Resolve(rpc::UnaryCall<r::ResolveRecipientRequest, r::ResolveRecipientResponse>& call) {
    {
      absl::MutexLock lock(&data_.mutex);
      ++data_.resolutions;
      if (data_.routing_fails) co_return absl::UnavailableError("down");
    }
    using Response = r::ResolveRecipientResponse;
    Response& response = call.response();
    response.mutable_ttl()->set_seconds(60);
    const std::string& address = call.request().address();
    const auto local = [&](const std::string& to, uint64_t limit) {
      response.set_outcome(Response::OUTCOME_ACCEPT);
      response.set_tenant("tenant");
      r::Recipient& recipient = *response.add_recipients();
      recipient.set_address(to);
      recipient.mutable_local()->mutable_account()->set_account_id(to);
      recipient.mutable_local()->set_max_message_bytes(limit);
    };
    if (absl::EqualsIgnoreCase(address, "postmaster")) {
      local("user@mx.example", 0);
    } else if (absl::EndsWith(address, "@broken.example")) {
      response.set_outcome(Response::OUTCOME_TEMPORARY);
    } else if (!absl::EndsWithIgnoreCase(address, "@mx.example")) {
      response.set_outcome(call.request().may_relay() ? Response::OUTCOME_ACCEPT : Response::OUTCOME_RELAY_DENIED);
      if (call.request().may_relay()) {
        response.add_recipients()->set_address(address);
        response.mutable_recipients(0)->mutable_remote()->set_domain(address.substr(address.rfind('@') + 1));
      }
    } else if (absl::StartsWithIgnoreCase(address, "user@")) {
      local("user@mx.example", 0);
    } else if (absl::StartsWith(address, "user+")) {
      local("user@mx.example", 0);
      response.mutable_recipients(0)->mutable_local()->set_detail(address.substr(5, address.find('@') - 5));
    } else if (address == "full@mx.example" || address == "part@mx.example") {
      local(address, 0);
    } else if (address == "list@mx.example") {
      for (int i = 0; i < 60; ++i) local(absl::StrCat("member", i, "@mx.example"), 0);
    } else if (address == "shared@mx.example") {
      local("full@mx.example", 0);
      local("part@mx.example", 0);
    } else if (address == "alias@mx.example") {
      local("user@mx.example", 0);
      local("other@mx.example", 0);
    } else if (address == "small@mx.example") {
      local(address, 1000);
    } else if (address == "deep@mx.example" || address == "many@mx.example") {
      response.set_outcome(address == "deep@mx.example" ? Response::OUTCOME_TOO_DEEP : Response::OUTCOME_TOO_MANY);
    } else {
      response.set_outcome(address == "suspended@mx.example" ? Response::OUTCOME_SUSPENDED
                                                             : Response::OUTCOME_NO_SUCH_MAILBOX);
    }
    co_return absl::OkStatus();
  }

  rpc::ServerRunner& runner_;
  Data& data_;
};

class FakePeers::Directory final : public d::DirectoryService::CallbackService {
 public:
  Directory(rpc::ServerRunner& runner, Data& data) : runner_(runner), data_(data) {}
  grpc::ServerUnaryReactor* Authenticate(grpc::CallbackServerContext* context, const d::AuthenticateRequest* request,
                                         d::AuthenticateResponse* response) override {
    return rpc::Unary(runner_, context, request, response, [this](auto& call) { return Check(call); });
  }

 private:
  Task<absl::Status> Check(rpc::UnaryCall<d::AuthenticateRequest, d::AuthenticateResponse>& call) {
    {
      absl::MutexLock lock(&data_.mutex);
      data_.login_address = call.request().client_address();
    }
    if (call.request().username() != "user@mx.example" || call.request().password() != "secret" ||
        call.request().protocol() != "submission") {
      co_return absl::UnauthenticatedError("no");
    }
    call.response().set_address("user@mx.example");
    call.response().mutable_account()->set_tenant("tenant");
    call.response().mutable_account()->set_account_id("user@mx.example");
    call.response().add_may_send_as("user@mx.example");
    co_return absl::OkStatus();
  }

  rpc::ServerRunner& runner_;
  Data& data_;
};

class FakePeers::Queue final : public q::QueueService::CallbackService {
 public:
  Queue(rpc::ServerRunner& runner, Data& data) : runner_(runner), data_(data) {}
  grpc::ServerReadReactor<q::EnqueueRequest>* Enqueue(grpc::CallbackServerContext* context,
                                                      q::EnqueueResponse* response) override {
    return rpc::ClientStreaming<q::EnqueueRequest>(runner_, context, response,
                                                   [this, context](auto& call) { return Take(call, *context); });
  }

 private:
  Task<absl::Status> Take(rpc::ReaderCall<q::EnqueueRequest, q::EnqueueResponse>& call,
                          grpc::CallbackServerContext& context) {
    {
      absl::MutexLock lock(&data_.mutex);
      ++data_.begun;
    }
    Enqueued message;
    const absl::Status status = co_await Read(call, message);
    absl::MutexLock lock(&data_.mutex);
    if (status.ok()) call.response().set_queue_id(absl::StrCat("Q", data_.streams.size() + 1));
    if (!status.ok()) context.AddTrailingMetadata("not_accepted", "1");
    message.committed = status.ok();
    data_.streams.push_back(std::move(message));
    ++data_.ended;
    co_return status;
  }

  Task<absl::Status> Read(rpc::ReaderCall<q::EnqueueRequest, q::EnqueueResponse>& call, Enqueued& message) {
    bool complete = false;
    while (true) {
      co_await Held();
      absl::StatusOr<std::optional<q::EnqueueRequest>> part = co_await call.Read();
      if (!part.ok()) co_return part.status();
      if (!part->has_value()) break;
      ++message.writes;
      q::EnqueueRequest& request = **part;
      if (request.data().size() > 256 * 1024 || request.header().data().size() > 256 * 1024) {
        co_return absl::InvalidArgumentError("piece too large");
      }
      if (request.has_header()) {
        message.envelope = request.header().envelope();
        message.key = request.header().idempotency_key();
        message.data = request.header().data();
        message.tells_when_resolved = request.header().has_resolved_ms_ago();
        complete = request.header().commit();
      } else if (request.has_commit()) {
        complete = request.commit().size_bytes() == message.data.size();
      } else {
        message.data += request.data();
      }
    }
    absl::MutexLock lock(&data_.mutex);
    if (!data_.failures.empty()) {
      const absl::Status failure = data_.failures.front();
      data_.failures.erase(data_.failures.begin());
      co_return failure;
    }
    co_return complete ? absl::OkStatus() : absl::InvalidArgumentError("no commit");
  }

  Task<void> Held() {
    while (true) {
      {
        absl::MutexLock lock(&data_.mutex);
        if (!data_.hold) co_return;
      }
      co_await Sleep(absl::Milliseconds(1));
    }
  }

  rpc::ServerRunner& runner_;
  Data& data_;
};

class FakePeers::Mailbox final : public m::MailboxService::CallbackService {
 public:
  Mailbox(rpc::ServerRunner& runner, Data& data) : runner_(runner), data_(data) {}
  grpc::ServerUnaryReactor* GetUsage(grpc::CallbackServerContext* context, const m::GetUsageRequest* request,
                                     m::GetUsageResponse* response) override {
    return rpc::Unary(runner_, context, request, response, [this](auto& call) { return Usage(call); });
  }

 private:
  Task<absl::Status> Usage(rpc::UnaryCall<m::GetUsageRequest, m::GetUsageResponse>& call) {
    absl::MutexLock lock(&data_.mutex);
    ++data_.usage_calls;
    if (data_.mailbox_fails) co_return absl::UnavailableError("down");
    call.response() = data_.usage[call.request().account().account_id()];
    co_return absl::OkStatus();
  }

  rpc::ServerRunner& runner_;
  Data& data_;
};

FakePeers::FakePeers(net::EventLoops& loops)
    : runner_(std::make_unique<rpc::ServerRunner>(loops, registry_)),
      routing_(std::make_unique<Routing>(*runner_, data_)),
      directory_(std::make_unique<Directory>(*runner_, data_)),
      queue_(std::make_unique<Queue>(*runner_, data_)),
      mailbox_(std::make_unique<Mailbox>(*runner_, data_)) {
  rpc::ServerOptions options;
  options.port = -1;
  auto server =
      rpc::RpcServer::Start(options, {routing_.get(), directory_.get(), queue_.get(), mailbox_.get()}, registry_);
  PH_CHECK(server.ok());
  server_ = *std::move(server);
}

FakePeers::~FakePeers() { server_->Shutdown(absl::Seconds(5)); }

rpc::Channels FakePeers::channels() {
  rpc::Channels channels;
  channels.routing = channels.directory = server_->InProcessChannel();
  channels.queue = {server_->InProcessChannel()};
  channels.mailbox[Home()] = std::make_shared<rpc::Members>(server_->InProcessChannel());
  return channels;
}

void FakePeers::FailEnqueues(std::vector<absl::Status> failures) {
  absl::MutexLock lock(&data_.mutex);
  data_.failures = std::move(failures);
}
void FakePeers::HoldEnqueues(bool hold) {
  absl::MutexLock lock(&data_.mutex);
  data_.hold = hold;
}
void FakePeers::WaitForBegun(size_t begun) const {
  const auto enough = [this, begun]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return data_.begun >= begun; };
  absl::MutexLock lock(&data_.mutex);
  data_.mutex.Await(absl::Condition(&enough));
}
void FakePeers::FailRouting(bool fail) {
  absl::MutexLock lock(&data_.mutex);
  data_.routing_fails = fail;
}
void FakePeers::SetUsage(const std::string& account, uint64_t bytes, uint64_t limit_bytes) {
  absl::MutexLock lock(&data_.mutex);
  data_.usage[account].set_bytes(bytes);
  data_.usage[account].set_limit_bytes(limit_bytes);
}
void FakePeers::FailMailbox(bool fail) {
  absl::MutexLock lock(&data_.mutex);
  data_.mailbox_fails = fail;
}
int FakePeers::usage_calls() const {
  absl::MutexLock lock(&data_.mutex);
  return data_.usage_calls;
}
std::vector<Enqueued> FakePeers::streams() const {
  absl::MutexLock lock(&data_.mutex);
  return data_.streams;
}
std::vector<Enqueued> FakePeers::messages() const {
  std::vector<Enqueued> committed;
  for (Enqueued& stream : streams()) {
    if (stream.committed) committed.push_back(std::move(stream));
  }
  return committed;
}
void FakePeers::WaitForStreams(size_t ended) const {
  absl::MutexLock lock(&data_.mutex);
  const auto reached = [this, ended]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(data_.mutex) { return data_.ended >= ended; };
  data_.mutex.Await(absl::Condition(&reached));
}
int FakePeers::resolutions() const {
  absl::MutexLock lock(&data_.mutex);
  return data_.resolutions;
}
std::string FakePeers::last_login_address() const {
  absl::MutexLock lock(&data_.mutex);
  return data_.login_address;
}

}  // namespace posthouse::ingress
