// Settings of the mailbox: config with its defaults, typed.
// Threads: a value.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/common/ids/ids.h"

namespace posthouse::config::v1 {
class Config;
}

namespace posthouse::mailbox {

// A folder that every new account gets; `special_use` is "\\Sent" and the like (RFC 6154).
struct DefaultFolder {
  std::string name;
  std::string special_use;
};

struct Settings {
  Home shard;                        // name of this store; "" is the only one
  uint64_t default_quota_bytes = 0;  // 0: none
  uint64_t max_message_bytes = 100 << 20;
  uint32_t keywords_per_folder = 512;
  uint32_t change_log_entries = 100000;
  std::vector<DefaultFolder> default_folders;  // besides INBOX
  absl::Duration sweep_interval = absl::Hours(1);
  absl::Duration erase_interval = absl::Minutes(1);
  // The sweeper keeps younger blobs. It must be longer than any call takes.
  absl::Duration sweep_grace = absl::Hours(2);
  // Delivery ids and operation ids are kept this long: longer than the queue retries.
  absl::Duration dedupe_retention = absl::Hours(24 * 14);
  // Folders kept open, by what they hold in memory.
  uint64_t folder_cache_bytes = 256 << 20;
  uint32_t max_folders_per_account = 10000;
  size_t max_folder_names_bytes = 1'500'000;  // of one account's folders and subscriptions
  size_t max_open_accounts = 20000;           // beyond it those without an open folder are closed
};

// Fills in the defaults; checks nothing.
Settings SettingsFrom(const config::v1::Config& config);
// kInvalidArgument names the key and its limit.
absl::Status Validate(const Settings& settings);

}  // namespace posthouse::mailbox
