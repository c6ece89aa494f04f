#include "services/queue/delivery/host_list.h"

#include <gtest/gtest.h>

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
  };
  for (const auto& c : kCases) EXPECT_EQ(Names(AddressesToTry(Answer(c.hosts), c.max)), c.order);
}

// RFC 5321 §4.5.4.1
TEST(HostListTest, AnUnreachableAddressIsTriedLastForAWhile) {
  UnreachableHosts unreachable(absl::Minutes(1));
  const std::vector<HostAddress> all = AddressesToTry(Answer({{"a"}, {"b"}, {"c"}}), 6);
  const auto order_at = [&](absl::Time now) {
    std::vector<HostAddress> hosts = all;
    unreachable.MoveLast(now, &hosts);
    return Names(hosts);
  };
  unreachable.Add(all[0], kNow);
  unreachable.Add(all[1], kNow + absl::Seconds(30));
  EXPECT_EQ(order_at(kNow + absl::Seconds(59)), (Strings{"mx3=c", "mx1=a", "mx2=b"}));
  EXPECT_EQ(order_at(kNow + absl::Seconds(60)), (Strings{"mx1=a", "mx3=c", "mx2=b"}));
  unreachable.Remove(all[1]);
  EXPECT_EQ(order_at(kNow + absl::Seconds(60)), (Strings{"mx1=a", "mx2=b", "mx3=c"}));
}

}  // namespace
}  // namespace posthouse::queue
