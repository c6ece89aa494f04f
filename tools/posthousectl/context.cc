#include "tools/posthousectl/context.h"

#include <ostream>

#include "absl/strings/str_cat.h"
#include "services/common/rpc/channel.h"
#include "services/common/status/status.h"
#include "tools/posthousectl/output.h"

namespace posthouse::ctl {

const std::vector<Flag>& GlobalFlags() {
  static const auto* const flags = new std::vector<Flag>{
      {"server", "HOST:PORT", "standalone, or any one process that serves everything (default 127.0.0.1:7400)"},
      {"directory", "HOST:PORT", "the directory, when services are processes of their own"},
      {"routing", "HOST:PORT", "routing"},
      {"queue", "HOST:PORT", "a queue shard; may be given several times"},
      {"mailbox", "HOST:PORT", "a mailbox shard; may be given several times"},
      {"edge", "HOST:PORT", "an ingress or gateway, for ping; may be given several times"},
      {"ca", "FILE", "mTLS: the authority that signed the services' certificates"},
      {"cert", "FILE", "mTLS: certificate of this administrator"},
      {"key", "FILE", "mTLS: its private key"},
      {"timeout", "SECONDS", "for each call (default 10)"},
      {"json", "", "print JSON, one object a line"},
      {"help", "", "explain"},
  };
  return *flags;
}

absl::StatusOr<Targets> Targets::From(const Arguments& globals) {
  Targets targets;
  targets.tls = {globals.GetOr("cert", ""), globals.GetOr("key", ""), globals.GetOr("ca", "")};
  targets.edge = globals.GetAll("edge");
  for (const char* name : {"directory", "routing", "queue", "mailbox"}) {
    if (globals.Has(name)) targets.one_process = false;
  }
  if (targets.one_process) {
    const std::string server = globals.GetOr("server", "127.0.0.1:7400");
    targets.directory = targets.routing = server;
    targets.queue = targets.mailbox = {server};
    return targets;
  }
  if (globals.Has("server")) {
    return absl::InvalidArgumentError(
        "--server is for one process, --directory, --queue, ... for several: give one kind");
  }
  targets.directory = globals.GetOr("directory", "");
  targets.routing = globals.GetOr("routing", "");
  targets.queue = globals.GetAll("queue");
  targets.mailbox = globals.GetAll("mailbox");
  return targets;
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> Context::ChannelTo(const std::string& target) {
  if (target.empty()) {
    return absl::InvalidArgumentError(
        "where is that service? Give --server, or --directory, --routing, --queue and --mailbox");
  }
  std::shared_ptr<grpc::Channel>& channel = channels_[target];
  if (channel == nullptr) {
    PH_ASSIGN_OR_RETURN(channel, rpc::Dial(target, targets.tls));
  }
  return channel;
}

absl::Status Context::NeedQueue() const {
  if (!targets.queue.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError("where is the queue? Give --server or --queue");
}

void Context::Report(const google::protobuf::Message& message, const std::string& text) const {
  out << (json ? ToJson(message) : text) << "\n";
}

void Context::Report(const std::string& text) const {
  if (!json) out << text << "\n";
}

absl::Status Context::Explain(const std::string& target, absl::Status status) const {
  if (status.code() == absl::StatusCode::kUnavailable) {
    return Annotate(status, absl::StrCat("no answer from ", target, " (does it run? do --ca, --cert and --key fit?)"));
  }
  if (status.code() == absl::StatusCode::kDeadlineExceeded) {
    return Annotate(status, absl::StrCat(target, " took longer than ", absl::FormatDuration(timeout)));
  }
  return status;
}

}  // namespace posthouse::ctl
