// sessions: clients that are logged in, and how to end what they have open.
#include <algorithm>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "posthouse/sessions/v1/sessions.grpc.pb.h"
#include "services/common/status/status.h"
#include "services/common/time/proto_time.h"
#include "services/mail_formats/address/address.h"
#include "tools/posthousectl/command.h"
#include "tools/posthousectl/context.h"
#include "tools/posthousectl/output.h"

namespace posthouse::ctl {
namespace {

namespace v1 = sessions::v1;
using Stub = v1::SessionsService::Stub;

// standalone, or each ingress and gateway that --edge names.
absl::StatusOr<std::vector<std::string>> Edges(Context& context) {
  std::vector<std::string> targets = context.Edges();
  // With --edge alone there is no standalone to ask, as for an installed one on this machine.
  if (targets.empty() && context.targets.one_process) targets.push_back(context.targets.directory);
  if (targets.empty()) {
    return absl::InvalidArgumentError("no address of an ingress or a gateway: use --server or --edge");
  }
  return targets;
}

// "" or --account as the services know it: an account id stays, an address gets its normal form.
std::string Account(const Context& context) {
  std::string account = context.arguments.GetOr("account", "");
  if (!absl::StrContains(account, '@')) return account;
  absl::StatusOr<std::string> normal = NormalizeLocalAddress(account);
  return normal.ok() ? *std::move(normal) : account;
}

// "imap", "pop3", "submission"; "": all.
std::string Protocol(const Context& context) { return absl::AsciiStrToLower(context.arguments.GetOr("protocol", "")); }

absl::Status List(Context& context) {
  PH_ASSIGN_OR_RETURN(const std::vector<std::string> targets, Edges(context));
  const uint32_t limit = context.arguments.GetCount("limit", 1000);
  Listing listing(context.json, context.out, {"ID", "PROTOCOL", "ACCOUNT", "CLIENT", "SINCE", "AGE", "STATE"});
  bool more = false;
  absl::Status failed;
  // A process that does not answer does not hide the sessions of the others.
  for (const std::string& target : targets) {
    v1::ListSessionsRequest request;
    request.set_account(Account(context));
    request.set_protocol(Protocol(context));
    while (true) {
      if (listing.size() == limit) {
        more = true;
        break;
      }
      request.mutable_page()->set_page_size(std::min<uint32_t>(limit - static_cast<uint32_t>(listing.size()), 1000));
      v1::ListSessionsResponse response;
      const absl::Status status =
          context.Call(target, &v1::SessionsService::NewStub, &Stub::ListSessions, request, &response);
      if (absl::IsInvalidArgument(status)) return status;
      if (!status.ok()) {
        failed = status;
        break;
      }
      for (const v1::Session& session : response.sessions()) {
        const absl::Time since = FromProto(session.since());
        listing.Add(session, {session.session_id(), session.protocol(), Printable(session.address()),
                              session.client_address(), ShowTime(since), FormatAge(absl::Now() - since),
                              session.revoked().empty() ? "open" : absl::StrCat("ends: ", session.revoked())});
      }
      if (response.page().next_page_token().empty()) break;
      request.mutable_page()->set_page_token(response.page().next_page_token());
    }
  }
  if (listing.size() == 0) {
    if (failed.ok()) context.Report("no sessions are open");
    return failed;
  }
  listing.Finish();
  if (more) context.Report("more sessions may be open: a higher --limit lists them");
  return failed;
}

absl::Status Kick(Context& context) {
  const bool one = !context.arguments.operands().empty();
  if (one == context.arguments.Has("account")) {
    return absl::InvalidArgumentError("give either a SESSION-ID or --account");
  }
  if (one && context.arguments.Has("protocol")) return absl::InvalidArgumentError("--protocol needs --account");
  PH_ASSIGN_OR_RETURN(const std::vector<std::string> targets, Edges(context));
  v1::KickSessionsRequest request;
  if (one) request.set_session_id(context.Operand());
  request.set_account(Account(context));
  request.set_protocol(Protocol(context));
  request.set_reason(context.arguments.GetOr("reason", ""));
  v1::KickSessionsResponse all;
  absl::Status failed;
  // A process that does not answer does not keep the sessions of the others open.
  for (const std::string& target : targets) {
    v1::KickSessionsResponse response;
    const absl::Status status =
        context.Call(target, &v1::SessionsService::NewStub, &Stub::KickSessions, request, &response);
    if (absl::IsInvalidArgument(status)) return status;
    if (!status.ok()) failed = status;
    all.set_sessions(all.sessions() + response.sessions());
  }
  if (one && failed.ok() && all.sessions() == 0) {
    return absl::NotFoundError(absl::StrCat("no open session has the id ", Printable(context.Operand())));
  }
  context.Report(all, absl::StrCat(all.sessions(), all.sessions() == 1 ? " session" : " sessions", " ended"));
  return failed;
}

cli::Flag AccountFlag(std::string help) { return cli::Text("account", "ADDRESS|ID", std::move(help)); }
cli::Flag ProtocolFlag(std::string help) {
  return cli::Choice("protocol", "PROTOCOL", std::move(help), {"imap", "pop3", "submission"});
}

}  // namespace

Noun SessionsCommands() {
  return {"sessions",
          "clients that are logged in",
          {
              {{"sessions list",
                {},
                "List the IMAP, POP3 and submission sessions whose clients are logged in",
                {AccountFlag("list only sessions of this account (its primary address, or its id)"),
                 ProtocolFlag("list only sessions of this protocol"),
                 cli::Count("limit", "N", "list at most N sessions (default 1000)")},
                {"posthousectl sessions list --account alice@example.org",
                 "posthousectl --edge 10.0.0.9:7400 --edge 10.0.0.10:7404 sessions list"}},
               List},
              {{"sessions kick",
                {{"SESSION-ID", cli::Operand::Times::kOptional}},
                "End sessions; the clients may log in again, unless the password was changed or the account suspended",
                {AccountFlag("end the sessions of this account (its primary address, or its id)"),
                 ProtocolFlag("of the account, end only sessions of this protocol"),
                 cli::Text("reason", "TEXT", "what the client reads and the log says, in ASCII")},
                {"posthousectl sessions kick 5f2a90c1-17",
                 "posthousectl sessions kick --account alice@example.org --reason 'stolen phone'"}},
               Kick},
          }};
}

}  // namespace posthouse::ctl
