#include "services/common/log/log.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <deque>
#include <source_location>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "services/common/log/json.h"

namespace posthouse::log {
namespace {

constexpr size_t kMaxFieldBytes = 1024;
constexpr size_t kMaxLineBytes = 8 * 1024;

std::atomic<int> minimum_level{static_cast<int>(Level::kInfo)};
std::atomic<void (*)(absl::string_view)> test_sink{nullptr};

// Set once, early, and never freed: lines may be written until the process ends.
std::atomic<const std::string*> service_name{nullptr};

absl::string_view LevelName(Level level) {
  switch (level) {
    case Level::kDebug:
      return "debug";
    case Level::kInfo:
      return "info";
    case Level::kWarning:
      return "warning";
    case Level::kError:
      return "error";
  }
  return "error";
}

// Starts `,"key":`. False when the line is full: the field is left out whole, so
// that the line stays valid JSON.
bool AppendKey(absl::string_view key, std::string* line) {
  if (line->size() + 2 * kMaxFieldBytes > kMaxLineBytes) return false;
  line->push_back(',');
  AppendJsonString(key, kMaxFieldBytes, line);
  line->push_back(':');
  return true;
}

// "queue" for services/queue/schedule/dispatcher.cc; "" for what all services use.
absl::string_view ComponentOf(absl::string_view file) {
  const size_t at = file.rfind("services/");
  if (at == absl::string_view::npos) return "";
  absl::string_view name = absl::StripPrefix(file.substr(at), "services/");
  name = name.substr(0, name.find('/'));
  return name == "common" || name == "mail_formats" ? "" : name;
}

void WriteLine(const std::string& line) {
  const auto sink = test_sink.load(std::memory_order_acquire);
  if (sink != nullptr) {
    sink(line);
    return;
  }
  // One write(2) a line, so that lines of several threads do not mix. A log that
  // cannot be written must not stop mail, so the result is dropped.
  const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
  static_cast<void>(written);
}

}  // namespace

void SetLevel(Level level) { minimum_level.store(static_cast<int>(level), std::memory_order_relaxed); }

bool Enabled(Level level) { return static_cast<int>(level) >= minimum_level.load(std::memory_order_relaxed); }

bool ParseLevel(absl::string_view name, Level* level) {
  for (const Level candidate : {Level::kDebug, Level::kInfo, Level::kWarning, Level::kError}) {
    if (name == LevelName(candidate)) {
      *level = candidate;
      return true;
    }
  }
  return false;
}

void SetService(absl::string_view service) {
  static absl::Mutex mutex(absl::kConstInit);
  static auto& names = *new std::deque<std::string>();  // a replaced name may still be in use
  absl::MutexLock lock(&mutex);
  service_name.store(&names.emplace_back(service), std::memory_order_release);
}

void SetSinkForTest(void (*sink)(absl::string_view line)) { test_sink.store(sink, std::memory_order_release); }

Event::Event(Level level, absl::string_view event, std::source_location where) : enabled_(Enabled(level)) {
  if (!enabled_) return;
  line_.reserve(256);
  line_.append("{\"time\":\"");
  line_.append(absl::FormatTime("%Y-%m-%d%ET%H:%M:%E6SZ", absl::Now(), absl::UTCTimeZone()));
  line_.append("\",\"level\":\"");
  line_.append(LevelName(level).data(), LevelName(level).size());
  line_.push_back('"');
  const std::string* service = service_name.load(std::memory_order_acquire);
  if (service != nullptr) {
    Str("service", *service);
    const absl::string_view component = ComponentOf(where.file_name());
    if (!component.empty() && component != *service) Str("component", component);
  }
  Str("event", event);
}

Event::~Event() {
  if (!enabled_) return;
  line_.append("}\n");
  WriteLine(line_);
}

Event& Event::Str(absl::string_view key, absl::string_view value) {
  if (enabled_ && AppendKey(key, &line_)) AppendJsonString(value, kMaxFieldBytes, &line_);
  return *this;
}

Event& Event::Int(absl::string_view key, int64_t value) {
  if (enabled_ && AppendKey(key, &line_)) absl::StrAppend(&line_, value);
  return *this;
}

Event& Event::Double(absl::string_view key, double value) {
  if (!enabled_ || !AppendKey(key, &line_)) return *this;
  // JSON has no infinities and no NaN (RFC 8259 §6).
  if (std::isfinite(value)) {
    absl::StrAppendFormat(&line_, "%.9g", value);
  } else {
    line_.append("null");
  }
  return *this;
}

Event& Event::Bool(absl::string_view key, bool value) {
  if (enabled_ && AppendKey(key, &line_)) line_.append(value ? "true" : "false");
  return *this;
}

Event& Event::Seconds(absl::string_view key, absl::Duration value) { return Double(key, absl::ToDoubleSeconds(value)); }

Event& Event::Err(const absl::Status& status) {
  return Str("code", absl::StatusCodeToString(status.code())).Str("error", status.message());
}

Event& Event::Trace(absl::string_view trace_id) { return trace_id.empty() ? *this : Str("trace_id", trace_id); }

Event& Event::QueueId(absl::string_view queue_id) { return Str("queue_id", queue_id); }

bool RateLimit::Allow(int64_t* dropped) {
  const int64_t now = absl::ToUnixSeconds(absl::Now()) / std::max<int64_t>(1, absl::ToInt64Seconds(window_length_));
  absl::MutexLock lock(&mutex_);
  if (now != window_) {
    window_ = now;
    used_ = 0;
  }
  if (used_ >= lines_) {
    ++dropped_;
    return false;
  }
  ++used_;
  *dropped = dropped_;
  dropped_ = 0;
  return true;
}

void LogIfError(const absl::Status& status, absl::string_view while_doing) {
  if (!status.ok()) LOG_EVENT(kWarning, "ignored_error").Str("while", while_doing).Err(status);
}

}  // namespace posthouse::log
