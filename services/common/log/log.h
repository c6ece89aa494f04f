// Log: JSON, one event a line, to stderr.
//
//   LOG_EVENT(kInfo, "enqueued").Str("queue_id", id).Int("size_bytes", n).Trace(trace_id);
//
// The event name is a constant; values go into fields. Never log credentials or
// message content. A peer's mistake is kInfo, ours is kError. Event escapes strings,
// replaces invalid UTF-8, and cuts a field at 1 KiB and a line at 8 KiB.
// Threads: any; a line is one write(2).
#pragma once

#include <cstdint>
#include <source_location>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace posthouse::log {

enum class Level { kDebug, kInfo, kWarning, kError };

// The level of the process. Lines below it are not written.
void SetLevel(Level level);
bool Enabled(Level level);
bool ParseLevel(absl::string_view name, Level* level);  // "debug", "info", "warning", "error"
// Names the process in every line ("service":"queue"). Call once, early. A line that is written in the folder of
// another service, as all parts of standalone do, names that, too ("component":"queue").
void SetService(absl::string_view service);
// For tests: lines go to `sink` (null: stderr again).
void SetSinkForTest(void (*sink)(absl::string_view line));

// One line; the destructor writes it.
class Event {
 public:
  Event(Level level, absl::string_view event, std::source_location where = std::source_location::current());
  ~Event();
  Event(const Event&) = delete;
  Event& Str(absl::string_view key, absl::string_view value);
  Event& Int(absl::string_view key, int64_t value);
  Event& Double(absl::string_view key, double value);
  Event& Bool(absl::string_view key, bool value);
  Event& Seconds(absl::string_view key, absl::Duration value);
  Event& Err(const absl::Status& status);      // "code" and "error"
  Event& Trace(absl::string_view trace_id);    // "trace_id"; nothing when empty
  Event& QueueId(absl::string_view queue_id);  // "queue_id"

 private:
  const bool enabled_;
  std::string line_;
};

// Allow() is true at most `lines` times a window (of whole seconds). The first true answer of
// a later window sets `*dropped` to the number of false ones since the last true one.
class RateLimit {
 public:
  explicit RateLimit(int lines, absl::Duration window = absl::Seconds(1)) : lines_(lines), window_length_(window) {}
  bool Allow(int64_t* dropped);

 private:
  const int lines_;
  const absl::Duration window_length_;
  absl::Mutex mutex_;
  int64_t window_ ABSL_GUARDED_BY(mutex_) = 0;
  int used_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t dropped_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Logs a status that is dropped on purpose: LogIfError(socket.Close(), "closing after QUIT").
void LogIfError(const absl::Status& status, absl::string_view while_doing);

}  // namespace posthouse::log

#define LOG_EVENT(level, event) ::posthouse::log::Event(::posthouse::log::Level::level, event)
