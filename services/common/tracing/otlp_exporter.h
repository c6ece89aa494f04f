// OtlpExporter: sends spans to a collector, by OTLP over gRPC (https://opentelemetry.io/docs/specs/otlp/).
//
// Spans wait in memory, a bounded number of them, and are sent in batches, one batch at a time. A batch that the
// collector cannot take now is repeated a few times. Spans that find no room, or that cannot be sent, are dropped and
// counted: mail never waits for a collector. A light header, without gRPC.
//
// Threads: any. The coroutine that sends runs on the executor of Start().
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/common/async/executor.h"
#include "services/common/async/sync.h"
#include "services/common/async/task.h"
#include "services/common/metrics/metrics.h"
#include "services/common/tracing/span.h"

namespace posthouse::config::v1 {
class Tracing;
}

namespace posthouse::tracing {

struct OtlpOptions {
  std::string endpoint;  // "collector.observability:4317"
  double ratio = 1;      // of the traces
  std::string ca_file;   // PEM; "": without TLS
  size_t max_waiting = 8192;
  size_t batch = 512;
  absl::Duration interval = absl::Seconds(1);
  int tries = 5;  // of one batch
  absl::Duration first_pause = absl::Seconds(1);
  // What names the process to the collector.
  std::string service;   // "posthouse-queue"
  std::string instance;  // name of the pod or host
};

// Reads `tracing`. kInvalidArgument names the key. `service`: "queue".
absl::StatusOr<OtlpOptions> OptionsOf(const config::v1::Tracing& tracing, const std::string& service);

// What became of spans. Register it also while tracing is off: zeros are an answer.
struct ExportMetrics {
  explicit ExportMetrics(metrics::Registry& registry);
  metrics::Counter& sent;
  metrics::Counter& dropped;   // no room
  metrics::Counter& failed;    // not taken by the collector, after all tries
  metrics::Counter& rejected;  // refused by the collector
  metrics::Gauge& waiting;
};

class OtlpExporter final : public SpanSink, public std::enable_shared_from_this<OtlpExporter> {
 public:
  // Becomes the sink of the process. `executor` and `metrics` outlive it. kFailedPrecondition: the CA file.
  static absl::StatusOr<std::shared_ptr<OtlpExporter>> Start(OtlpOptions options, Executor& executor,
                                                             ExportMetrics& metrics);
  ~OtlpExporter() override;
  void Take(Span span) override;
  // No sink any more; sends what waits, for at most `grace`. Blocks, so not on an executor. The second call does
  // nothing. Call it before the executor goes.
  void Stop(absl::Duration grace);

 private:
  struct Client;
  OtlpExporter(OtlpOptions options, ExportMetrics& metrics, std::unique_ptr<Client> client);
  static Task<void> Run(std::shared_ptr<OtlpExporter> self);
  std::vector<Span> NextBatch();
  Task<void> Send(std::vector<Span> batch);
  bool stopping() const {
    absl::MutexLock lock(&mutex_);
    return stopping_;
  }

  const OtlpOptions options_;
  ExportMetrics& metrics_;
  const std::unique_ptr<Client> client_;
  Wakeup work_;  // a batch is full, or the end
  Wakeup end_;   // interrupts the pause before a repetition
  mutable absl::Mutex mutex_;
  std::deque<Span> waiting_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace posthouse::tracing
