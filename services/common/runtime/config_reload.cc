#include "services/common/runtime/config_reload.h"

#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/common/config/config.h"
#include "services/common/file_stamp/file_stamp.h"
#include "services/common/log/log.h"

namespace posthouse::runtime {
namespace {

constexpr char kReloads[] = "posthouse_config_reloads_total";
constexpr char kReloadsHelp[] =
    "Loads of the configuration after the start; after a failed one the one before stays in use.";

// FNV-1a, cut to the 48 bits that a metric's double has room for. Two processes, or two releases, give equal text an
// equal number.
double HashOf(absl::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return static_cast<double>(hash >> 16);
}

}  // namespace

ConfigReload::ConfigReload(std::string file, std::string stamp, config::v1::Config started_with, Hooks hooks,
                           metrics::Registry& registry)
    : file_(std::move(file)),
      started_with_(std::move(started_with)),
      hooks_(std::move(hooks)),
      current_(started_with_),
      tried_stamp_(std::move(stamp)),
      succeeded_(registry.AddCounter(kReloads, kReloadsHelp, {{"result", "ok"}})),
      failed_(registry.AddCounter(kReloads, kReloadsHelp, {{"result", "failed"}})),
      successful_(registry.AddGauge("posthouse_config_last_reload_successful",
                                    "1 when the file of the configuration was taken when it was last loaded, else 0.")),
      when_(registry.AddGauge("posthouse_config_last_reload_timestamp_seconds",
                              "When the configuration in use was loaded, Unix time.")),
      hash_(registry.AddGauge("posthouse_config_hash",
                              "A number that is equal for processes that loaded equal configurations.")),
      need_restart_(registry.AddGauge("posthouse_config_keys_need_restart",
                                      "Changed keys of the configuration that wait for a restart.")) {
  successful_.Set(1);
  when_.Set(absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()));
  Show("");
}

void ConfigReload::Look() {
  if (file_.empty()) return;
  std::string stamp = FileStamp(file_);
  if (stamp == tried_stamp_) {
    changed_stamp_.clear();
    return;
  }
  if (stamp != changed_stamp_) {
    changed_stamp_ = std::move(stamp);
    return;
  }
  Reload("file");
}

void ConfigReload::Reload(absl::string_view why) {
  // Before the file is read: a change after this is seen by Look().
  if (!file_.empty()) tried_stamp_ = FileStamp(file_);
  changed_stamp_.clear();
  absl::StatusOr<config::v1::Config> fresh = hooks_.load();
  const absl::Status status = fresh.ok() ? hooks_.apply(*fresh) : fresh.status();
  (status.ok() ? succeeded_ : failed_).Add();
  successful_.Set(status.ok() ? 1 : 0);
  if (!status.ok()) {
    LOG_EVENT(kError, "reload_failed").Str("why", why).Err(status);
    return;
  }
  when_.Set(absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()));
  std::string waiting;
  int keys = 0;
  for (const std::string& key : config::ChangedKeys(started_with_, *fresh)) {
    if (config::Reloadable(key)) continue;
    absl::StrAppend(&waiting, waiting.empty() ? "" : ", ", key);
    ++keys;
  }
  need_restart_.Set(keys);
  current_ = *std::move(fresh);
  Show(waiting);
  log::Event(waiting.empty() ? log::Level::kInfo : log::Level::kWarning, "reloaded")
      .Str("why", why)
      .Str("needs_restart", waiting);
}

void ConfigReload::Show(const std::string& waiting) {
  std::string text = config::Redacted(current_);
  hash_.Set(HashOf(text));
  if (!waiting.empty()) text.insert(0, absl::StrCat("# in use after a restart: ", waiting, "\n"));
  absl::MutexLock lock(&mutex_);
  shown_ = std::move(text);
}

std::string ConfigReload::Shown() const {
  absl::MutexLock lock(&mutex_);
  return shown_;
}

}  // namespace posthouse::runtime
