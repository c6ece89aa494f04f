// ChangeWatcher: the directory's change stream, for the services that cache what the
// directory said. No gRPC in this header.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "posthouse/directory/v1/directory.pb.h"
#include "services/common/async/executor.h"

namespace grpc {
class Channel;
}

namespace posthouse::rpc {

// Follows the stream from construction to Stop(), through disconnections. Resumes after
// the last change it has seen, and reports when it may have missed changes.
class ChangeWatcher {
 public:
  struct Callbacks {
    // Changes, in order. `revision` is that of the response they came in.
    std::function<void(uint64_t revision, const directory::v1::WatchResponse& response)> changed;
    // Changes were missed, or may have been: drop what is cached. Also called before the first change.
    std::function<void()> lost;
    // The stream is up and `revision` is the newest; also called for each heartbeat (every 15 s at least).
    std::function<void(uint64_t revision)> alive;
    // The stream has ended: until `alive` comes, changes come late.
    std::function<void()> interrupted = [] {};
  };
  // `executor` and what the callbacks use outlive Stop(). Callbacks come one at a time, on `executor`.
  ChangeWatcher(const std::shared_ptr<grpc::Channel>& directory, Executor& executor, Callbacks callbacks);
  ~ChangeWatcher();  // Stop()s
  // Ends the stream; afterwards no callback runs. Not on `executor`: it waits for a callback that runs.
  void Stop();

 private:
  struct State;
  const std::shared_ptr<State> state_;
};

}  // namespace posthouse::rpc
