// Members: the processes behind one gRPC target, and which of them serves an account.
//
// A target's DNS name has one address (a process that alone owns its store) or many
// (processes that share one). An account is served by the member with the highest
// hash of (account id, address): every caller that sees the same addresses chooses
// the same member, and a member that goes moves only its own accounts (rendezvous
// hashing). Callers that see different addresses for a while may choose different
// members. That is slower, never wrong: the store's preconditions decide.
//
// The name is resolved every five seconds, at once when a member cannot be reached,
// and twice a second while one is away: a pod that restarts has a new address. Such a member is skipped for 5 s,
// doubling to 30 s while it stays away. When all members are skipped the skips are ignored.
//
// A light header, without gRPC. Threads: any.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/call_once.h"
#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/common/ids/ids.h"

namespace grpc {
class Channel;
}

namespace posthouse::rpc {

// One process. Keep the stub, not the member, for the length of a call.
class Member {
 public:
  Member(std::string address, std::shared_ptr<grpc::Channel> channel)
      : address_(std::move(address)), channel_(std::move(channel)) {}
  const std::string& address() const { return address_; }  // "" for the target as a whole
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  // The member's stub of `Service`, made at the first call. All callers name the same Service.
  template <typename Service>
  std::shared_ptr<typename Service::Stub> Stub() {
    absl::call_once(once_, [this] { stub_ = std::shared_ptr<typename Service::Stub>(Service::NewStub(channel_)); });
    return std::static_pointer_cast<typename Service::Stub>(stub_);
  }

 private:
  const std::string address_;
  const std::shared_ptr<grpc::Channel> channel_;
  absl::once_flag once_;
  std::shared_ptr<void> stub_;
};

struct MembersOptions {
  absl::Duration refresh = absl::Seconds(5);  // infinite: only Refresh() resolves
  absl::Duration refresh_while_away = absl::Milliseconds(500);
  absl::Duration first_skip = absl::Seconds(5);
  absl::Duration longest_skip = absl::Seconds(30);
  std::function<absl::Time()> now = absl::Now;
};

class Members {
 public:
  // The target's addresses ("10.0.0.7:7403"). May block. An error or no address: the last answer stays.
  using Resolve = std::function<absl::StatusOr<std::vector<std::string>>()>;
  using DialAddress = std::function<absl::StatusOr<std::shared_ptr<grpc::Channel>>(const std::string& address)>;

  // One member for ever: a fixed address, or a server in this process.
  explicit Members(std::shared_ptr<grpc::Channel> channel);
  // `whole`: a channel to the name, used until the first answer of `resolve`, which runs
  // on a thread of this object and in Refresh().
  Members(std::shared_ptr<grpc::Channel> whole, Resolve resolve, DialAddress dial, MembersOptions options = {});
  ~Members();

  // The member that serves `account`. Never null, never waits. A member that cannot be
  // reached is noticed here, by the state of its channel.
  std::shared_ptr<Member> For(const AccountId& account);
  // Resolves now.
  void Refresh();

 private:
  struct Place {
    std::shared_ptr<Member> member;
    absl::Time skip_until;
    absl::Duration next_skip;
  };
  bool Away() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // a member cannot be reached, or the name not be resolved
  Place* Best(const AccountId& account, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Run();

  const std::shared_ptr<Member> whole_;
  const Resolve resolve_;
  const DialAddress dial_;
  const MembersOptions options_;

  absl::Mutex mutex_;
  std::vector<Place> places_ ABSL_GUARDED_BY(mutex_);
  bool refresh_now_ ABSL_GUARDED_BY(mutex_) = false;
  bool resolved_ ABSL_GUARDED_BY(mutex_) = true;  // the last time
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

// The addresses of `host` with `port`, IPv4 ones when there are any, else IPv6 ones: a
// process with both would count twice. Blocks.
absl::StatusOr<std::vector<std::string>> ResolveHost(const std::string& host, const std::string& port);

}  // namespace posthouse::rpc
