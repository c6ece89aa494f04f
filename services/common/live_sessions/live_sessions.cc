#include "services/common/live_sessions/live_sessions.h"

#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "posthouse/directory/v1/directory.grpc.pb.h"
#include "services/common/async/sync.h"
#include "services/common/async/when_all.h"
#include "services/common/ids/ids.h"
#include "services/common/log/log.h"
#include "services/common/rpc/client.h"
#include "services/common/rpc/directory_changes.h"

namespace posthouse {
namespace {

namespace v1 = directory::v1;

constexpr absl::string_view kNames[kRevokeReasons] = {"account_deleted", "account_suspended", "password_changed",
                                                      "account_moved", "administrator"};
constexpr absl::string_view kTexts[kRevokeReasons] = {
    "Account was deleted", "Account is suspended", "Password was changed, log in again",
    "Account was moved, log in again", "Session ended by the administrator"};
constexpr absl::Duration kCall = absl::Seconds(2);
constexpr absl::Duration kRetry = absl::Seconds(1);
constexpr size_t kCallsAtOnce = 32;

}  // namespace

absl::string_view RevokeReasonName(RevokeReason reason) { return kNames[static_cast<size_t>(reason)]; }

struct LiveSessions::State : std::enable_shared_from_this<State> {
  State(const std::shared_ptr<grpc::Channel>& directory, Executor& e, metrics::Registry& registry,
        absl::string_view service)
      : id(absl::BytesToHexString(RandomBytes(4))), stub(v1::DirectoryService::NewStub(directory)), executor(e) {
    for (size_t i = 0; i < kRevokeReasons; ++i) {
      revoked_total[i] = &registry.AddCounter(
          absl::StrCat("posthouse_", service, "_sessions_revoked_total"),
          "Sessions that the server ended before the client did: their account no longer allows them",
          {{"reason", std::string(kNames[i])}});
    }
  }

  // ---- the change stream
  void OnChanged(uint64_t revision, const v1::WatchResponse& response) {
    {
      absl::MutexLock lock(&mutex);
      seen = revision;
      for (const v1::Change& change : response.changes()) Note(change);
    }
    wakeup.Signal();
  }
  void OnLost() {
    {
      absl::MutexLock lock(&mutex);
      for (const auto& [account, ids] : by_account) pending.insert(account);
      ++senders_changed;
    }
    wakeup.Signal();
  }
  void OnAlive(uint64_t revision) {
    absl::MutexLock lock(&mutex);
    seen = revision;
  }

  void Note(const v1::Change& change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    switch (change.kind()) {
      case v1::Change::KIND_ACCOUNT:
      case v1::Change::KIND_CREDENTIAL:
        if (by_account.contains(change.account_id())) pending.insert(change.account_id());
        return;
      case v1::Change::KIND_ALIAS:
        ++senders_changed;
        return;
      default:
        break;
    }
    ++senders_changed;  // a domain, which may be another name of another one, or a newer kind
    const std::string domain = absl::StrCat("@", change.name());
    for (const auto& [number, session] : sessions) {
      const Login& login = session->login_;
      const bool meant = change.kind() == v1::Change::KIND_TENANT   ? login.account.tenant() == change.name()
                         : change.kind() == v1::Change::KIND_DOMAIN ? absl::EndsWith(login.address, domain)
                                                                    : true;  // a newer kind
      if (meant) pending.insert(login.account.account_id());
    }
  }

  // ---- the questions
  static Task<void> Run(std::shared_ptr<State> state) {
    while (true) {
      std::vector<std::string> accounts;
      {
        absl::MutexLock lock(&state->mutex);
        if (state->stopping) break;
        while (!state->pending.empty() && accounts.size() < kCallsAtOnce) {
          accounts.push_back(std::move(state->pending.extract(state->pending.begin()).value()));
        }
      }
      if (accounts.empty()) {
        co_await state->wakeup.WaitFor(absl::InfiniteDuration());
        continue;
      }
      std::vector<Task<absl::Status>> checks;
      for (const std::string& account : accounts) checks.push_back(state->Check(account));
      const std::vector<absl::Status> results = co_await WhenAll(std::move(checks));
      absl::Status failed;
      for (size_t i = 0; i < accounts.size(); ++i) {
        if (results[i].ok()) continue;
        failed = results[i];
        absl::MutexLock lock(&state->mutex);
        if (state->by_account.contains(accounts[i])) state->pending.insert(accounts[i]);
      }
      if (failed.ok()) continue;
      LOG_EVENT(kWarning, "session_check_failed").Err(failed);
      co_await state->wakeup.WaitFor(kRetry);
    }
    state->ended.Notify();
  }

  Task<absl::StatusOr<v1::GetAccountResponse>> Ask(std::string account) {
    v1::GetAccountRequest request;
    request.set_account_id(std::move(account));
    const auto start = [this](auto* context, auto* req, auto* resp, auto done) {
      stub->async()->GetAccount(context, req, resp, std::move(done));
    };
    co_return co_await rpc::Call<v1::GetAccountResponse>(rpc::OptionsFor(kCall), std::move(request), start);
  }

  // An error: the directory did not answer.
  Task<absl::Status> Check(std::string account) {
    const absl::StatusOr<v1::GetAccountResponse> answer = co_await Ask(account);
    if (!answer.ok() && !absl::IsNotFound(answer.status())) co_return answer.status();
    absl::MutexLock lock(&mutex);
    const auto found = by_account.find(account);
    if (found == by_account.end()) co_return absl::OkStatus();
    for (const uint64_t number : found->second) {
      Session& session = *sessions.at(number);
      const std::optional<RevokeReason> reason =
          answer.ok() ? WhyRevoke(session, *answer) : std::optional(RevokeReason::kAccountDeleted);
      if (reason.has_value()) {
        Revoke(session, *reason, "");
        continue;
      }
      session.newest_.set_quota_bytes(answer->effective_limits().storage_bytes());
      session.newest_.set_quota_messages(answer->effective_limits().messages());
      session.changed_.store(true, std::memory_order_release);
    }
    co_return absl::OkStatus();
  }

  static std::optional<RevokeReason> WhyRevoke(const Session& session, const v1::GetAccountResponse& answer) {
    const v1::Account& account = answer.account();
    // A directory of an older version sends only the status of the account itself.
    switch (answer.effective_status() == v1::STATUS_UNSPECIFIED ? account.status() : answer.effective_status()) {
      case v1::STATUS_SUSPENDED:
        return RevokeReason::kAccountSuspended;
      case v1::STATUS_FROZEN:
        return RevokeReason::kAccountMoved;
      case v1::STATUS_DELETED:
        return RevokeReason::kAccountDeleted;
      default:
        break;
    }
    const Login& login = session.login_;
    if (account.placement_epoch() != login.account.placement_epoch() || account.home() != login.account.home()) {
      return RevokeReason::kAccountMoved;
    }
    if (account.credential_revision() != login.credential_revision) return RevokeReason::kPasswordChanged;
    return std::nullopt;
  }

  // False: the session ends already, or the process does.
  bool Revoke(Session& session, RevokeReason reason, const std::string& note) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (stopping || session.revoked().has_value()) return false;
    session.note_ = note;
    session.revoked_.store(static_cast<int>(reason), std::memory_order_release);
    revoked_total[static_cast<size_t>(reason)]->Add();
    LOG_EVENT(kInfo, "session_revoked")
        .Str("session", IdOf(session.number_))
        .Str("protocol", session.login_.protocol)
        .Str("account", session.login_.address)
        .Str("client", session.login_.client)
        .Str("reason", RevokeReasonName(reason))
        .Str("note", note);
    session.control_.wake();
    executor.PostAfter(kRevokeGrace, [self = shared_from_this(), number = session.number_] {
      absl::MutexLock lock(&self->mutex);
      const auto it = self->sessions.find(number);
      if (it != self->sessions.end()) it->second->control_.cut();
    });
    return true;
  }

  // ---- for administrators
  std::string IdOf(uint64_t number) const { return absl::StrCat(id, "-", number); }

  bool Matches(const Session& session, const Query& query) const {
    const Login& login = session.login_;
    return (query.id.empty() || query.id == IdOf(session.number_)) &&
           (query.protocol.empty() || query.protocol == login.protocol) &&
           (query.account.empty() || query.account == login.account.account_id() ||
            absl::EqualsIgnoreCase(query.account, login.address));
  }

  const std::string id;  // of this registry
  const std::unique_ptr<v1::DirectoryService::Stub> stub;
  Executor& executor;
  metrics::Counter* revoked_total[kRevokeReasons] = {};
  Wakeup wakeup;
  absl::Notification ended;
  std::atomic<uint64_t> next_number{1};
  std::atomic<uint64_t> senders_changed{1};  // counts the changes that may concern anybody's sender addresses
  absl::Mutex mutex;
  bool stopping ABSL_GUARDED_BY(mutex) = false;
  uint64_t seen ABSL_GUARDED_BY(mutex) = 0;                             // the newest revision that the stream has told
  absl::btree_map<uint64_t, Session*> sessions ABSL_GUARDED_BY(mutex);  // by number, so by login
  absl::flat_hash_map<std::string, absl::flat_hash_set<uint64_t>> by_account ABSL_GUARDED_BY(mutex);
  absl::flat_hash_set<std::string> pending ABSL_GUARDED_BY(mutex);  // accounts to ask about
};

struct LiveSessions::Watch {
  Watch(const std::shared_ptr<grpc::Channel>& directory, Executor& executor, std::shared_ptr<State> s)
      : state(std::move(s)),
        watcher(directory, executor,
                {.changed = [this](uint64_t revision,
                                   const v1::WatchResponse& response) { state->OnChanged(revision, response); },
                 .lost = [this] { state->OnLost(); },
                 .alive = [this](uint64_t revision) { state->OnAlive(revision); }}) {}
  const std::shared_ptr<State> state;
  rpc::ChangeWatcher watcher;  // the last member: its callbacks use the other
};

LiveSessions::Session::Session(std::shared_ptr<State> state, Login login, Control control)
    : state_(std::move(state)),
      number_(state_->next_number.fetch_add(1)),
      since_(absl::Now()),
      login_(std::move(login)),
      control_(std::move(control)),
      senders_seen_(state_->senders_changed),
      newest_(login_.account) {}

LiveSessions::Session::~Session() {
  absl::MutexLock lock(&state_->mutex);
  state_->sessions.erase(number_);
  const auto it = state_->by_account.find(login_.account.account_id());
  if (it == state_->by_account.end()) return;
  it->second.erase(number_);
  if (it->second.empty()) state_->by_account.erase(it);
}

std::optional<RevokeReason> LiveSessions::Session::revoked() const {
  const int reason = revoked_.load(std::memory_order_acquire);
  return reason < 0 ? std::nullopt : std::optional(static_cast<RevokeReason>(reason));
}

std::string LiveSessions::Session::RevokeText() const {
  const std::optional<RevokeReason> reason = revoked();
  if (!reason.has_value()) return "";
  const absl::string_view text = kTexts[static_cast<size_t>(*reason)];
  return note_.empty() ? std::string(text) : absl::StrCat(text, ": ", note_);
}

bool LiveSessions::Session::senders_stale() const { return senders_seen_ != state_->senders_changed; }

Task<absl::StatusOr<std::vector<std::string>>> LiveSessions::Session::AskSenders() {
  {
    absl::MutexLock lock(&state_->mutex);
    if (state_->stopping) co_return absl::UnavailableError("shutting down");
  }
  const uint64_t seen = state_->senders_changed;
  const absl::StatusOr<v1::GetAccountResponse> answer = co_await state_->Ask(login_.account.account_id());
  if (!answer.ok()) co_return answer.status();
  // A directory of an older version answers without them.
  if (answer->may_send_as().empty()) co_return absl::UnimplementedError("the directory does not tell them");
  senders_seen_ = seen;
  co_return std::vector<std::string>(answer->may_send_as().begin(), answer->may_send_as().end());
}

void LiveSessions::Session::Refresh(common::v1::AccountRef* account) {
  if (!changed_.exchange(false, std::memory_order_acq_rel)) return;
  absl::MutexLock lock(&state_->mutex);
  *account = newest_;
}

LiveSessions::LiveSessions(const std::shared_ptr<grpc::Channel>& directory, Executor& executor,
                           metrics::Registry& registry, absl::string_view service)
    : state_(std::make_shared<State>(directory, executor, registry, service)),
      watch_(std::make_unique<Watch>(directory, executor, state_)) {
  Spawn(executor, State::Run(state_));
}

LiveSessions::~LiveSessions() { Stop(); }

void LiveSessions::Stop() {
  watch_->watcher.Stop();
  {
    absl::MutexLock lock(&state_->mutex);
    state_->stopping = true;
  }
  state_->wakeup.Signal();
  state_->ended.WaitForNotification();
}

std::unique_ptr<LiveSessions::Session> LiveSessions::Add(Login login, Control control) {
  const std::string account = login.account.account_id();
  const uint64_t revision = login.directory_revision;
  auto session = std::make_unique<Session>(state_, std::move(login), std::move(control));
  bool stale;
  {
    absl::MutexLock lock(&state_->mutex);
    state_->sessions.emplace(session->number_, session.get());
    state_->by_account[account].insert(session->number_);
    // Something changed between the answer to the login and now; it may have been this account.
    stale = revision < state_->seen;
    if (stale) {
      state_->pending.insert(account);
      session->senders_seen_ = 0;
    }
  }
  if (stale) state_->wakeup.Signal();
  return session;
}

size_t LiveSessions::size() const {
  absl::MutexLock lock(&state_->mutex);
  return state_->sessions.size();
}

std::optional<std::vector<LiveSessions::Info>> LiveSessions::List(const Query& query, absl::string_view after,
                                                                  size_t limit) const {
  uint64_t last = 0;
  if (!after.empty() &&
      (!absl::ConsumePrefix(&after, absl::StrCat(state_->id, "-")) || !absl::SimpleAtoi(after, &last))) {
    return std::nullopt;
  }
  std::vector<Info> found;
  absl::MutexLock lock(&state_->mutex);
  for (auto it = state_->sessions.upper_bound(last); it != state_->sessions.end() && found.size() < limit; ++it) {
    const Session& session = *it->second;
    if (!state_->Matches(session, query)) continue;
    const Login& login = session.login_;
    found.push_back({.id = state_->IdOf(session.number_),
                     .protocol = login.protocol,
                     .address = login.address,
                     .client = login.client,
                     .tenant = login.account.tenant(),
                     .account_id = login.account.account_id(),
                     .since = session.since_,
                     .revoked = session.revoked()});
  }
  return found;
}

size_t LiveSessions::Kick(const Query& query, const std::string& note) {
  size_t kicked = 0;
  absl::MutexLock lock(&state_->mutex);
  for (const auto& [number, session] : state_->sessions) {
    if (state_->Matches(*session, query) && state_->Revoke(*session, RevokeReason::kAdministrator, note)) ++kicked;
  }
  return kicked;
}

}  // namespace posthouse
