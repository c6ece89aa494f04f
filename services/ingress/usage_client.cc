#include "services/ingress/usage_client.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "posthouse/mailbox/v1/mailbox.grpc.pb.h"
#include "services/common/rpc/client.h"

namespace posthouse::ingress {

namespace mv1 = ::posthouse::mailbox::v1;

namespace {

// A new quota is another question.
std::string KeyOf(const common::v1::AccountRef& account) {
  return absl::StrCat(account.account_id(), "/", account.quota_bytes(), "/", account.quota_messages(), "/",
                      account.home());
}

bool IsFull(const MailboxUsage& usage) {
  return (usage.limit_bytes > 0 && usage.bytes >= usage.limit_bytes) ||
         (usage.limit_messages > 0 && usage.messages >= usage.limit_messages);
}

}  // namespace

Task<std::optional<MailboxUsage>> UsageClient::Of(const rpc::TraceContext& trace,
                                                  const common::v1::AccountRef& account) {
  const Home home(account.home());
  const std::shared_ptr<rpc::Members> members = peers_->Get()->MailboxOf(home);
  if (members == nullptr) co_return std::nullopt;
  std::string key = KeyOf(account);
  const absl::Time start = absl::Now();
  {
    absl::MutexLock lock(&mutex_);
    const auto it = entries_.find(key);
    // Times ahead are of a clock that was set back.
    if (it != entries_.end() && start < it->second.expires && it->second.expires <= start + kKeep &&
        !(it->second.usage.has_value() && IsFull(*it->second.usage))) {
      co_return it->second.usage;
    }
    const auto skip = skip_until_.find(home);
    if (skip != skip_until_.end() && start < skip->second && skip->second <= start + kSkip) co_return std::nullopt;
  }
  const auto stub = members->For(AccountId(account.account_id()))->Stub<mv1::MailboxService>();
  mv1::GetUsageRequest request;
  *request.mutable_account() = account;
  rpc::CallOptions options;
  options.deadline = kDeadline;
  options.trace = trace;
  const auto call = [stub](auto* context, auto* req, auto* resp, auto done) {
    stub->async()->GetUsage(context, req, resp, std::move(done));
  };
  const absl::StatusOr<mv1::GetUsageResponse> response =
      co_await rpc::Call<mv1::GetUsageResponse>(options, std::move(request), call);
  const absl::Time now = absl::Now();
  absl::MutexLock lock(&mutex_);
  if (!response.ok()) {
    if (absl::IsUnavailable(response.status()) || absl::IsDeadlineExceeded(response.status())) {
      skip_until_[home] = now + kSkip;
    }
    co_return std::nullopt;  // an account that the store does not have yet is empty
  }
  std::optional<MailboxUsage> usage;
  if (response->limit_bytes() > 0 || response->limit_messages() > 0) {
    usage = MailboxUsage{response->bytes(), response->limit_bytes(), response->messages(), response->limit_messages()};
  }
  if (entries_.size() >= kMaxEntries) entries_.clear();
  entries_[std::move(key)] = Entry{usage, now + kKeep};
  co_return usage;
}

void UsageClient::Accepted(const common::v1::AccountRef& account, uint64_t bytes) {
  absl::MutexLock lock(&mutex_);
  const auto it = entries_.find(KeyOf(account));
  if (it == entries_.end() || !it->second.usage.has_value()) return;
  it->second.usage->bytes += bytes;
  ++it->second.usage->messages;
}

}  // namespace posthouse::ingress
