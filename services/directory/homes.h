// Homes: the mailbox stores that an account's `home` may name, from the configuration.
// Threads: any; it does not change.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "services/directory/index.h"

namespace posthouse::directory {

class Homes {
 public:
  // At least one name; "" is the only store of a system with one.
  explicit Homes(std::vector<std::string> names);

  // kInvalidArgument lists the stores.
  absl::Status Check(absl::string_view home) const;
  bool one() const { return names_.size() == 1; }
  // The store with the fewest accounts; of several, the first by name.
  std::string Choose(const Index& index) const;

 private:
  std::vector<std::string> names_;  // ascending
};

}  // namespace posthouse::directory
