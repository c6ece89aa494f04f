#include "services/common/rpc/peer_check.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/blocking_counter.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/rpc/access_options.h"
#include "services/common/rpc/admission.h"
#include "services/common/rpc/metadata.h"

namespace posthouse::rpc {
namespace {

// One peer that is asked.
struct Question {
  std::string key;  // "peers.mailbox \"m0\""
  std::string target;
  std::string process;  // "mailbox"
  std::string service;  // its gRPC service
  std::string method;   // one that the asking service may call
  std::shared_ptr<grpc::Channel> channel;
  grpc::ClientContext context;
  grpc::ByteBuffer request, response;
  grpc::Status status;
};

using Questions = std::vector<std::unique_ptr<Question>>;

void Add(Questions* questions, std::string key, std::string target, const std::string& process,
         absl::string_view method, std::shared_ptr<grpc::Channel> channel) {
  if (channel == nullptr) return;
  auto question = std::make_unique<Question>();
  question->key = std::move(key);
  question->target = std::move(target);
  question->process = process;
  const std::string name = process == "directory" ? "Directory"
                           : process == "routing" ? "Routing"
                           : process == "queue"   ? "Queue"
                                                  : "Mailbox";
  question->service = absl::StrCat("posthouse.", process, ".v1.", name, "Service");
  question->method = std::string(method);
  question->channel = std::move(channel);
  questions->push_back(std::move(question));
}

Questions QuestionsOf(const config::v1::Config& config, const std::string& service, const Channels& channels) {
  const auto& peers = config.peers();
  Questions questions;
  // The methods are those that callers.h allows to the service.
  const bool stores = service == "ingress" || service == "queue" || service == "gateway";
  if (service != "directory") {
    Add(&questions, "peers.directory", peers.directory(), "directory",
        service == "routing" ? "LookupAddress" : "GetAccount", channels.directory);
  }
  if (service == "ingress" || service == "queue") {
    Add(&questions, "peers.routing", peers.routing(), "routing", "ResolveRecipient", channels.routing);
  }
  if (service == "ingress") {
    const auto size = static_cast<size_t>(peers.queue_size());
    for (size_t i = 0; i < channels.queue.size(); ++i) {
      const bool named = i >= size;
      const int at = static_cast<int>(named ? i - size : i);
      std::string key =
          named ? absl::StrCat("peers.queue_shards \"", peers.queue_shards(at).name(), "\"") : "peers.queue";
      std::string target = named ? peers.queue_shards(at).target() : peers.queue(at);
      Add(&questions, std::move(key), std::move(target), "queue", "Enqueue", channels.queue[i]);
    }
  }
  for (const config::v1::Shard& shard : peers.mailbox()) {
    const auto it = channels.mailbox.find(Home(shard.name()));
    if (!stores || it == channels.mailbox.end()) continue;
    Add(&questions, absl::StrCat("peers.mailbox \"", shard.name(), "\""), shard.target(), "mailbox", "GetUsage",
        it->second->For(AccountId())->channel());
  }
  return questions;
}

absl::Status Judge(const Question& question) {
  const std::string where = absl::StrCat(question.key, ", ", question.target, ": ");
  if (question.status.error_code() == grpc::StatusCode::UNIMPLEMENTED) {
    return absl::FailedPreconditionError(
        absl::StrCat(where, "this is not the ", question.process, ", it does not serve ", question.service));
  }
  if (question.status.error_code() == grpc::StatusCode::FAILED_PRECONDITION &&
      question.status.error_details() == kRefusalPayload) {
    return absl::FailedPreconditionError(absl::StrCat(where, question.status.error_message()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckPeers(const config::v1::Config& config, const std::string& service, const Channels& channels,
                        absl::Duration patience) {
  const Questions questions = QuestionsOf(config, service, channels);
  absl::BlockingCounter answered(static_cast<int>(questions.size()));
  const auto deadline = std::chrono::system_clock::now() + absl::ToChronoMilliseconds(patience);
  for (const std::unique_ptr<Question>& question : questions) {
    Question& q = *question;
    q.context.set_deadline(deadline);
    q.context.AddMetadata(kAdmissionKey, "1");
    const grpc::Slice empty;
    q.request = grpc::ByteBuffer(&empty, 1);
    grpc::GenericStub(q.channel).UnaryCall(&q.context, absl::StrCat("/", q.service, "/", q.method), grpc::StubOptions(),
                                           &q.request, &q.response, [&q, &answered](const grpc::Status& status) {
                                             q.status = status;
                                             answered.DecrementCount();
                                           });
  }
  answered.Wait();
  for (const std::unique_ptr<Question>& question : questions) {
    absl::Status status = Judge(*question);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace posthouse::rpc
