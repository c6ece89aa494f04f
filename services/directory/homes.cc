#include "services/directory/homes.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/common/status/status.h"

namespace posthouse::directory {

Homes::Homes(std::vector<Home> homes) : homes_(std::move(homes)) {
  PH_CHECK(!homes_.empty());
  std::sort(homes_.begin(), homes_.end());
}

absl::Status Homes::Check(const Home& home) const {
  if (std::binary_search(homes_.begin(), homes_.end(), home)) return absl::OkStatus();
  if (one() && homes_[0].empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("home \"", home.value(), "\": this system has one mailbox store, without a name (peers.mailbox)"));
  }
  const std::string all =
      absl::StrJoin(homes_, ", ", [](std::string* out, const Home& one) { out->append(one.value()); });
  return absl::InvalidArgumentError(
      absl::StrCat("home \"", home.value(), "\": the mailbox stores are ", all, " (peers.mailbox)"));
}

Home Homes::Choose(const Index& index) const {
  return *std::min_element(homes_.begin(), homes_.end(),
                           [&](const Home& a, const Home& b) { return index.accounts_at(a) < index.accounts_at(b); });
}

}  // namespace posthouse::directory
