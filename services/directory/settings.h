// Settings: the directory's part of the configuration with its defaults filled in.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/ids/ids.h"
#include "services/directory/guess_limiter.h"

namespace posthouse::config::v1 {
class Config;
}

namespace posthouse::directory {

struct Settings {
  std::string hostname;  // the domain of a bare "postmaster"
  std::string store_dir;
  std::string shard;                   // name of this directory; "": none
  uint32_t argon2_memory_kib = 19456;  // OWASP's minimum for Argon2id
  uint32_t argon2_passes = 2;
  uint32_t max_waiting_checks = 10000;
  uint32_t concurrent_checks = 4;  // half of the blocking threads
  absl::Duration login_cache = absl::Hours(24);
  GuessLimits guess_limits;
  absl::Duration deleted_account_grace = absl::Hours(24 * 7);
  std::vector<Home> homes;  // the mailbox stores; at least one
};

// kInvalidArgument names the key, the value and what is allowed.
absl::StatusOr<Settings> ReadSettings(const config::v1::Config& config);

}  // namespace posthouse::directory
