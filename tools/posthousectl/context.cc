#include "tools/posthousectl/context.h"

#include <ostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/common/rpc/channel.h"
#include "services/common/status/status.h"
#include "tools/posthousectl/output.h"

namespace posthouse::ctl {

namespace {

cli::Flag Address(std::string name, std::string help, bool repeated = false) {
  return {.name = std::move(name),
          .argument = "HOST:PORT",
          .help = std::move(help),
          .kind = cli::Flag::Kind::kAddress,
          .repeated = repeated};
}

}  // namespace

std::vector<cli::Flag> TargetFlags() {
  cli::Flag server = Address("server", "standalone, which serves everything (default 127.0.0.1:7400)");
  server.excludes = {"directory", "routing", "queue", "mailbox"};
  return {
      std::move(server),
      Address("directory", "the directory, when each service is a process of its own"),
      Address("routing", "routing"),
      Address("queue", "a queue shard", /*repeated=*/true),
      Address("mailbox", "a mailbox shard", /*repeated=*/true),
      Address("edge", "an ingress or a gateway, for ping and trace", /*repeated=*/true),
      cli::File("ca", "mTLS: the authority that signed the certificates of the services"),
      cli::File("cert", "mTLS: your certificate"),
      cli::File("key", "mTLS: the private key of your certificate"),
  };
}

Targets Targets::From(const cli::Arguments& arguments) {
  Targets targets;
  targets.tls = {arguments.GetOr("cert", ""), arguments.GetOr("key", ""), arguments.GetOr("ca", "")};
  targets.edge = arguments.GetAll("edge");
  for (const char* name : {"directory", "routing", "queue", "mailbox"}) {
    if (arguments.Has(name)) targets.one_process = false;
  }
  if (targets.one_process) {
    const std::string server = arguments.GetOr("server", "127.0.0.1:7400");
    targets.directory = targets.routing = server;
    targets.queue = targets.mailbox = {server};
    return targets;
  }
  targets.directory = arguments.GetOr("directory", "");
  targets.routing = arguments.GetOr("routing", "");
  targets.queue = arguments.GetAll("queue");
  targets.mailbox = arguments.GetAll("mailbox");
  return targets;
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> Context::ChannelTo(const std::string& target) {
  std::shared_ptr<grpc::Channel>& channel = channels_[target];
  if (channel == nullptr) {
    PH_ASSIGN_OR_RETURN(channel, rpc::Dial(target, targets.tls));
  }
  return channel;
}

absl::Status Context::NeedDirectory() const {
  if (!targets.directory.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError("no directory address: use --server or --directory");
}

absl::Status Context::NeedQueue() const {
  if (!targets.queue.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError("no queue address: use --server or --queue");
}

void Context::Report(const google::protobuf::Message& message, const std::string& text) const {
  out << (json ? ToJson(message) : text) << "\n";
}

void Context::Report(const std::string& text) const {
  if (!json) out << text << "\n";
}

absl::Status Context::Explain(const std::string& target, absl::Status status) const {
  if (status.code() == absl::StatusCode::kUnavailable) {
    return Annotate(status,
                    absl::StrCat("no answer from ", target, " (is it running? are --ca, --cert and --key right?)"));
  }
  if (status.code() == absl::StatusCode::kDeadlineExceeded) {
    return Annotate(status, absl::StrCat(target, " took longer than ", absl::FormatDuration(timeout)));
  }
  return status;
}

}  // namespace posthouse::ctl
