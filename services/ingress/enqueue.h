// Enqueuer: streams messages into the queue, with back-pressure.
//
// A call collects 64 KiB before it sends, so that a small message is one write with
// header, data and commit; a larger message streams. The first 1 MiB is kept for a
// second try, unless memory for messages in transit is short.
//
// A shard that surely has not taken the message (it says so, it was not reached, or the
// message was not complete) leaves it to the next shard, under a new key. If the shard may
// have taken it, only that shard can tell: it is asked again under the same key, for up to
// `doubt`. No other shard is asked then, since both might deliver the message.
//
// Commit() returns any earlier failure, so that the session can read the client's data to
// its end. When the memory for messages in transit is used up, a call first sends what it
// has collected, then fails with kResourceExhausted.
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
#include "services/common/memory_budget/memory_budget.h"
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
  // Waits while the queue is slower than the client. After a failure the bytes are
  // dropped.
  virtual Task<void> Write(std::string piece) = 0;
  // Call once, at the end of the message. Returns the queue id when the queue has
  // taken responsibility; after an error it may have done so, too.
  virtual Task<absl::StatusOr<std::string>> Commit() = 0;
  // Whether the failure is that of MemoryBudget.
  virtual bool out_of_memory() const { return false; }
};

// How long the queue may take.
struct EnqueueTimeouts {
  absl::Duration small = absl::Seconds(60);  // a whole small message
  absl::Duration step = absl::Seconds(120);  // each write and the commit of a stream
  absl::Duration stream = absl::Hours(4);    // a whole stream: a slow client sets the pace
  absl::Duration doubt = absl::Seconds(60);  // for asking a shard that may have taken the message
};

class Enqueuer {
 public:
  static std::unique_ptr<Enqueuer> Create(const std::vector<std::shared_ptr<grpc::Channel>>& queues,
                                          std::shared_ptr<MemoryBudget> memory, EnqueueTimeouts timeouts = {});
  virtual ~Enqueuer() = default;  // outlives its calls
  // Moves from `envelope`; draws new idempotency keys. `resolved`: when, by the monotonic clock, the directory was as
  // the envelope resolves its recipients; InfinitePast: unknown.
  virtual std::unique_ptr<EnqueueCall> Begin(rpc::TraceContext trace, queue::v1::Envelope&& envelope,
                                             absl::Time resolved) = 0;
  // Messages that begin from now on go to these. Any thread.
  virtual void SetQueues(const std::vector<std::shared_ptr<grpc::Channel>>& queues) = 0;
  // The queues may shut down after this: calls start no stream and no second try. Any
  // thread.
  virtual void Stop() = 0;
};

}  // namespace posthouse::ingress
