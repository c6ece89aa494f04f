// Refusals: counts and logs what ingress refuses, and remembers the newest for
// `posthousectl trace`.
//
// Log: recipient_refused, sender_refused, message_refused, message_cut_off, login_refused,
// connection_refused, session_ended. For each reason and network (IPv4 /24, IPv6 /64) at
// most kLinesPerMinute lines a minute, and for all together kLinesPerSecond a second. The
// next line says how many were left out ("suppressed"); for a network that has stopped,
// refusals_suppressed says it within about two minutes.
//
// Memory: kBuckets groups of networks with the newest kPerBucket refusals of each, so that
// a flood from one network leaves what others were refused. Texts are cut at kMaxText.
// About 1 KiB an entry, 30 MiB at worst.
//
// Threads: any.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/common/log/log.h"
#include "services/ingress/metrics.h"
#include "services/ingress/refusal.h"

namespace posthouse::ingress {

// The rule for log lines of one kind: `burst` for each key in a window, then one count of the rest.
class LineLimit {
 public:
  LineLimit(int burst, absl::Duration window, size_t max_keys) : burst_(burst), window_(window), max_keys_(max_keys) {}

  // Whether the line of `key` is logged. `suppressed`: lines of the key that were not, since its last one that was.
  bool Allow(const std::string& key, absl::Time now, uint64_t* suppressed);
  // `lines` of the key were not logged after all.
  void Suppress(const std::string& key, uint64_t lines);
  // Keys whose window is over, with the lines that were not logged, if any. They are forgotten.
  std::vector<std::pair<std::string, uint64_t>> TakeQuiet(absl::Time now);

 private:
  struct Window {
    absl::Time start;
    int lines = 0;
    uint64_t suppressed = 0;
  };
  bool Over(const Window& window, absl::Time now) const { return now < window.start || now - window.start >= window_; }

  const int burst_;
  const absl::Duration window_;
  const size_t max_keys_;  // further ones share the key ""
  absl::Mutex mutex_;
  absl::flat_hash_map<std::string, Window> windows_ ABSL_GUARDED_BY(mutex_);
};

// What FindRefusals looks for.
struct RefusalQuery {
  enum class By { kAddress, kTraceId, kClient };
  By by = By::kAddress;
  std::string text;
  size_t limit = 20;
};

class Refusals {
 public:
  static constexpr int kLinesPerMinute = 20;
  static constexpr int kLinesPerSecond = 100;
  static constexpr size_t kBuckets = 64;
  static constexpr size_t kPerBucket = 128;
  static constexpr size_t kMaxText = 320;
  static constexpr size_t kMaxRecipients = 8;  // kept of one message

  explicit Refusals(std::shared_ptr<Metrics> metrics) : metrics_(std::move(metrics)) {}

  void Record(Refusal refusal);
  // Newest first.
  std::vector<Refusal> Find(const RefusalQuery& query) const;
  size_t remembered() const;
  absl::Time started() const { return started_; }
  // Writes refusals_suppressed where due. Record() does it once a minute; call it at scrapes, too.
  void Tick(absl::Time now);

 private:
  struct Bucket {
    mutable absl::Mutex mutex;
    std::deque<Refusal> newest_last ABSL_GUARDED_BY(mutex);
  };
  void Log(const Refusal& refusal, const std::string& network);
  void Keep(Refusal refusal, const std::string& network);

  const std::shared_ptr<Metrics> metrics_;
  const absl::Time started_ = absl::Now();
  LineLimit lines_{kLinesPerMinute, absl::Minutes(1), 10000};
  log::RateLimit all_lines_{kLinesPerSecond};
  std::atomic<int64_t> minute_{0};  // of the last Tick() by Record()
  std::array<Bucket, kBuckets> buckets_;
};

}  // namespace posthouse::ingress
