#include "services/queue/delivery/connection_pool.h"

#include <list>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "services/common/net/connection.h"

namespace posthouse::queue {
namespace {

Task<void> End(std::unique_ptr<smtp::Client> client) {
  co_await client->Quit();
  client = nullptr;  // here, on its loop
}

// Sends QUIT on the session's own loop, without waiting for it.
void EndOnItsLoop(std::unique_ptr<smtp::Client> client) {
  net::EventLoop& loop = client->connection().loop();
  Spawn(loop, End(std::move(client)));
}

}  // namespace

struct ConnectionPool::State {
  struct Idle {
    uint64_t id;
    std::unique_ptr<smtp::Client> client;
  };
  explicit State(PoolOptions o) : options(o) {}

  // The session, if it is still there.
  std::unique_ptr<smtp::Client> Remove(const std::string& key, uint64_t id) {
    absl::MutexLock lock(&mutex);
    const auto found = idle.find(key);
    if (found == idle.end()) return nullptr;
    for (auto it = found->second.begin(); it != found->second.end(); ++it) {
      if (it->id != id) continue;
      std::unique_ptr<smtp::Client> client = std::move(it->client);
      found->second.erase(it);
      if (found->second.empty()) idle.erase(found);
      --count;
      return client;
    }
    return nullptr;
  }

  const PoolOptions options;
  absl::Mutex mutex;
  bool closed ABSL_GUARDED_BY(mutex) = false;
  uint64_t last_id ABSL_GUARDED_BY(mutex) = 0;
  size_t count ABSL_GUARDED_BY(mutex) = 0;
  absl::flat_hash_map<std::string, std::list<Idle>> idle ABSL_GUARDED_BY(mutex);
};

ConnectionPool::ConnectionPool(PoolOptions options) : state_(std::make_shared<State>(options)) {}
ConnectionPool::~ConnectionPool() { Close(); }

std::unique_ptr<smtp::Client> ConnectionPool::Take(const std::string& key) {
  absl::MutexLock lock(&state_->mutex);
  const auto found = state_->idle.find(key);
  if (found == state_->idle.end()) return nullptr;
  std::unique_ptr<smtp::Client> client = std::move(found->second.back().client);
  found->second.pop_back();
  if (found->second.empty()) state_->idle.erase(found);
  --state_->count;
  return client;
}

void ConnectionPool::Give(std::string key, std::unique_ptr<smtp::Client> client) {
  if (!client->usable()) return;
  net::EventLoop& loop = client->connection().loop();
  uint64_t id = 0;
  {
    absl::MutexLock lock(&state_->mutex);
    if (!state_->closed && state_->count < state_->options.max_idle &&
        client->messages_sent() < state_->options.messages_per_connection) {
      id = ++state_->last_id;
      state_->idle[key].push_back({id, std::move(client)});
      ++state_->count;
    }
  }
  if (id == 0) {
    EndOnItsLoop(std::move(client));
    return;
  }
  loop.PostAfter(state_->options.idle_timeout, [weak = std::weak_ptr<State>(state_), key = std::move(key), id] {
    const std::shared_ptr<State> state = weak.lock();
    std::unique_ptr<smtp::Client> idle = state == nullptr ? nullptr : state->Remove(key, id);
    if (idle != nullptr) EndOnItsLoop(std::move(idle));
  });
}

void ConnectionPool::Close() {
  absl::flat_hash_map<std::string, std::list<State::Idle>> idle;
  {
    absl::MutexLock lock(&state_->mutex);
    state_->closed = true;
    idle.swap(state_->idle);
    state_->count = 0;
  }
  for (auto& [key, sessions] : idle) {
    for (State::Idle& session : sessions) EndOnItsLoop(std::move(session.client));
  }
}

size_t ConnectionPool::idle() const {
  absl::MutexLock lock(&state_->mutex);
  return state_->count;
}

}  // namespace posthouse::queue
