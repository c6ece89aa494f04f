// ProcessRuntime: the Runtime that Main() and tests make. It starts `loops` event loops and the
// blocking pool of the config; its destructor stops and joins them.
#pragma once

#include "posthouse/config/v1/config.pb.h"
#include "services/common/async/thread_pool.h"
#include "services/common/metrics/metrics.h"
#include "services/common/net/event_loop.h"
#include "services/common/runtime/runtime.h"

namespace posthouse::runtime {

class ProcessRuntime final : public Runtime {
 public:
  ProcessRuntime(const config::v1::Config& config, int loops, bool accept_data_loss = false)
      : config_(config),
        accept_data_loss_(accept_data_loss),
        pool_(config.blocking_threads() != 0 ? static_cast<int>(config.blocking_threads()) : 8),
        loops_(loops) {}
  ~ProcessRuntime() override {
    // Loops first: their work may wait for the pool, but the pool never waits for a loop.
    loops_.Stop();
    pool_.Stop();
  }
  const config::v1::Config& config() const override { return config_; }
  net::EventLoops& loops() override { return loops_; }
  ThreadPool& blocking_pool() override { return pool_; }
  metrics::Registry& registry() override { return registry_; }
  bool accept_data_loss() const override { return accept_data_loss_; }

 private:
  const config::v1::Config config_;
  const bool accept_data_loss_;
  metrics::Registry registry_;
  ThreadPool pool_;
  net::EventLoops loops_;
};

}  // namespace posthouse::runtime
