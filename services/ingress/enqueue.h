// Handing a message to the queue, as a stream with back-pressure.
//
// What is written stays here until 64 KiB are there, so that a small message is one
// write with its header and its commit; a larger one streams. Up to 1 MiB is kept
// for another try: a queue that is UNAVAILABLE is asked once more (the next one when
// there are several) under the same idempotency key. A failure is remembered and
// told by Commit(), so that the client's data can be read to its end in any case.
//
// Threads: one session, on its event loop.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/rpc/trace.h"

namespace grpc {
class Channel;
}
namespace posthouse::queue::v1 {
class Envelope;
}

namespace posthouse::ingress {

// One message. Destroying it before Commit() stores nothing.
class EnqueueCall {
 public:
  virtual ~EnqueueCall() = default;
  // Waits while the queue is slower than the client. After a failure it only drops.
  virtual Task<void> Write(std::string piece) = 0;
  // Once, at the end of the message: its queue id, when the queue has it for good.
  virtual Task<absl::StatusOr<std::string>> Commit() = 0;
};

struct EnqueueTimeouts {
  absl::Duration small = absl::Seconds(60);  // a whole small message
  absl::Duration step = absl::Seconds(120);  // each write and the commit of a stream
  absl::Duration stream = absl::Hours(4);    // the whole: a slow client sets the pace
};

class Enqueuer {
 public:
  static std::unique_ptr<Enqueuer> Create(const std::vector<std::shared_ptr<grpc::Channel>>& queues,
                                          EnqueueTimeouts timeouts = {});
  virtual ~Enqueuer() = default;  // outlives its calls
  // `envelope` is moved from. A new idempotency key is drawn.
  virtual std::unique_ptr<EnqueueCall> Begin(rpc::TraceContext trace, queue::v1::Envelope&& envelope) = 0;
  // The queues may go from now on: no new streams, no second tries. Any thread.
  virtual void Stop() = 0;
};

}  // namespace posthouse::ingress
