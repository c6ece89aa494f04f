#include "tools/posthousectl/context.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <ostream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/rpc/channel.h"
#include "services/common/rpc/listen.h"
#include "services/common/rpc/metadata.h"
#include "services/common/rpc/resolve.h"
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
  cli::Flag server = Address("server",
                             "standalone, which serves everything; unix:PATH for its socket (default "
                             "unix:/var/lib/posthouse/posthouse.sock, or that of tools/up in this folder)");
  server.excludes = {"directory", "routing", "queue", "mailbox"};
  return {
      std::move(server),
      Address("directory", "the directory, when each service is a process of its own"),
      Address("routing", "routing"),
      Address("queue", "a queue shard", /*repeated=*/true),
      Address("mailbox", "a mailbox shard", /*repeated=*/true),
      Address("edge", "an ingress or a gateway, or a name that all of them have, for ping, trace and sessions",
              /*repeated=*/true),
      cli::File("ca", "mTLS: the authority that signed the certificates of the services"),
      cli::File("cert", "mTLS: your certificate"),
      cli::File("key", "mTLS: the private key of your certificate"),
      cli::File("token-file", "the secret of rpc.token_file, for a port without mTLS"),
  };
}

Targets Targets::From(const cli::Arguments& arguments) {
  Targets targets;
  targets.tls = {arguments.GetOr("cert", ""), arguments.GetOr("key", ""), arguments.GetOr("ca", "")};
  targets.token_file = arguments.GetOr("token-file", "");
  targets.edge = arguments.GetAll("edge");
  for (const char* name : {"directory", "routing", "queue", "mailbox"}) {
    if (arguments.Has(name)) targets.one_process = false;
  }
  if (targets.one_process) {
    const std::string server = arguments.Has("server") ? arguments.GetOr("server", "") : FindSocket();
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

std::string FindSocket() {
  constexpr char kInstalled[] = "/var/lib/posthouse/posthouse.sock";
  constexpr char kOfThisClone[] = "var/store/posthouse.sock";
  struct stat info{};
  // Another user's socket in the current folder would receive the passwords that are set.
  const bool ours = lstat(kOfThisClone, &info) == 0 && S_ISSOCK(info.st_mode) && info.st_uid == geteuid();
  return absl::StrCat("unix:", ours ? kOfThisClone : kInstalled);
}

absl::StatusOr<rpc::ChannelMetadata> Context::Metadata() const {
  rpc::ChannelMetadata metadata;
  if (targets.token_file.empty()) return metadata;
  absl::StatusOr<std::string> token = rpc::ReadToken(targets.token_file);
  if (!token.ok()) return Annotate(token.status(), "--token-file");
  metadata.emplace_back(rpc::kTokenKey, absl::StrCat(rpc::kTokenPrefix, *token));
  return metadata;
}

std::vector<std::string> Context::Edges() {
  std::vector<std::string> edges;
  const auto add = [&edges](const std::string& edge) {
    if (std::find(edges.begin(), edges.end(), edge) == edges.end()) edges.push_back(edge);
  };
  for (const std::string& target : targets.edge) {
    const std::optional<rpc::TargetName> name = rpc::NameOfTarget(target);
    const absl::StatusOr<std::vector<std::string>> addresses =
        name ? rpc::Resolve(*name) : std::vector<std::string>{target};
    if (!addresses.ok()) {
      add(target);
      continue;
    }
    for (const std::string& address : *addresses) {
      if (name) host_of_[address] = name->host;
      add(address);
    }
  }
  return edges;
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> Context::ChannelTo(const std::string& target) {
  std::shared_ptr<grpc::Channel>& channel = channels_[target];
  if (channel == nullptr) {
    PH_ASSIGN_OR_RETURN(const rpc::ChannelMetadata metadata, Metadata());
    const auto host = host_of_.find(target);
    if (host == host_of_.end()) {
      PH_ASSIGN_OR_RETURN(channel, rpc::Dial(target, targets.tls, metadata));
    } else {
      PH_ASSIGN_OR_RETURN(channel, rpc::DialAddress(target, host->second, targets.tls, metadata));
    }
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
    const bool socket = absl::StartsWith(target, "unix:");
    return Annotate(status, absl::StrCat("no answer from ", target,
                                         socket ? " (is it running? are you its user or root? --server names another)"
                                                : " (is it running? are --ca, --cert and --key right?)"));
  }
  if (status.code() == absl::StatusCode::kDeadlineExceeded) {
    return Annotate(status, absl::StrCat(target, " took longer than ", absl::FormatDuration(timeout)));
  }
  return status;
}

}  // namespace posthouse::ctl
