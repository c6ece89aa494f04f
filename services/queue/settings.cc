#include "services/queue/settings.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/net/connection.h"
#include "services/common/runtime/runtime.h"
#include "services/common/status/status.h"
#include "services/common/time/proto_time.h"

namespace posthouse::queue {
namespace {

// The least time that idempotency keys are kept, whatever done_retention says.
constexpr absl::Duration kLeastRetention = absl::Hours(1);

absl::Status Bad(absl::string_view key, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("queue.", key, ": ", what));
}

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "localhost";
}

absl::Status Check(const Settings& s, double factor) {
  const auto plain = [](char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_'; };
  if (s.shard.size() > 64 || !std::all_of(s.shard.begin(), s.shard.end(), plain)) {
    return Bad("shard", absl::StrCat("\"", s.shard, "\" is not 1 to 64 letters, digits, - or _"));
  }
  if (s.settlement.retry.min < absl::Seconds(1)) return Bad("retry_min", "must be at least 1s");
  if (s.settlement.retry.min > s.settlement.retry.max) return Bad("retry_min", "is longer than queue.retry_max");
  if (!(factor >= 1 && factor <= 100)) return Bad("retry_factor", "must be 1 to 100");
  if (s.expire_after < absl::Seconds(1)) return Bad("expire_after", "must be at least 1s");
  if (s.settlement.delay_warning_after < absl::ZeroDuration())
    return Bad("delay_warning_after", "must not be negative");
  if (s.remote.connect_timeout <= absl::ZeroDuration()) return Bad("connect_timeout", "must be positive");
  if (s.remote.reply_timeout <= absl::ZeroDuration()) return Bad("reply_timeout", "must be positive");
  if (s.remote.end_of_data_timeout <= absl::ZeroDuration()) return Bad("end_of_data_timeout", "must be positive");
  const std::string& source = s.remote.source_address;
  if (!source.empty() && (absl::StrContains(source, "/") || !net::Cidr::Parse(source).ok())) {
    return Bad("source_address", absl::StrCat("\"", source, "\" is not an IP address of this machine"));
  }
  if (s.remote.greeting_timeout <= absl::ZeroDuration()) return Bad("greeting_timeout", "must be positive");
  if (s.scheduler.max_remote > 100000) return Bad("max_concurrent", "must be 1 to 100000");
  if (s.scheduler.max_per_remote_site > s.scheduler.max_remote)
    return Bad("max_per_destination", "is more than queue.max_concurrent");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Settings> Settings::FromConfig(const config::v1::Config& config) {
  const config::v1::Queue& q = config.queue();
  Settings s;
  s.hostname = absl::AsciiStrToLower(config.hostname().empty() ? HostName() : config.hostname());
  if (config.data_dir().empty())
    return absl::InvalidArgumentError("data_dir is required: the queue keeps its spool there");
  s.store_dir = absl::StrCat(config.data_dir(), "/queue");
  if (!q.shard().empty()) s.shard = q.shard();
  s.expire_after = DurationOr(q.has_expire_after(), q.expire_after(), s.expire_after);
  s.done_retention =
      std::max(DurationOr(q.has_done_retention(), q.done_retention(), s.done_retention), kLeastRetention);

  BackoffPolicy& retry = s.settlement.retry;
  retry.min = DurationOr(q.has_retry_min(), q.retry_min(), retry.min);
  retry.max = DurationOr(q.has_retry_max(), q.retry_max(), std::max(retry.max, retry.min));
  if (q.retry_factor() != 0) retry.factor = q.retry_factor();
  s.settlement.delay_warning_after =
      DurationOr(q.has_delay_warning_after(), q.delay_warning_after(), s.settlement.delay_warning_after);

  if (q.max_concurrent() != 0)
    s.scheduler.max_remote = static_cast<int>(std::min<uint32_t>(q.max_concurrent(), 1 << 20));
  s.scheduler.max_per_remote_site = std::min(s.scheduler.max_per_remote_site, s.scheduler.max_remote);
  if (q.max_per_destination() != 0) {
    s.scheduler.max_per_remote_site = static_cast<int>(std::min<uint32_t>(q.max_per_destination(), 1 << 20));
  }
  // A blocked destination is probed as often as its mail would be retried, but at least every
  // quarter of an hour.
  s.scheduler.remote_block.min = retry.min;
  s.scheduler.remote_block.max = std::clamp(retry.max, retry.min, std::max(retry.min, absl::Minutes(15)));
  s.scheduler.remote_block.factor = retry.factor;

  s.bounce.hostname = s.hostname;
  s.bounce.expire_after = s.expire_after;

  s.remote.hostname = s.hostname;
  s.remote.connect_timeout = DurationOr(q.has_connect_timeout(), q.connect_timeout(), s.remote.connect_timeout);
  s.remote.reply_timeout = DurationOr(q.has_reply_timeout(), q.reply_timeout(), s.remote.reply_timeout);
  s.remote.end_of_data_timeout =
      DurationOr(q.has_end_of_data_timeout(), q.end_of_data_timeout(), s.remote.end_of_data_timeout);
  s.remote.bounce_refused_sessions = q.bounce_refused_sessions();
  s.remote.greeting_timeout = DurationOr(q.has_greeting_timeout(), q.greeting_timeout(), s.remote.greeting_timeout);
  s.remote.source_address = q.source_address();
  s.remote.tls_ca_file = q.tls_ca_file();
  s.remote.pool.idle_timeout = DurationOr(q.has_idle_connection(), q.idle_connection(), s.remote.pool.idle_timeout);
  if (q.messages_per_connection() != 0) s.remote.pool.messages_per_connection = q.messages_per_connection();
  PH_RETURN_IF_ERROR(Check(s, retry.factor));
  return s;
}

}  // namespace posthouse::queue
