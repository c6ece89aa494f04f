#include "services/mailbox/settings.h"

#include "absl/strings/str_cat.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/time/proto_time.h"
#include "services/mailbox/rows/folder_name.h"

namespace posthouse::mailbox {

Settings SettingsFrom(const config::v1::Config& config) {
  const config::v1::Mailbox& in = config.mailbox();
  Settings out;
  out.shard = Home(in.shard());
  if (in.has_erase_interval()) out.erase_interval = FromProto(in.erase_interval());
  out.default_quota_bytes = in.default_quota_bytes();
  if (in.max_message_bytes() != 0) out.max_message_bytes = in.max_message_bytes();
  if (in.keywords_per_folder() != 0) out.keywords_per_folder = in.keywords_per_folder();
  if (in.change_log_entries() != 0) out.change_log_entries = in.change_log_entries();
  if (in.has_sweep_interval()) out.sweep_interval = FromProto(in.sweep_interval());
  if (in.has_sweep_grace()) out.sweep_grace = FromProto(in.sweep_grace());
  if (in.folder_cache_bytes() != 0) out.folder_cache_bytes = in.folder_cache_bytes();
  for (const config::v1::DefaultFolder& f : in.default_folders()) {
    out.default_folders.push_back({f.name(), f.special_use()});
  }
  if (in.default_folders().empty()) {
    out.default_folders = {
        {"Drafts", "\\Drafts"}, {"Sent", "\\Sent"}, {"Junk", "\\Junk"}, {"Trash", "\\Trash"}, {"Archive", "\\Archive"}};
  }
  return out;
}

absl::Status Validate(const Settings& settings) {
  // One row holds a message's keyword bits, and 16 bits number them.
  if (settings.keywords_per_folder > 4096) {
    return absl::InvalidArgumentError("mailbox.keywords_per_folder: at most 4096");
  }
  if (settings.sweep_interval < absl::Seconds(1)) {
    return absl::InvalidArgumentError("mailbox.sweep_interval: at least 1s");
  }
  if (settings.erase_interval < absl::Seconds(1)) {
    return absl::InvalidArgumentError("mailbox.erase_interval: at least 1s");
  }
  if (settings.sweep_grace < absl::Minutes(1)) {
    return absl::InvalidArgumentError("mailbox.sweep_grace: at least 1m");
  }
  for (const DefaultFolder& f : settings.default_folders) {
    const absl::StatusOr<std::string> name = CanonicalName(f.name);
    if (!name.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("mailbox.default_folders: \"", f.name, "\": ", name.status().message()));
    }
    if (*name == kInbox) return absl::InvalidArgumentError("mailbox.default_folders: INBOX is always there");
    if (!IsSpecialUse(f.special_use)) {
      return absl::InvalidArgumentError(
          absl::StrCat("mailbox.default_folders: special_use \"", f.special_use, "\" is not one of RFC 6154"));
    }
  }
  return absl::OkStatus();
}

}  // namespace posthouse::mailbox
