// ConnectionPool: SMTP sessions kept open for the next message to the same host.
//
// The pool ends an idle session (QUIT) after `idle_timeout`, and at once when it has carried
// `messages_per_connection` messages or the pool is full.
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
  ~ConnectionPool();  // closes the idle sessions without waiting
  // The idle session under `key` that was used last; null: none. The caller must switch to
  // the session's loop before using it.
  std::unique_ptr<smtp::Client> Take(const std::string& key);
  // Keeps a usable session under `key`, or ends it. Call on its loop.
  void Give(std::string key, std::unique_ptr<smtp::Client> client);
  // Ends the idle sessions; a session that is given later ends at once.
  void Close();
  size_t idle() const;

 private:
  struct State;
  const std::shared_ptr<State> state_;
};

}  // namespace posthouse::queue
