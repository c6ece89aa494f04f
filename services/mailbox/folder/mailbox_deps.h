// MailboxDeps: what every part of the mailbox shares. App makes one from its own members and
// passes it by reference; tests make one over a memory store (testing/mailbox_fixture.h).
//
// Lifetime: it and everything it refers to outlive every Account, Folder and running call.
// Threads: `settings` and `clock` do not change after start; the others are thread-safe.
#pragma once

#include <functional>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/common/store/store.h"
#include "services/mailbox/folder/account_registry.h"
#include "services/mailbox/folder/blob_pins.h"
#include "services/mailbox/folder/change_hints.h"
#include "services/mailbox/metrics.h"
#include "services/mailbox/settings.h"

namespace posthouse {
class Executor;
}

namespace posthouse::mailbox {

struct MailboxDeps {
  store::Store& store;  // rows and bodies
  Metrics& metrics;
  ChangeHints& hints;         // each commit of a folder publishes one
  BlobPins& pins;             // bodies that the sweeper must not delete
  AccountRegistry* registry;  // what the directory knows; never null
  Settings settings;
  // For dates in rows and the ages that the sweeper compares. Correctness does not depend on it.
  std::function<absl::Time()> clock = [] { return absl::Now(); };
  // Where a folder waits between two tries of a commit; null: it does not wait.
  Executor* executor = nullptr;
};

}  // namespace posthouse::mailbox
