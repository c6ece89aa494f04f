#include "services/directory/settings.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/time/proto_time.h"

namespace posthouse::directory {
namespace {

absl::Status Refuse(absl::string_view key, uint64_t value, absl::string_view allowed) {
  return absl::InvalidArgumentError(absl::StrCat("directory.", key, " is ", value, ": ", allowed));
}

std::string HostName() {
  char name[256] = {};
  if (gethostname(name, sizeof(name) - 1) != 0) return "localhost";
  return name;
}

}  // namespace

absl::StatusOr<Settings> ReadSettings(const config::v1::Config& config) {
  Settings settings;
  settings.hostname = absl::AsciiStrToLower(config.hostname().empty() ? HostName() : config.hostname());
  if (config.data_dir().empty())
    return absl::InvalidArgumentError("data_dir is missing: the directory keeps its store there");
  settings.store_dir = absl::StrCat(config.data_dir(), "/directory");
  const auto& own = config.directory();
  settings.shard = own.shard();
  if (own.argon2_memory_kib() != 0) settings.argon2_memory_kib = own.argon2_memory_kib();
  if (own.argon2_passes() != 0) settings.argon2_passes = own.argon2_passes();
  if (own.max_waiting_checks() != 0) settings.max_waiting_checks = own.max_waiting_checks();
  const uint32_t threads = config.blocking_threads() == 0 ? 8 : config.blocking_threads();
  settings.concurrent_checks = std::max<uint32_t>(1, threads / 2);
  if (own.has_login_cache()) {
    settings.login_cache = FromProto(own.login_cache());
  }
  const auto limit = [](bool given, uint32_t value, uint32_t* out) {
    if (given) *out = value;
  };
  limit(own.has_wrong_passwords_per_address(), own.wrong_passwords_per_address(), &settings.guess_limits.per_address);
  limit(own.has_wrong_passwords_per_network(), own.wrong_passwords_per_network(), &settings.guess_limits.per_network);
  limit(own.has_wrong_passwords_per_account(), own.wrong_passwords_per_account(), &settings.guess_limits.per_account);
  if (own.has_wrong_passwords_window()) settings.guess_limits.window = FromProto(own.wrong_passwords_window());
  if (settings.guess_limits.window < absl::Seconds(1) || settings.guess_limits.window > absl::Hours(24)) {
    return absl::InvalidArgumentError("directory.wrong_passwords_window: 1s to 24h");
  }
  if (own.has_deleted_account_grace()) settings.deleted_account_grace = FromProto(own.deleted_account_grace());
  // standalone has no peers: its own store is the only one.
  for (const config::v1::Shard& shard : config.peers().mailbox()) settings.homes.emplace_back(shard.name());
  if (settings.homes.empty()) settings.homes.emplace_back(config.mailbox().shard());
  // RFC 9106 §3.1: at least 8 KiB a lane. The maximum keeps one login from using all memory.
  if (settings.argon2_memory_kib < 8 || settings.argon2_memory_kib > 1024 * 1024) {
    return Refuse("argon2_memory_kib", settings.argon2_memory_kib, "8 to 1048576");
  }
  if (settings.argon2_passes > 100) return Refuse("argon2_passes", settings.argon2_passes, "1 to 100");
  if (settings.max_waiting_checks > 100000)
    return Refuse("max_waiting_checks", settings.max_waiting_checks, "1 to 100000");
  if (settings.login_cache < absl::ZeroDuration() || settings.login_cache > absl::Hours(24)) {
    return absl::InvalidArgumentError("directory.login_cache: 0s (off) to 24h");
  }
  if (settings.deleted_account_grace < absl::ZeroDuration() ||
      settings.deleted_account_grace > absl::Hours(24 * 3650)) {
    return absl::InvalidArgumentError("directory.deleted_account_grace: 0s (erased at once) to 3650d");
  }
  return settings;
}

}  // namespace posthouse::directory
