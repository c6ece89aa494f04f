// Dispatcher: takes items from acceptance (or the due index) to their end.
//
//   Accept ──▶ jobs by destination ──▶ Sites ──▶ attempt ──▶ Settlement ──▶ Spool
//   due row ─▶ one job (loads) ────────▲  │ blocked or full: left on disk,
//       ▲                                 │ found by a rescan
//       └──────────── rescheduled ────────┘
//
// An item that was just accepted goes to its deliveries from memory; one that waits
// is a due row, read when its time comes (due_window.h). Every item has at most one
// claim: what is claimed is in a line of Sites or being worked on, and is not
// started twice. What is dropped unfinished for any reason is still a due row.
//
// An outcome is committed together with what follows from it (a report to the
// sender, recipients that rules add). A commit that fails is repeated until it is
// done, so that a remote host is not given a message twice.
//
// Threads: any; jobs run on the loops. Drain() before destruction.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/queue/schedule/bounce.h"
#include "services/queue/delivery/delivery.h"
#include "services/queue/delivery/routing_client.h"
#include "services/queue/schedule/settlement.h"
#include "services/queue/schedule/sites.h"
#include "services/queue/spool/spool.h"

namespace posthouse::net {
class EventLoops;
}

namespace posthouse::queue {

class Metrics;

struct DispatcherOptions {
  SitesOptions sites;
  SettlementPolicy settlement;
  BounceOptions bounce;
  Clock clock = [] { return absl::Now(); };
  std::function<double()> random;  // in [0, 1); null: a generator of its own
  size_t window_entries = 50000;
  size_t page_rows = 512;
  // An item that could not be loaded or saved is looked for again after this.
  absl::Duration stray_delay = absl::Seconds(30);
};

class Dispatcher {
 public:
  // All of them outlive it.
  struct Parts {
    net::EventLoops& loops;
    Spool& spool;
    Routing& routing;
    Delivery& local;
    Delivery& remote;
    Metrics& metrics;
  };
  static std::unique_ptr<Dispatcher> Create(Parts parts, DispatcherOptions options);
  virtual ~Dispatcher() = default;

  // Begins to read the due index.
  virtual void Start() = 0;
  // Takes an item that was just put, with its message when that is in memory.
  virtual void Accept(std::shared_ptr<Record> record, std::shared_ptr<const std::string> memory) = 0;

  // Makes the waiting recipients of an item due now. kNotFound: no such item.
  virtual Task<absl::Status> Retry(std::string queue_id) = 0;
  // The same for all items with a recipient there; returns how many.
  virtual Task<absl::StatusOr<uint32_t>> RetryDestination(std::string domain) = 0;
  // Removes an item; with `bounce` its sender is told. kFailedPrecondition: it is
  // being delivered at this moment, try again.
  virtual Task<absl::Status> Delete(std::string queue_id, bool bounce) = 0;

  // Looks at the clock now (tests turn it).
  virtual void Poke() = 0;
  // Sets the gauges of lines and windows.
  virtual void UpdateMetrics() = 0;
  // Starts nothing more, waits up to `grace` for what runs, then cuts it; what is
  // unfinished stays due. Blocks; not on a loop.
  virtual void Drain(absl::Duration grace) = 0;
};

// Recipients that `destination` stands for, due at `now`, as a transaction without
// `read` and `memory`. Pure.
Transaction MakeTransaction(const v1::Item& item, const std::string& destination, absl::Time now);

}  // namespace posthouse::queue
