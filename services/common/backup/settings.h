// Settings: the section `backup` of the configuration.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace posthouse::config::v1 {
class Config;
}

namespace posthouse::backup {

// The rule by which backups stay.
struct Retention {
  uint32_t keep_last = 3;                          // of a store, whatever their age
  absl::Duration keep_for = 14 * absl::Hours(24);  // of the others
};

struct Settings {
  std::string directory;                               // "": no backups
  uint64_t max_bytes_per_second = uint64_t{64} << 20;  // 0: no limit
  Retention retention;

  // kInvalidArgument: the message names the key.
  static absl::StatusOr<Settings> FromConfig(const config::v1::Config& config);
};

}  // namespace posthouse::backup
