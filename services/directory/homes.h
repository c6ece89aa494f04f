// Homes: the mailbox stores that an account's `home` may name, from the configuration.
// Threads: any; it does not change.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "services/common/ids/ids.h"
#include "services/directory/index.h"

namespace posthouse::directory {

class Homes {
 public:
  // At least one; "" is the only store of a system with one.
  explicit Homes(std::vector<Home> homes);

  // kInvalidArgument lists the stores.
  absl::Status Check(const Home& home) const;
  bool one() const { return homes_.size() == 1; }
  // The store with the fewest accounts; of several, the first by name.
  Home Choose(const Index& index) const;

 private:
  std::vector<Home> homes_;  // ascending
};

}  // namespace posthouse::directory
