#include "services/queue/delivery/host_list.h"

#include <gtest/gtest.h>

#include <set>

#include "absl/strings/str_cat.h"

namespace posthouse::queue {
namespace {

namespace rv1 = posthouse::routing::v1;
using Strings = std::vector<std::string>;

const absl::Time kNow = absl::FromUnixSeconds(1700000000);

rv1::ResolveDestinationResponse Answer(const std::vector<Strings>& hosts) {
  rv1::ResolveDestinationResponse answer;
  for (const Strings& addresses : hosts) {
    rv1::Host* host = answer.add_hosts();
    host->set_name(absl::StrCat("mx", answer.hosts_size()));
    for (const std::string& address : addresses) host->add_addresses(address);
  }
  return answer;
}

Strings Names(const std::vector<HostAddress>& hosts) {
  Strings names;
  for (const HostAddress& h : hosts) names.push_back(absl::StrCat(h.host, "=", h.endpoint.address));
  return names;
}

TEST(HostListTest, AHostWithManyAddressesLeavesRoomForTheNext) {
  const struct {
    std::vector<Strings> hosts;
    size_t max;
    Strings order;
  } kCases[] = {
      {{}, 6, {}},
      {{{"a"}, {"b"}}, 6, {"mx1=a", "mx2=b"}},
      {{{"a", "b", "c", "d"}, {"e"}}, 6, {"mx1=a", "mx1=b", "mx2=e", "mx1=c", "mx1=d"}},
      {{{"a", "b", "c", "d"}, {"e"}}, 3, {"mx1=a", "mx1=b", "mx2=e"}},
      // A place for each host before a host has two.
      {{{"a", "b"}, {"c", "d"}, {"e", "f"}, {"g"}}, 6, {"mx1=a", "mx1=b", "mx2=c", "mx2=d", "mx3=e", "mx4=g"}},
  };
  const UnreachableHosts none(absl::Minutes(1));
  for (const auto& c : kCases) EXPECT_EQ(Names(none.Choose(AddressesOf(Answer(c.hosts)), c.max, kNow)), c.order);
}

// RFC 5321 §4.5.4.1
TEST(HostListTest, AnUnreachableAddressIsTriedLastForAWhile) {
  UnreachableHosts unreachable(absl::Minutes(1));
  const std::vector<HostAddress> all = AddressesOf(Answer({{"a"}, {"b"}, {"c"}}));
  const auto order_at = [&](absl::Time now) { return Names(unreachable.Choose(all, 6, now)); };
  unreachable.Add(all[0], kNow);
  unreachable.Add(all[1], kNow + absl::Seconds(30));
  EXPECT_EQ(order_at(kNow + absl::Seconds(59)), (Strings{"mx3=c", "mx1=a", "mx2=b"}));
  EXPECT_EQ(order_at(kNow + absl::Seconds(60)), (Strings{"mx1=a", "mx3=c", "mx2=b"}));
  unreachable.Remove(all[1]);
  EXPECT_EQ(order_at(kNow + absl::Seconds(60)), (Strings{"mx1=a", "mx2=b", "mx3=c"}));
}

// Retries come hours apart, when no failure is recent any more.
TEST(HostListTest, EveryAddressHasItsTurnHoweverManyAreDead) {
  UnreachableHosts unreachable(absl::Minutes(1));
  std::vector<Strings> hosts;
  for (int i = 0; i < 20; ++i) hosts.push_back({absl::StrCat("x", i), absl::StrCat("y", i)});
  const std::vector<HostAddress> all = AddressesOf(Answer(hosts));
  std::set<std::string> tried;
  absl::Time now = kNow;
  for (int attempt = 0; attempt < 14; ++attempt, now += absl::Hours(1)) {
    const std::vector<HostAddress> chosen = unreachable.Choose(all, 6, now);
    ASSERT_EQ(chosen.size(), 6u);
    EXPECT_EQ(chosen[0].endpoint.address, "x0");  // the preferred host is always asked
    for (const HostAddress& host : chosen) {
      tried.insert(host.endpoint.address);
      unreachable.Add(host, now);
    }
  }
  EXPECT_EQ(tried.size(), all.size());
}

}  // namespace
}  // namespace posthouse::queue
