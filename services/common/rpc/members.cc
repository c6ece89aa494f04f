#include "services/common/rpc/members.h"

#include <grpcpp/grpcpp.h>
#include <netdb.h>

#include <algorithm>
#include <cstdint>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/common/log/log.h"

namespace posthouse::rpc {
namespace {

// The same in every process and version: callers must agree. FNV-1a with the final mix of MurmurHash3.
uint64_t Weight(absl::string_view account_id, absl::string_view address) {
  uint64_t hash = 0xcbf29ce484222325;
  const auto add = [&hash](unsigned char byte) { hash = (hash ^ byte) * 0x100000001b3; };
  for (const char c : account_id) add(static_cast<unsigned char>(c));
  add(0);
  for (const char c : address) add(static_cast<unsigned char>(c));
  hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccd;
  hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53;
  return hash ^ (hash >> 33);
}

}  // namespace

Members::Members(std::shared_ptr<grpc::Channel> channel)
    : whole_(std::make_shared<Member>("", std::move(channel))), options_() {}

Members::Members(std::shared_ptr<grpc::Channel> whole, Resolve resolve, DialAddress dial, MembersOptions options)
    : whole_(std::make_shared<Member>("", std::move(whole))),
      resolve_(std::move(resolve)),
      dial_(std::move(dial)),
      options_(std::move(options)) {
  if (options_.refresh != absl::InfiniteDuration()) thread_ = std::thread([this] { Run(); });
}

Members::~Members() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void Members::Run() {
  while (true) {
    Refresh();
    absl::MutexLock lock(&mutex_);
    const auto woken = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return stopping_ || refresh_now_; };
    mutex_.AwaitWithTimeout(absl::Condition(&woken), Away() ? options_.refresh_while_away : options_.refresh);
    if (stopping_) return;
    refresh_now_ = false;
  }
}

bool Members::Away() const {
  const absl::Time now = options_.now();
  return !resolved_ ||
         std::any_of(places_.begin(), places_.end(), [now](const Place& p) { return p.skip_until > now; });
}

void Members::Refresh() {
  absl::StatusOr<std::vector<std::string>> found = resolve_();
  if (found.ok() && found->empty()) found = absl::NotFoundError("the name has no address");
  bool resolved_before = false;
  {
    absl::MutexLock lock(&mutex_);
    resolved_before = std::exchange(resolved_, found.ok());
  }
  if (!found.ok()) {
    if (resolved_before) LOG_EVENT(kWarning, "members_not_resolved").Err(found.status());  // once for each absence
    return;
  }
  std::map<std::string, std::shared_ptr<Member>> members;
  for (std::string& address : *found) members.emplace(std::move(address), nullptr);
  {
    absl::MutexLock lock(&mutex_);
    for (const Place& place : places_) {
      const auto it = members.find(place.member->address());
      if (it != members.end()) it->second = place.member;
    }
  }
  for (auto& [address, member] : members) {
    if (member != nullptr) continue;
    absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = dial_(address);
    if (channel.ok()) {
      member = std::make_shared<Member>(address, *std::move(channel));
    } else {
      LOG_EVENT(kWarning, "member_not_dialled").Str("address", address).Err(channel.status());
    }
  }
  std::vector<Place> places;
  absl::MutexLock lock(&mutex_);
  for (const auto& [address, member] : members) {
    if (member == nullptr) continue;
    const auto known =
        std::find_if(places_.begin(), places_.end(), [&m = member](const Place& p) { return p.member == m; });
    places.push_back(known != places_.end() ? *known : Place{member, absl::InfinitePast(), options_.first_skip});
  }
  if (!places.empty()) places_ = std::move(places);
}

Members::Place* Members::Best(const AccountId& account, absl::Time now) {
  Place* best = nullptr;
  Place* best_of_all = nullptr;
  uint64_t weight = 0;
  uint64_t weight_of_all = 0;
  for (Place& place : places_) {
    const uint64_t own = Weight(account.value(), place.member->address());
    if (best_of_all == nullptr || own > weight_of_all) {
      best_of_all = &place;
      weight_of_all = own;
    }
    if (place.skip_until <= now && (best == nullptr || own > weight)) {
      best = &place;
      weight = own;
    }
  }
  return best != nullptr ? best : best_of_all;
}

std::shared_ptr<Member> Members::For(const AccountId& account) {
  absl::MutexLock lock(&mutex_);
  if (places_.empty()) return whole_;
  const absl::Time now = options_.now();
  while (true) {
    Place* const best = Best(account, now);
    if (best->skip_until > now) return best->member;  // all are skipped
    const grpc_connectivity_state state = best->member->channel()->GetState(/*try_to_connect=*/false);
    if (state == GRPC_CHANNEL_READY) best->next_skip = options_.first_skip;
    if (state != GRPC_CHANNEL_TRANSIENT_FAILURE) return best->member;
    best->skip_until = now + best->next_skip;
    best->next_skip = std::min(2 * best->next_skip, options_.longest_skip);
    refresh_now_ = true;  // it may have come back under another address
  }
}

absl::StatusOr<std::vector<std::string>> ResolveHost(const std::string& host, const std::string& port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* list = nullptr;
  if (const int error = getaddrinfo(host.c_str(), nullptr, &hints, &list); error != 0) {
    return absl::UnavailableError(absl::StrCat("cannot resolve ", host, ": ", gai_strerror(error)));
  }
  std::vector<std::string> v4;
  std::vector<std::string> v6;
  for (const addrinfo* info = list; info != nullptr; info = info->ai_next) {
    char text[NI_MAXHOST];
    if (getnameinfo(info->ai_addr, info->ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST) != 0) continue;
    if (info->ai_family == AF_INET) v4.push_back(absl::StrCat(text, ":", port));
    if (info->ai_family == AF_INET6) v6.push_back(absl::StrCat("[", text, "]:", port));
  }
  freeaddrinfo(list);
  return v4.empty() ? v6 : v4;
}

}  // namespace posthouse::rpc
