// Context: what a command of posthousectl uses: its arguments, connections to the services, and the streams it prints
// to.
// Threads: the main thread. Calls of services block, at most for the time-out each.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/stub_options.h>

#include <iosfwd>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/cli/cli.h"
#include "services/common/rpc/client.h"
#include "services/common/rpc/metadata.h"
#include "services/common/rpc/server.h"

namespace google::protobuf {
class Message;
}

namespace posthouse::ctl {

// Addresses of the services. `standalone` serves all of them at one address.
struct Targets {
  std::string directory, routing;
  std::vector<std::string> queue, mailbox;  // one for each shard
  // Ingress and gateway, as given: `ping` asks one process of each name, `sessions` all (Context::Edges()), `trace`
  // those that are an ingress.
  std::vector<std::string> edge;
  bool one_process = true;
  rpc::TlsFiles tls;
  std::string token_file;  // "": no secret

  // Without an address of the command line or the environment: the socket that FindSocket() returns.
  static Targets From(const cli::Arguments& arguments);
};

// Where standalone listens on this machine: "unix:" and the path of its socket. That of tools/up in this clone
// (var/store/posthouse.sock) when it exists and is the caller's, else the one of an installed service,
// /var/lib/posthouse/posthouse.sock.
std::string FindSocket();

// The flags that From() reads.
std::vector<cli::Flag> TargetFlags();

class Context {
 public:
  // All parameters outlive the Context.
  Context(const Targets& targets, const cli::Arguments& arguments, std::istream& in, std::ostream& out,
          std::ostream& err)
      : arguments(arguments),
        targets(targets),
        timeout(absl::Seconds(arguments.GetCount("timeout", 10))),
        json(arguments.Has("json")),
        in(in),
        out(out),
        err(err) {}

  // The one operand of a command that takes one.
  const std::string& Operand() const { return arguments.operands().at(0); }

  // The processes behind --edge: a name stands for each address that it has, so that all replicas are asked. A name
  // that cannot be resolved now stays, and the call to it says why it fails. Blocks. Each can be given to Call().
  std::vector<std::string> Edges();

  // A channel that connects at its first call; kInvalidArgument when `target` or the TLS files are unusable.
  absl::StatusOr<std::shared_ptr<grpc::Channel>> ChannelTo(const std::string& target);

  // Calls `method` of the service at `target` and waits for its answer, at most `timeout`.
  template <typename Stub, typename Request, typename Response>
  absl::Status Call(const std::string& target,
                    std::unique_ptr<Stub> (*new_stub)(const std::shared_ptr<grpc::ChannelInterface>&,
                                                      const grpc::StubOptions&),
                    grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = ChannelTo(target);
    if (!channel.ok()) return channel.status();
    const std::unique_ptr<Stub> stub = new_stub(*channel, grpc::StubOptions());
    grpc::ClientContext context;
    rpc::CallOptions options;
    options.deadline = timeout;
    rpc::Prepare(context, options);
    return Explain(target, rpc::FromGrpcVerbatim(((*stub).*method)(&context, request, response)));
  }

  // kInvalidArgument when no flag has the address of the directory, or of a queue shard.
  absl::Status NeedDirectory() const;
  absl::Status NeedQueue() const;
  // Prints what a command did: `message` with --json, else `text`.
  void Report(const google::protobuf::Message& message, const std::string& text) const;
  // Prints `text`, and nothing with --json: the answer was empty.
  void Report(const std::string& text) const;

  const cli::Arguments& arguments;
  const Targets& targets;
  const absl::Duration timeout;
  const bool json;
  std::istream& in;
  std::ostream& out;
  std::ostream& err;

 private:
  // Adds to a status without an answer which target was asked, and what to check.
  absl::Status Explain(const std::string& target, absl::Status status) const;

  absl::StatusOr<rpc::ChannelMetadata> Metadata() const;

  std::map<std::string, std::string> host_of_;  // of an address that a name was resolved to: its certificate's name
  std::map<std::string, std::shared_ptr<grpc::Channel>> channels_;
};

}  // namespace posthouse::ctl
