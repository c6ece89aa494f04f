// ping: whether each service answers, and how fast.
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>

#include <algorithm>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "posthouse/directory/v1/directory.grpc.pb.h"
#include "posthouse/mailbox/v1/mailbox.grpc.pb.h"
#include "posthouse/queue/v1/queue.grpc.pb.h"
#include "posthouse/routing/v1/routing.grpc.pb.h"
#include "services/common/log/json.h"
#include "services/common/status/status.h"
#include "tools/posthousectl/command.h"
#include "tools/posthousectl/context.h"
#include "tools/posthousectl/output.h"

namespace posthouse::ctl {
namespace {

// The health service of gRPC, spoken by hand: Debian has no generated client for it.
// HealthCheckRequest{service} is 0a, the length and the name; HealthCheckResponse{status: SERVING} is 08 01.
// `service`: "posthouse.queue.v1.QueueService"; "": the whole process.
absl::Status CheckHealth(Context& context, const std::string& target, absl::string_view service) {
  PH_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, context.ChannelTo(target));
  grpc::GenericStub stub(channel);
  grpc::ClientContext client;
  rpc::CallOptions options;
  options.deadline = context.timeout;
  rpc::Prepare(client, options);
  std::string asked;
  if (!service.empty()) asked = absl::StrCat("\x0a", std::string(1, static_cast<char>(service.size())), service);
  const grpc::Slice slice(asked);
  grpc::ByteBuffer request(&slice, 1), response;
  absl::Notification done;
  grpc::Status status;
  stub.UnaryCall(&client, "/grpc.health.v1.Health/Check", grpc::StubOptions(), &request, &response,
                 [&](const grpc::Status& s) {
                   status = s;
                   done.Notify();
                 });
  done.WaitForNotification();
  PH_RETURN_IF_ERROR(rpc::FromGrpcVerbatim(status));
  std::vector<grpc::Slice> slices;
  if (!response.Dump(&slices).ok()) return absl::DataLossError("cannot read the answer of the health service");
  std::string bytes;
  for (const grpc::Slice& piece : slices) bytes.append(reinterpret_cast<const char*>(piece.begin()), piece.size());
  if (bytes == "\x08\x01") return absl::OkStatus();
  return absl::UnavailableError("not serving: it is starting, draining or unable to work (its /readyz says why)");
}

absl::Status PingDirectory(Context& context, const std::string& target) {
  directory::v1::ListTenantsRequest request;
  request.mutable_page()->set_page_size(1);
  directory::v1::ListTenantsResponse response;
  return context.Call(target, &directory::v1::DirectoryAdminService::NewStub,
                      &directory::v1::DirectoryAdminService::Stub::ListTenants, request, &response);
}

// Asks for an address that no account can have: any answer shows that routing works and reaches the directory.
absl::Status PingRouting(Context& context, const std::string& target) {
  routing::v1::ResolveRecipientRequest request;
  request.set_address("ping@posthouse.invalid");  // RFC 2606 §2
  routing::v1::ResolveRecipientResponse response;
  PH_RETURN_IF_ERROR(context.Call(target, &routing::v1::RoutingService::NewStub,
                                  &routing::v1::RoutingService::Stub::ResolveRecipient, request, &response));
  if (response.outcome() != routing::v1::ResolveRecipientResponse::OUTCOME_TEMPORARY) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("answers, but cannot resolve addresses: ", response.detail()));
}

absl::Status PingQueue(Context& context, const std::string& target) {
  queue::v1::GetStatsResponse response;
  return context.Call(target, &queue::v1::QueueAdminService::NewStub, &queue::v1::QueueAdminService::Stub::GetStats,
                      queue::v1::GetStatsRequest(), &response);
}

// Asks for an account that cannot exist: the refusal shows that the mailbox works.
absl::Status PingMailbox(Context& context, const std::string& target) {
  mailbox::v1::GetUsageResponse response;
  const absl::Status status =
      context.Call(target, &mailbox::v1::MailboxService::NewStub, &mailbox::v1::MailboxService::Stub::GetUsage,
                   mailbox::v1::GetUsageRequest(), &response);
  return absl::IsInvalidArgument(status) || absl::IsNotFound(status) ? absl::OkStatus() : status;
}

absl::Status Answered(Context&, const std::string&) { return absl::OkStatus(); }  // its health says enough

struct Probe {
  std::string service, target;
  absl::string_view health;  // what its health is asked for
  absl::Status (*ask)(Context&, const std::string&);
};

std::vector<Probe> ProbesOf(const Targets& t) {
  std::vector<Probe> probes;
  if (t.one_process) probes.push_back({"process", t.directory, "", Answered});
  if (!t.directory.empty())
    probes.push_back({"directory", t.directory, "posthouse.directory.v1.DirectoryService", PingDirectory});
  if (!t.routing.empty()) probes.push_back({"routing", t.routing, "posthouse.routing.v1.RoutingService", PingRouting});
  for (const std::string& target : t.queue)
    probes.push_back({"queue", target, "posthouse.queue.v1.QueueService", PingQueue});
  for (const std::string& target : t.mailbox)
    probes.push_back({"mailbox", target, "posthouse.mailbox.v1.MailboxService", PingMailbox});
  for (const std::string& target : t.edge) probes.push_back({"edge", target, "", Answered});
  return probes;
}

struct Answer {
  absl::Status status;
  absl::Duration took;
};

Answer Ask(Context& context, const Probe& probe) {
  const absl::Time start = absl::Now();
  absl::Status status = CheckHealth(context, probe.target, probe.health);
  if (status.ok()) status = probe.ask(context, probe.target);
  return {std::move(status), absl::Now() - start};
}

absl::Status Ping(Context& context) {
  const std::vector<Probe> probes = ProbesOf(context.targets);
  std::vector<Answer> answers;
  for (const Probe& probe : probes) answers.push_back(Ask(context, probe));
  // --wait: those that failed are asked again.
  const absl::Time end = absl::Now() + absl::Seconds(context.arguments.GetCount("wait", 0));
  const auto failures = [&] {
    return std::count_if(answers.begin(), answers.end(), [](const Answer& answer) { return !answer.status.ok(); });
  };
  while (failures() > 0 && absl::Now() < end) {
    absl::SleepFor(std::min(absl::Seconds(1), end - absl::Now()));
    for (size_t i = 0; i < probes.size(); ++i) {
      if (!answers[i].status.ok()) answers[i] = Ask(context, probes[i]);
    }
  }
  std::vector<std::vector<std::string>> rows;
  for (size_t i = 0; i < probes.size(); ++i) {
    const auto& [status, took] = answers[i];
    if (context.json) {
      std::string error;
      log::AppendJsonString(status.message(), 1024, &error);
      context.out << absl::StrFormat(
          "{\"service\":\"%s\",\"target\":\"%s\",\"ok\":%s,\"milliseconds\":%.3f,\"error\":%s}\n", probes[i].service,
          probes[i].target, status.ok() ? "true" : "false", absl::ToDoubleMilliseconds(took), error);
    }
    rows.push_back({probes[i].service, probes[i].target, status.ok() ? "ok" : "FAILED",
                    absl::StrFormat("%.1f ms", absl::ToDoubleMilliseconds(took)),
                    status.ok() ? "" : Printable(status.message())});
  }
  if (!context.json) context.out << Table({"SERVICE", "TARGET", "STATE", "TOOK", ""}, rows);
  if (failures() == 0) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(failures(), " of ", probes.size(), " services failed"));
}

}  // namespace

Command PingCommand() {
  return {{"ping",
           {},
           "Ask each service whether it can do its work",
           {cli::Count("wait", "SECONDS", "ask those that failed again for this long (default 0)")},
           {"posthousectl ping", "posthousectl ping --wait 120",
            "posthousectl ping --directory 10.0.0.5:7405 --edge 10.0.0.9:7400"}},
          Ping};
}

}  // namespace posthouse::ctl
