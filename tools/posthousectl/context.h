// Context: what a command of posthousectl works with: its arguments, connections to
// the services, and where it prints.
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
#include "services/common/rpc/client.h"
#include "services/common/rpc/server.h"
#include "tools/posthousectl/arguments.h"

namespace google::protobuf {
class Message;
}

namespace posthouse::ctl {

// Where the services are. In `standalone` all of them are one target.
struct Targets {
  std::string directory, routing;
  std::vector<std::string> queue, mailbox;  // one for each shard
  std::vector<std::string> edge;            // ingress and gateway: health only
  bool one_process = true;
  rpc::TlsFiles tls;

  // From the global flags; kInvalidArgument when they contradict each other.
  static absl::StatusOr<Targets> From(const Arguments& globals);
};

// The flags that every command takes.
const std::vector<Flag>& GlobalFlags();

class Context {
 public:
  // All of them outlive it.
  Context(const Targets& targets, const Arguments& arguments, absl::Duration timeout, bool json, std::istream& in,
          std::ostream& out, std::ostream& err)
      : arguments(arguments), targets(targets), timeout(timeout), json(json), in(in), out(out), err(err) {}

  // A lazily connected channel; kUnavailable or kInvalidArgument when it cannot be made.
  absl::StatusOr<std::shared_ptr<grpc::Channel>> ChannelTo(const std::string& target);

  // One call: `method` of a stub, with the deadline; the error names the target.
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
    return Explain(target, rpc::FromGrpc(((*stub).*method)(&context, request, response)));
  }

  // kInvalidArgument when no flag says where the queue is.
  absl::Status NeedQueue() const;
  // What a command did: `message` as JSON, or `text` for people.
  void Report(const google::protobuf::Message& message, const std::string& text) const;
  // For answers that are empty: nothing in JSON.
  void Report(const std::string& text) const;

  const Arguments& arguments;
  const Targets& targets;
  const absl::Duration timeout;
  const bool json;
  std::istream& in;
  std::ostream& out;
  std::ostream& err;

 private:
  // Says where nobody answered, and what to look at.
  absl::Status Explain(const std::string& target, absl::Status status) const;

  std::map<std::string, std::shared_ptr<grpc::Channel>> channels_;
};

}  // namespace posthouse::ctl
