#include "services/probe/probe.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/common/ids/ids.h"
#include "services/probe/steps.h"

namespace posthouse::probe {
namespace {

constexpr size_t kMaxPassword = 4096;

absl::StatusOr<std::string> ReadPassword(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxPassword + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (file.bad() || text.empty()) return absl::NotFoundError(absl::StrCat("cannot read a password from ", path));
  if (text.back() == '\n') text.pop_back();
  if (!text.empty() && text.back() == '\r') text.pop_back();
  const bool plain = std::all_of(text.begin(), text.end(), [](unsigned char c) { return c >= ' ' && c != 0x7f; });
  if (text.empty() || text.size() > kMaxPassword || !plain) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": a password is one line of 1 to ", kMaxPassword, " bytes"));
  }
  return text;
}

// What a round needs besides targets. The files are read each time: they may be replaced while the probe runs.
absl::StatusOr<Journey> Begin(net::EventLoop& loop, const Options& options) {
  absl::StatusOr<std::string> password = ReadPassword(options.password_file);
  if (!password.ok()) return password.status();
  auto tls = net::TlsClientContext::Create(net::VerifyPeer::kHostname, options.tls_ca);
  if (!tls.ok()) return tls.status();
  return Journey{loop,
                 *std::move(tls),
                 options.tls_name,
                 options.account,
                 *std::move(password),
                 absl::BytesToHexString(RandomBytes(16)),
                 absl::Now() + options.timeout};
}

}  // namespace

Task<std::vector<StepResult>> RunRound(net::EventLoop& loop, Options options) {
  co_await SwitchTo(loop);
  std::vector<StepResult> results;
  absl::StatusOr<Journey> journey = Begin(loop, options);
  if (!journey.ok()) {
    results.push_back({kSteps[0], journey.status(), absl::ZeroDuration()});
    co_return results;
  }
  absl::Time begin = absl::Now();
  const auto done = [&](const char* step, absl::Status status) {
    const absl::Time now = absl::Now();
    results.push_back({step, std::move(status), now - begin});
    begin = now;
    return results.back().status.ok();
  };
  bool going = true;
  if (options.submissions) {
    absl::Status status = co_await Submit(*journey, *options.submissions);
    going = done("submit", std::move(status));
  }
  if (going && options.imaps) {
    absl::StatusOr<uint32_t> uid = co_await ReadByImap(*journey, *options.imaps);
    going = done("imap", uid.status());
  }
  if (going && options.pop3s) {
    absl::Status status = co_await ReadByPop3(*journey, *options.pop3s);
    (void)done("pop3", std::move(status));
  }
  if (options.imaps) {
    journey->deadline = absl::Now() + options.timeout;  // a round that ran out of time cleans up, too
    absl::Status status = co_await Delete(*journey, *options.imaps);
    (void)done("delete", std::move(status));
  }
  if (options.no_relay) {
    journey->deadline = absl::Now() + options.timeout;
    absl::Status status = co_await RefusesRelay(*journey, *options.no_relay);
    (void)done("no_relay", std::move(status));
  }
  co_return results;
}

Metrics::Metrics(metrics::Registry& registry)
    : ok_(registry.AddCounter("posthouse_probe_rounds_total", "Journeys of a message.", {{"result", "ok"}})),
      failed_(registry.AddCounter("posthouse_probe_rounds_total", "Journeys of a message.", {{"result", "failed"}})),
      successful_(registry.AddGauge("posthouse_probe_last_round_successful",
                                    "1 when each step of the last journey succeeded, else 0; 0 before the first.")),
      last_success_(registry.AddGauge("posthouse_probe_last_success_timestamp_seconds",
                                      "End of the last journey that succeeded, Unix time; 0: none.")) {
  for (const char* step : kSteps) {
    steps_.push_back(
        {&registry.AddHistogram("posthouse_probe_step_seconds", "Time of the steps that succeeded.", {{"step", step}}),
         &registry.AddCounter("posthouse_probe_step_failures_total", "Steps that failed.", {{"step", step}})});
  }
}

void Metrics::Add(const std::vector<StepResult>& round, absl::Time now) {
  bool ok = !round.empty();
  for (const StepResult& result : round) {
    const auto* const at = std::find_if(std::begin(kSteps), std::end(kSteps),
                                        [&](const char* step) { return absl::string_view(step) == result.step; });
    const Step& step = steps_[static_cast<size_t>(at - std::begin(kSteps))];
    if (result.status.ok()) {
      step.seconds->Observe(result.took);
    } else {
      step.failures->Add();
      ok = false;
    }
  }
  (ok ? ok_ : failed_).Add();
  successful_.Set(ok ? 1 : 0);
  if (ok) last_success_.Set(absl::ToDoubleSeconds(now - absl::UnixEpoch()));
}

}  // namespace posthouse::probe
