#include "services/common/backup/settings.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/time/proto_time.h"

namespace posthouse::backup {
namespace {

namespace fs = std::filesystem;

absl::Status Bad(absl::string_view key, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("backup.", key, ": ", what));
}

// Whether `path` is `folder` or below it. Looks at the names only: the folders need not exist yet.
bool IsIn(const std::string& path, const std::string& folder) {
  const auto plain = [](const std::string& p) {
    fs::path at = fs::absolute(p).lexically_normal();
    return at.has_filename() ? at : at.parent_path();  // without a slash at the end
  };
  const fs::path inner = plain(path), outer = plain(folder);
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

}  // namespace

absl::StatusOr<Settings> Settings::FromConfig(const config::v1::Config& config) {
  const config::v1::Backup& b = config.backup();
  Settings s;
  s.directory = b.directory();
  if (b.has_max_bytes_per_second()) s.max_bytes_per_second = b.max_bytes_per_second();
  if (b.has_keep_last()) s.retention.keep_last = b.keep_last();
  s.retention.keep_for = DurationOr(b.has_keep_for(), b.keep_for(), s.retention.keep_for);
  if (!s.directory.empty() && !config.data_dir().empty() && IsIn(s.directory, config.data_dir())) {
    return Bad("directory", "lies in data_dir: whatever destroys the data would destroy its backups, too");
  }
  if (s.max_bytes_per_second != 0 && s.max_bytes_per_second < uint64_t{1} << 20) {
    return Bad("max_bytes_per_second", "must be at least 1MiB, or 0 for no limit");
  }
  if (s.retention.keep_last < 1 || s.retention.keep_last > 10000) return Bad("keep_last", "must be 1 to 10000");
  if (s.retention.keep_for < absl::ZeroDuration() || s.retention.keep_for > 3650 * absl::Hours(24)) {
    return Bad("keep_for", "must be 0s to 3650d");
  }
  return s;
}

}  // namespace posthouse::backup
