// What every part of the mailbox works with. Owned by App; outlives them all.
#pragma once

#include <functional>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/common/store/store.h"
#include "services/mailbox/folder/blob_pins.h"
#include "services/mailbox/folder/change_hints.h"
#include "services/mailbox/metrics.h"
#include "services/mailbox/settings.h"

namespace posthouse::mailbox {

struct Context {
  store::Store& store;
  Metrics& metrics;
  ChangeHints& hints;
  BlobPins& pins;
  Settings settings;
  std::function<absl::Time()> clock = [] { return absl::Now(); };
};

}  // namespace posthouse::mailbox
