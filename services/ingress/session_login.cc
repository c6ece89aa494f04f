#include "services/ingress/session_login.h"

#include <utility>

#include "services/common/log/log.h"
#include "services/common/rpc/login_checks.h"
#include "services/ingress/routing_and_directory.h"

namespace posthouse::ingress {

Task<absl::StatusOr<Login>> SessionLogin::Check(const sasl::Credentials& credentials, const rpc::TraceContext& trace) {
  rpc::PasswordLogin request;
  request.username = credentials.username;
  request.password = credentials.password;
  request.client_address = connection_.peer().address;
  request.tls = connection_.tls();
  request.protocol = "submission";
  request.trace = trace;
  // The directory limits guessing over many connections, by address, network and account.
  absl::StatusOr<Login> login = co_await context_.peers->Authenticate(std::move(request));
  const absl::Duration delay = rpc::GuessDelay(login.status(), refused_);
  if (delay > absl::ZeroDuration()) {
    ++refused_;
    co_await Sleep(delay);
  }
  context_.metrics->Logins(login.status().code()).Add();
  // A login that fails is reported as what the dialogue refuses.
  if (login.ok()) {
    LOG_EVENT(kInfo, "login")
        .Str("port", PortName(port_))
        .Str("client", connection_.peer().address)
        .Str("account", login->address)
        .Bool("tls", connection_.tls())
        .Trace(trace.trace_id);
    Register(*login);
  }
  co_return login;
}

void SessionLogin::Register(const Login& login) {
  if (context_.live == nullptr) return;
  LiveSessions::Login live;
  live.protocol = "submission";
  live.address = login.address;
  live.client = connection_.peer().address;
  live.account.set_tenant(login.tenant.value());
  live.account.set_account_id(login.account_id.value());
  live.account.set_home(login.home.value());
  live.account.set_placement_epoch(login.placement_epoch);
  live.credential_revision = login.credential_revision;
  live.directory_revision = login.directory_revision;
  live_ = context_.live->Add(std::move(live),
                             {.wake = [this] { connection_.InterruptRead(); }, .cut = [this] { connection_.Close(); }});
}

Task<std::optional<std::vector<std::string>>> SessionLogin::AskSenders(const Login& login) {
  const absl::StatusOr<std::vector<std::string>> senders = co_await live_->AskSenders();
  if (senders.ok()) co_return NormalizeSenders(*senders);
  LOG_EVENT(kWarning, "senders_not_refreshed")
      .Str("account", login.address)
      .Str("client", connection_.peer().address)
      .Err(senders.status());
  co_return std::nullopt;
}

}  // namespace posthouse::ingress
