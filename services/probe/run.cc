#include "services/probe/run.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/cli/cli.h"
#include "services/common/config/config.h"
#include "services/common/http/http_server.h"
#include "services/common/http/status_page.h"
#include "services/common/log/log.h"
#include "services/common/metrics/metrics.h"
#include "services/common/net/event_loop.h"
#include "services/common/status/status.h"
#include "services/common/version/version.h"
#include "services/probe/probe.h"

namespace posthouse::probe {
namespace {

constexpr absl::Duration kStuckLoop = absl::Seconds(120);  // a lookup of a name may block the loop

cli::Flag Address(std::string name, std::string help) {
  cli::Flag flag = cli::Text(std::move(name), "HOST:PORT", std::move(help));
  flag.kind = cli::Flag::Kind::kAddress;
  return flag;
}

cli::Program MakeProgram(std::string name) {
  return {.name = name,
          .help = absl::StrCat(name, " sends a message through a running system, reads it back and deletes it."),
          .flags = {cli::Text("account", "ADDRESS", "account that sends to itself"),
                    cli::File("password-file", "file with its password"),
                    cli::Text("tls-name", "NAME", "name that the servers' certificates must have"),
                    cli::File("tls-ca", "authority of the certificates (default: those of the system)"),
                    Address("submissions", "submit here (SMTP, TLS from the start)"),
                    Address("imaps", "read here by IMAP, and delete"), Address("pop3s", "read here by POP3"),
                    Address("no-relay", "check that this MX port refuses to relay"),
                    cli::Text("timeout", "DURATION", "time limit of a round (default 30s)"),
                    cli::Switch("once", "do one round, print its steps, and exit"),
                    cli::Text("interval", "DURATION", "time from one round to the next (default 60s)"),
                    cli::Text("http", "ADDRESS:PORT", "serve /metrics, /livez and /readyz (default 127.0.0.1:9400)"),
                    cli::Switch("version", "print the version and exit")},
          .footer = absl::StrCat("exit codes: 0 done, 1 a round failed, 2 wrong usage\n\nexamples:\n  ", name,
                                 " --account probe@example.org --password-file secret --tls-name mail.example.org \\\n"
                                 "    --submissions mail.example.org:465 --imaps mail.example.org:993 --once\n")};
}

struct Plan {
  Options options;
  bool once = false;
  absl::Duration interval = absl::Seconds(60);
  Target http{"127.0.0.1", "9400"};
};

absl::Status ReadDuration(const cli::Arguments& arguments, const std::string& flag, absl::Duration* to) {
  const auto text = arguments.Get(flag);
  if (!text) return absl::OkStatus();
  const absl::StatusOr<int64_t> nanos = config::ParseDurationNanos(*text);
  if (!nanos.ok()) return Annotate(nanos.status(), "--" + flag);
  *to = absl::Nanoseconds(*nanos);
  if (*to < absl::Seconds(1)) return absl::InvalidArgumentError(absl::StrCat("--", flag, ": at least 1s"));
  return absl::OkStatus();
}

absl::Status ReadTarget(const cli::Arguments& arguments, const std::string& flag, std::optional<Target>* to) {
  const auto text = arguments.Get(flag);
  if (!text) return absl::OkStatus();
  absl::StatusOr<Target> target = Target::Parse(*text);
  if (!target.ok()) return Annotate(target.status(), "--" + flag);
  *to = *std::move(target);
  return absl::OkStatus();
}

absl::StatusOr<Plan> ReadPlan(const cli::Arguments& arguments) {
  Plan plan;
  Options& options = plan.options;
  for (const auto& [flag, to] :
       {std::pair{"account", &options.account}, std::pair{"password-file", &options.password_file},
        std::pair{"tls-name", &options.tls_name}}) {
    *to = arguments.GetOr(flag, "");
    if (to->empty()) return absl::InvalidArgumentError(absl::StrCat("missing flag: --", flag));
  }
  // The address is put into commands.
  for (const char c : options.account) {
    if (c <= ' ' || c == '<' || c == '>' || c == 0x7f) {
      return absl::InvalidArgumentError("--account: an address without spaces or angle brackets");
    }
  }
  options.tls_ca = arguments.GetOr("tls-ca", "");
  PH_RETURN_IF_ERROR(ReadTarget(arguments, "submissions", &options.submissions));
  PH_RETURN_IF_ERROR(ReadTarget(arguments, "imaps", &options.imaps));
  PH_RETURN_IF_ERROR(ReadTarget(arguments, "pop3s", &options.pop3s));
  PH_RETURN_IF_ERROR(ReadTarget(arguments, "no-relay", &options.no_relay));
  if (!options.submissions || !options.imaps) {
    return absl::InvalidArgumentError(absl::StrCat("missing flag: --", !options.submissions ? "submissions" : "imaps"));
  }
  PH_RETURN_IF_ERROR(ReadDuration(arguments, "timeout", &options.timeout));
  PH_RETURN_IF_ERROR(ReadDuration(arguments, "interval", &plan.interval));
  std::optional<Target> http = plan.http;
  PH_RETURN_IF_ERROR(ReadTarget(arguments, "http", &http));
  plan.http = *http;
  plan.once = arguments.Has("once");
  return plan;
}

bool Succeeded(const std::vector<StepResult>& round) {
  bool ok = !round.empty();
  for (const StepResult& step : round) ok &= step.status.ok();
  return ok;
}

int RunOnce(net::EventLoops& loops, const Plan& plan) {
  const std::vector<StepResult> round = SyncWait(RunRound(loops.at(0), plan.options));
  for (const StepResult& step : round) {
    if (step.status.ok()) {
      absl::PrintF("%-8s ok      %.3f s\n", step.step, absl::ToDoubleSeconds(step.took));
    } else {
      absl::PrintF("%-8s failed  %s\n", step.step, step.status.message());
    }
  }
  return Succeeded(round) ? 0 : 1;
}

void Log(const std::vector<StepResult>& round) {
  for (const StepResult& step : round) {
    if (!step.status.ok()) LOG_EVENT(kWarning, "probe_step_failed").Str("step", step.step).Err(step.status);
  }
  absl::Duration took;
  for (const StepResult& step : round) took += step.took;
  LOG_EVENT(kInfo, "probe_round").Str("result", Succeeded(round) ? "ok" : "failed").Seconds("took", took);
}

int RunForever(net::EventLoops& loops, const Plan& plan, const std::string& name) {
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigaddset(&stop, SIGINT);
  metrics::Registry registry;
  Metrics metrics(registry);
  registry.AddGauge("posthouse_build_info", "Always 1; the version is a label.", {{"version", kVersion}}).Set(1);
  http::PageSources sources;
  sources.service = "probe";
  sources.live = [&loops] {
    return loops.Alive(kStuckLoop) ? absl::OkStatus() : absl::UnavailableError("the event loop is stuck");
  };
  sources.ready = [] { return absl::OkStatus(); };  // what it finds is in its metrics
  sources.redacted_config = [] { return std::string("# the probe has flags only\n"); };
  sources.status = [] { return std::vector<std::pair<std::string, std::string>>{{"version", kVersion}}; };
  http::ServerOptions options;
  options.address = plan.http.host;
  options.port = static_cast<uint16_t>(std::stoi(plan.http.port));
  net::EventLoops http_loops(1);
  auto server = http::HttpServer::Start(http_loops, options, http::Pages(std::move(sources), registry));
  if (!server.ok()) {
    std::fprintf(stderr, "%s: cannot start: %s\n", name.c_str(), std::string(server.status().message()).c_str());
    return 1;
  }
  LOG_EVENT(kInfo, "started").Str("version", kVersion).Int("http_port", (*server)->port());
  while (true) {
    const absl::Time begin = absl::Now();
    const std::vector<StepResult> round = SyncWait(RunRound(loops.at(0), plan.options));
    metrics.Add(round, absl::Now());
    Log(round);
    const absl::Duration pause = std::max(plan.interval - (absl::Now() - begin), absl::Milliseconds(1));
    const timespec wait = absl::ToTimespec(pause);
    if (sigtimedwait(&stop, nullptr, &wait) > 0) break;
  }
  server->reset();
  http_loops.Stop();
  LOG_EVENT(kInfo, "stopped");
  return 0;
}

}  // namespace

int Main(int argc, char** argv) {
  const std::string name = argc > 0 ? argv[0] : "posthouse probe";
  const cli::Program program = MakeProgram(name);
  const cli::Parsed parsed = cli::Parse(program, {argv + std::min(argc, 1), argv + argc}, cli::ProcessEnvironment);
  if (parsed.outcome != cli::Parsed::Outcome::kRun) {
    const bool help = parsed.outcome == cli::Parsed::Outcome::kHelp;
    std::fputs(parsed.text.c_str(), help ? stdout : stderr);
    return help ? 0 : 2;
  }
  if (parsed.arguments.Has("version")) {
    std::printf("%s %s\n", name.c_str(), kVersion);
    return 0;
  }
  const absl::StatusOr<Plan> plan = ReadPlan(parsed.arguments);
  if (!plan.ok()) {
    std::fprintf(stderr, "%s: %s\n", name.c_str(), std::string(plan.status().message()).c_str());
    return 2;
  }
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigaddset(&stop, SIGINT);
  // Before any thread exists: RunForever() waits for these signals. A single round ends by them.
  if (!plan->once) pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  log::SetService("probe");
  net::EventLoops loops(1);
  const int code = plan->once ? RunOnce(loops, *plan) : RunForever(loops, *plan, name);
  loops.Stop();
  return code;
}

}  // namespace posthouse::probe
