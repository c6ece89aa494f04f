// Settings: the queue's part of the configuration, with defaults filled in. The reference is
// protos/posthouse/config/v1/config.proto.
// Threads: a value.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/queue/delivery/remote.h"
#include "services/queue/schedule/bounce.h"
#include "services/queue/schedule/destination_scheduler.h"
#include "services/queue/schedule/settlement.h"

namespace posthouse::config::v1 {
class Config;
}

namespace posthouse::queue {

struct Settings {
  std::string hostname;
  std::string store_dir;
  std::string shard = "0";
  absl::Duration expire_after = absl::Hours(24 * 5);  // RFC 5321 §4.5.4.1: at least 4-5 days
  absl::Duration done_retention = absl::Hours(24 * 3);
  SchedulerOptions scheduler;
  SettlementPolicy settlement;
  BounceOptions bounce;
  RemoteOptions remote;

  // kInvalidArgument names the key, the value and what is allowed.
  static absl::StatusOr<Settings> FromConfig(const config::v1::Config& config);
};

}  // namespace posthouse::queue
