// ConnectionPool: SMTP sessions kept open for the next message to the same host.
//
// An idle session is QUIT after `idle_timeout`, one that has carried enough
// messages at once. Bounded; over the limit the session is closed rather than kept.
// Threads: any; a session is used and closed on its own event loop.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/mail_formats/smtp/client.h"

namespace posthouse::queue {

struct PoolOptions {
  absl::Duration idle_timeout = absl::Seconds(10);
  uint32_t messages_per_connection = 100;
  size_t max_idle = 500;
};

class ConnectionPool {
 public:
  explicit ConnectionPool(PoolOptions options);
  ~ConnectionPool();  // closes the idle ones without waiting
  // An idle session under `key`, the one used last; null: none. The caller must
  // move to its loop before using it.
  std::unique_ptr<smtp::Client> Take(const std::string& key);
  // Keeps a usable session, or ends it. Call on its loop.
  void Give(std::string key, std::unique_ptr<smtp::Client> client);
  // Ends what is idle; what is given later is ended at once.
  void Close();
  size_t idle() const;

 private:
  struct State;
  const std::shared_ptr<State> state_;
};

}  // namespace posthouse::queue
