#include "services/ingress/refusals.h"

#include <algorithm>

#include "absl/hash/hash.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/common/ip_address/ip_address.h"

namespace posthouse::ingress {
namespace {

const char* EventOf(const Refusal& refusal) {
  if (refusal.reason == Reason::kCutOff) return "message_cut_off";
  switch (refusal.stage) {
    case Stage::kConnect:
      return "connection_refused";
    case Stage::kAuth:
      return "login_refused";
    case Stage::kMail:
      return "sender_refused";
    case Stage::kRcpt:
      return "recipient_refused";
    case Stage::kData:
      return "message_refused";
    case Stage::kSession:
      break;
  }
  return "session_ended";
}

void Cut(std::string* text) {
  if (text->size() > Refusals::kMaxText) text->resize(Refusals::kMaxText);
}

bool Matches(const Refusal& refusal, const RefusalQuery& query) {
  switch (query.by) {
    case RefusalQuery::By::kTraceId:
      return refusal.trace_id == query.text;
    case RefusalQuery::By::kClient:
      return refusal.client == query.text;
    case RefusalQuery::By::kAddress:
      break;
  }
  const auto same = [&](const std::string& text) { return absl::EqualsIgnoreCase(text, query.text); };
  return same(refusal.from) || same(refusal.login) || std::any_of(refusal.to.begin(), refusal.to.end(), same);
}

}  // namespace

// ---- LineLimit

bool LineLimit::Allow(const std::string& key, absl::Time now, uint64_t* suppressed) {
  absl::MutexLock lock(&mutex_);
  const bool known = windows_.contains(key);
  Window& window = windows_[known || windows_.size() < max_keys_ ? key : ""];
  if (Over(window, now)) {
    window.start = now;
    window.lines = 0;
  }
  if (window.lines >= burst_) {
    ++window.suppressed;
    return false;
  }
  ++window.lines;
  *suppressed = std::exchange(window.suppressed, 0);
  return true;
}

void LineLimit::Suppress(const std::string& key, uint64_t lines) {
  absl::MutexLock lock(&mutex_);
  const auto it = windows_.find(key);
  (it != windows_.end() ? it->second : windows_[""]).suppressed += lines;
}

std::vector<std::pair<std::string, uint64_t>> LineLimit::TakeQuiet(absl::Time now) {
  std::vector<std::pair<std::string, uint64_t>> quiet;
  absl::MutexLock lock(&mutex_);
  absl::erase_if(windows_, [&](const auto& entry) {
    if (!Over(entry.second, now)) return false;
    if (entry.second.suppressed > 0) quiet.emplace_back(entry.first, entry.second.suppressed);
    return true;
  });
  return quiet;
}

// ---- Refusals

void Refusals::Record(Refusal refusal) {
  metrics_->Refused(refusal.stage, refusal.reason).Add();
  const std::string network = NetworkOf(refusal.client, 24, 64);
  const int64_t minute = absl::ToUnixSeconds(refusal.at) / 60;
  if (minute_.exchange(minute, std::memory_order_relaxed) != minute) Tick(refusal.at);
  Log(refusal, network);
  Keep(std::move(refusal), network);
}

void Refusals::Log(const Refusal& refusal, const std::string& network) {
  const std::string key = absl::StrCat(StageName(refusal.stage), " ", ReasonName(refusal.reason), " ", network);
  uint64_t suppressed = 0;
  if (!lines_.Allow(key, refusal.at, &suppressed)) return;
  int64_t over_all = 0;
  if (!all_lines_.Allow(&over_all)) {
    lines_.Suppress(key, suppressed + 1);
    return;
  }
  log::Event event(IsOurs(refusal.reason) ? log::Level::kWarning : log::Level::kInfo, EventOf(refusal));
  event.Str("reason", ReasonName(refusal.reason)).Str("port", refusal.port).Str("client", refusal.client);
  if (!refusal.helo.empty()) event.Str("helo", refusal.helo);
  if (refusal.stage >= Stage::kMail) event.Str("from", refusal.from);
  if (!refusal.to.empty()) event.Str("to", refusal.to.front());
  if (refusal.to.size() > 1) event.Int("rcpts", static_cast<int64_t>(refusal.to.size()));
  if (!refusal.login.empty()) event.Str("login", refusal.login);
  if (refusal.stage == Stage::kData) event.Int("size_bytes", static_cast<int64_t>(refusal.size_bytes));
  if (!refusal.reply.empty()) event.Str("reply", refusal.reply);
  if (!refusal.error.empty()) event.Str("error", refusal.error);
  if (suppressed > 0) event.Int("suppressed", static_cast<int64_t>(suppressed));
  event.Trace(refusal.trace_id);
}

void Refusals::Keep(Refusal refusal, const std::string& network) {
  if (refusal.to.size() > kMaxRecipients) refusal.to.resize(kMaxRecipients);
  for (std::string& address : refusal.to) Cut(&address);
  for (std::string* text : {&refusal.helo, &refusal.from, &refusal.login, &refusal.reply, &refusal.error}) Cut(text);
  Bucket& bucket = buckets_[absl::HashOf(network) % kBuckets];
  absl::MutexLock lock(&bucket.mutex);
  if (bucket.newest_last.size() == kPerBucket) bucket.newest_last.pop_front();
  bucket.newest_last.push_back(std::move(refusal));
}

std::vector<Refusal> Refusals::Find(const RefusalQuery& query) const {
  std::vector<Refusal> found;
  for (const Bucket& bucket : buckets_) {
    absl::MutexLock lock(&bucket.mutex);
    for (const Refusal& refusal : bucket.newest_last) {
      if (Matches(refusal, query)) found.push_back(refusal);
    }
  }
  std::sort(found.begin(), found.end(), [](const Refusal& a, const Refusal& b) { return a.at > b.at; });
  if (found.size() > query.limit) found.resize(query.limit);
  return found;
}

size_t Refusals::remembered() const {
  size_t sum = 0;
  for (const Bucket& bucket : buckets_) {
    absl::MutexLock lock(&bucket.mutex);
    sum += bucket.newest_last.size();
  }
  return sum;
}

void Refusals::Tick(absl::Time now) {
  for (const auto& [key, lines] : lines_.TakeQuiet(now)) {
    int64_t over_all = 0;
    if (!all_lines_.Allow(&over_all)) continue;
    LOG_EVENT(kInfo, "refusals_suppressed").Str("what", key).Int("suppressed", static_cast<int64_t>(lines));
  }
}

}  // namespace posthouse::ingress
