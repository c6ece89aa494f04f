// FailingCalls: a channel whose calls fail when a test says so.
//
// Calls pass to the server unchanged until a rule names their method. A rule lets `messages`
// messages of a stream pass (responses; requests where only the client streams), then it ends
// the call with its status. With `answer_lost` the call runs to its end, and only its answer is
// exchanged for the status. Threads: any.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace posthouse::conformance {

class FailingCalls {
 public:
  struct Rule {
    std::string method;  // "Fetch"
    grpc::StatusCode code = grpc::StatusCode::UNAVAILABLE;
    int messages = 0;
    int times = 1;
    bool answer_lost = false;
  };
  // The object must outlive the channel.
  std::shared_ptr<grpc::Channel> ChannelTo(grpc::Server& server);
  void Fail(Rule rule);
  // The rule for a call of `method` that begins now; nullopt: it may succeed.
  std::optional<Rule> Next(const std::string& method);

 private:
  absl::Mutex mutex_;
  std::vector<Rule> rules_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::conformance
