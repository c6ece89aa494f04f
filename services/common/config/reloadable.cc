#include <algorithm>
#include <iterator>

#include "services/common/config/config.h"

namespace posthouse::config {
namespace {

constexpr const char* kReloadable[] = {
#include "services/common/config/reloadable_keys.inc"
};

}  // namespace

bool Reloadable(absl::string_view key) {
  return std::find(std::begin(kReloadable), std::end(kReloadable), key) != std::end(kReloadable);
}

}  // namespace posthouse::config
