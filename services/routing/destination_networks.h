// DestinationNetworks: to which addresses mail may go by DNS or address literal.
//
// Whoever owns a domain chooses its addresses. A domain that leads to 127.0.0.1 or 10.0.0.5 would
// make this system speak to services that only its own network can reach, with text of a
// stranger's choosing. So global addresses are allowed, and of the others what the
// configuration names (routing.private_destinations). Threads: immutable.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/common/ip_address/ip_address.h"
#include "services/common/net/connection.h"

namespace posthouse::routing {

class DestinationNetworks {
 public:
  // Global addresses.
  DestinationNetworks() = default;
  // These networks, too.
  explicit DestinationNetworks(std::vector<net::Cidr> also) : also_(std::move(also)) {}
  // All addresses, for tests with an smtp_port of their own.
  static DestinationNetworks All() {
    DestinationNetworks all;
    all.all_ = true;
    return all;
  }

  bool Allows(absl::string_view address) const { return all_ || IsGlobal(address) || IsListed(address); }
  // Whether the configuration names a network with this address.
  bool IsListed(absl::string_view address) const {
    return std::any_of(also_.begin(), also_.end(), [&](const net::Cidr& network) { return network.Contains(address); });
  }

 private:
  std::vector<net::Cidr> also_;
  bool all_ = false;
};

}  // namespace posthouse::routing
