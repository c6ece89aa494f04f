#include "services/common/live_sessions/sessions_service.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "posthouse/sessions/v1/sessions.grpc.pb.h"
#include "services/common/live_sessions/live_sessions.h"
#include "services/common/rpc/audit.h"
#include "services/common/rpc/streaming.h"
#include "services/common/time/proto_time.h"

namespace posthouse {
namespace {

namespace v1 = sessions::v1;

constexpr size_t kDefaultPage = 100, kMaxPage = 1000;
constexpr size_t kMaxReason = 200;

void FillSession(const LiveSessions::Info& from, v1::Session* to) {
  to->set_session_id(from.id);
  to->set_protocol(from.protocol);
  to->set_address(from.address);
  to->set_account_id(from.account_id);
  to->set_tenant(from.tenant);
  to->set_client_address(from.client);
  ToProto(from.since, to->mutable_since());
  if (from.revoked.has_value()) to->set_revoked(std::string(RevokeReasonName(*from.revoked)));
}

// The text goes into a line of IMAP, POP3 or SMTP: a line end in it would be a reply of its own.
absl::Status CheckReason(const std::string& reason) {
  if (reason.size() <= kMaxReason && std::all_of(reason.begin(), reason.end(), absl::ascii_isprint)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError("reason: at most 200 characters, printable ASCII");
}

class SessionsService final : public v1::SessionsService::CallbackService {
 public:
  SessionsService(rpc::ServerRunner& runner, std::vector<LiveSessions*> registries)
      : runner_(runner), registries_(std::move(registries)) {}

  grpc::ServerUnaryReactor* ListSessions(grpc::CallbackServerContext* context, const v1::ListSessionsRequest* request,
                                         v1::ListSessionsResponse* response) override {
    return rpc::Unary(runner_, context, request, response, [this](auto& call) { return List(call); });
  }
  grpc::ServerUnaryReactor* KickSessions(grpc::CallbackServerContext* context, const v1::KickSessionsRequest* request,
                                         v1::KickSessionsResponse* response) override {
    return rpc::Unary(runner_, context, request, response, [this](auto& call) { return AuditedKick(call); });
  }

 private:
  using KickCall = rpc::UnaryCall<v1::KickSessionsRequest, v1::KickSessionsResponse>;

  Task<absl::Status> List(rpc::UnaryCall<v1::ListSessionsRequest, v1::ListSessionsResponse>& call) {
    const v1::ListSessionsRequest& request = call.request();
    const size_t limit =
        request.page().page_size() == 0 ? kDefaultPage : std::min<size_t>(request.page().page_size(), kMaxPage);
    const LiveSessions::Query query{.account = request.account(), .protocol = request.protocol()};
    // A page token is the id of the last session of the page before, so it says in which registry to go on.
    std::string after = request.page().page_token();
    for (const LiveSessions* registry : registries_) {
      // One more than fits says whether there is another page.
      const size_t room = limit + 1 - static_cast<size_t>(call.response().sessions_size());
      const std::optional<std::vector<LiveSessions::Info>> found = registry->List(query, after, room);
      if (!found.has_value()) continue;
      after.clear();
      for (const LiveSessions::Info& info : *found) FillSession(info, call.response().add_sessions());
    }
    if (!after.empty()) co_return absl::InvalidArgumentError("page_token: not from a list of this process");
    auto& sessions = *call.response().mutable_sessions();
    if (static_cast<size_t>(sessions.size()) > limit) {
      sessions.RemoveLast();
      call.response().mutable_page()->set_next_page_token(sessions.rbegin()->session_id());
    }
    co_return absl::OkStatus();
  }

  Task<absl::Status> AuditedKick(KickCall& call) {
    const absl::Status status = Kick(call.request(), call.response());
    rpc::AuditAdminCall("KickSessions", call.request(), call.info().peer, call.info().trace.trace_id, status);
    co_return status;
  }

  absl::Status Kick(const v1::KickSessionsRequest& request, v1::KickSessionsResponse& response) {
    if (request.session_id().empty() == request.account().empty()) {
      return absl::InvalidArgumentError("give either session_id or account");
    }
    if (!request.session_id().empty() && !request.protocol().empty()) {
      return absl::InvalidArgumentError("protocol: only with account");
    }
    if (absl::Status status = CheckReason(request.reason()); !status.ok()) return status;
    const LiveSessions::Query query{
        .id = request.session_id(), .account = request.account(), .protocol = request.protocol()};
    size_t kicked = 0;
    for (LiveSessions* registry : registries_) kicked += registry->Kick(query, request.reason());
    response.set_sessions(kicked);
    return absl::OkStatus();
  }

  rpc::ServerRunner& runner_;
  const std::vector<LiveSessions*> registries_;
};

}  // namespace

std::shared_ptr<grpc::Service> NewSessionsService(rpc::ServerRunner& runner, std::vector<LiveSessions*> registries) {
  return std::make_shared<SessionsService>(runner, std::move(registries));
}

}  // namespace posthouse
