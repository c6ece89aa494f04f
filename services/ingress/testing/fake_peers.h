// FakePeers: routing, directory and queue for tests of ingress: real gRPC services
// with data for answers, reached through an in-process channel.
//
//   mx.example is served: user@ and user+DETAIL@, alias@ (two targets), small@ (takes 1000
//   bytes), list@ (60 targets), full@ and part@ (see SetUsage), shared@ (these two), suspended@; everybody else there
//   is unknown. Other domains need the right to relay. broken.example cannot be resolved now. Login: user@mx.example /
//   secret.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "posthouse/directory/v1/directory.grpc.pb.h"
#include "posthouse/mailbox/v1/mailbox.grpc.pb.h"
#include "posthouse/queue/v1/queue.grpc.pb.h"
#include "posthouse/routing/v1/routing.grpc.pb.h"
#include "services/common/metrics/metrics.h"
#include "services/common/net/event_loop.h"
#include "services/common/rpc/channels.h"
#include "services/common/rpc/server.h"
#include "services/common/rpc/streaming.h"

namespace posthouse::ingress {

// One stream into the queue.
struct Enqueued {
  queue::v1::Envelope envelope;
  std::string key;
  std::string data;
  int writes = 0;
  bool tells_when_resolved = false;
  bool committed = false;
};

class FakePeers {
 public:
  explicit FakePeers(net::EventLoops& loops);
  ~FakePeers();
  rpc::Channels channels();

  // The next Enqueues end with these, in order; after them with OK.
  void FailEnqueues(std::vector<absl::Status> failures);
  // Streams wait before they read on until it is false again.
  void HoldEnqueues(bool hold);
  void FailRouting(bool fail);
  // What an account ("full@mx.example") uses of a quota. Without it, it has none.
  void SetUsage(const std::string& account, uint64_t bytes, uint64_t limit_bytes);
  void FailMailbox(bool fail);
  int usage_calls() const;
  std::vector<Enqueued> streams() const;    // all of them, committed or not
  std::vector<Enqueued> messages() const;   // committed
  void WaitForStreams(size_t ended) const;  // until that many streams have ended
  void WaitForBegun(size_t begun) const;    // until that many have arrived
  int resolutions() const;
  std::string last_login_address() const;

 private:
  class Routing;
  class Directory;
  class Queue;
  class Mailbox;

  metrics::Registry registry_;
  std::unique_ptr<rpc::ServerRunner> runner_;
  std::unique_ptr<Routing> routing_;
  std::unique_ptr<Directory> directory_;
  std::unique_ptr<Queue> queue_;
  std::unique_ptr<Mailbox> mailbox_;
  std::unique_ptr<rpc::RpcServer> server_;

  struct Data {
    mutable absl::Mutex mutex;
    std::vector<absl::Status> failures ABSL_GUARDED_BY(mutex);
    bool hold ABSL_GUARDED_BY(mutex) = false;
    bool routing_fails ABSL_GUARDED_BY(mutex) = false;
    std::vector<Enqueued> streams ABSL_GUARDED_BY(mutex);
    size_t begun ABSL_GUARDED_BY(mutex) = 0;
    size_t ended ABSL_GUARDED_BY(mutex) = 0;
    int resolutions ABSL_GUARDED_BY(mutex) = 0;
    std::map<std::string, mailbox::v1::GetUsageResponse> usage ABSL_GUARDED_BY(mutex);
    int usage_calls ABSL_GUARDED_BY(mutex) = 0;
    bool mailbox_fails ABSL_GUARDED_BY(mutex) = false;
    std::string login_address ABSL_GUARDED_BY(mutex);
  };
  Data data_;
};

}  // namespace posthouse::ingress
