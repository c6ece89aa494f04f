#include "services/directory/homes.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/common/status/status.h"

namespace posthouse::directory {

Homes::Homes(std::vector<std::string> names) : names_(std::move(names)) {
  PH_CHECK(!names_.empty());
  std::sort(names_.begin(), names_.end());
}

absl::Status Homes::Check(absl::string_view home) const {
  if (std::binary_search(names_.begin(), names_.end(), home)) return absl::OkStatus();
  if (names_.size() == 1 && names_[0].empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("home \"", home, "\": this system has one mailbox store, without a name (peers.mailbox)"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("home \"", home, "\": the mailbox stores are ", absl::StrJoin(names_, ", "), " (peers.mailbox)"));
}

std::string Homes::Choose(const Index& index) const {
  return *std::min_element(names_.begin(), names_.end(), [&](const std::string& a, const std::string& b) {
    return index.accounts_at(a) < index.accounts_at(b);
  });
}

}  // namespace posthouse::directory
