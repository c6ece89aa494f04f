#include "services/common/runtime/runtime.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/cli/cli.h"
#include "services/common/config/config.h"
#include "services/common/file_stamp/file_stamp.h"
#include "services/common/http/http_server.h"
#include "services/common/http/status_page.h"
#include "services/common/log/log.h"
#include "services/common/private_dir/private_dir.h"
#include "services/common/rpc/listen.h"
#include "services/common/runtime/config_reload.h"
#include "services/common/runtime/descriptors.h"
#include "services/common/runtime/file_checks.h"
#include "services/common/runtime/process_metrics.h"
#include "services/common/runtime/process_runtime.h"
#include "services/common/status/status.h"
#include "services/common/time/calm_clock.h"
#include "services/common/time/proto_time.h"
#include "services/common/tracing/otlp_exporter.h"
#include "services/common/version/version.h"

namespace posthouse::runtime {
namespace {

int DefaultThreads() { return static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 16u)); }

struct Flags {
  std::string config;
  bool check = false;
  bool accept_data_loss = false;
};

// The parts of a process, beyond its flags.
struct Process {
  std::string service;
  std::string program;  // as it was called: "posthouse-queue", "posthouse queue"
  MakeApp make;
  CheckConfig check;  // may be null
};

// For the spans that wait when the process ends.
constexpr absl::Duration kLastSpans = absl::Seconds(2);

constexpr char kAcceptDataLoss[] = "accept-data-loss";

bool HasStore(absl::string_view service) {
  return service == "standalone" || service == "directory" || service == "queue" || service == "mailbox";
}

// The name that this process was called by, without its folder.
std::string ProgramName(int argc, char** argv, const std::string& service) {
  const absl::string_view called = argc > 0 ? argv[0] : "";
  const absl::string_view base = called.substr(called.rfind('/') + 1);  // npos + 1 is 0
  return base.empty() ? "posthouse-" + service : std::string(base);
}

cli::Program FlagsOf(const std::string& service, const std::string& name) {
  std::vector<cli::Flag> flags = {
      cli::File("config", "YAML configuration; without it every key has its default"),
      cli::Switch("check-config", "check the configuration, print \"ok\" or what is wrong, and exit"),
      cli::Switch("version", "print the version and exit")};
  if (HasStore(service)) {
    flags.insert(
        flags.end() - 1,
        cli::Switch(kAcceptDataLoss, "open a damaged store without the acknowledged changes that it has lost"));
  }
  return {.name = name,
          .help = absl::StrCat(name, " runs ",
                               service == "standalone" ? "all services of Posthouse in one process."
                                                       : absl::StrCat("the ", service, " service of Posthouse.")),
          .flags = std::move(flags),
          .footer = absl::StrCat(
              "docs/configuration.md explains every key of the configuration.\n\n"
              "signals: SIGTERM and SIGINT finish what runs and stop, a second one stops at once; SIGHUP loads the\n"
              "configuration again.\n\n"
              "exit codes: 0 stopped as told, 1 failed, 2 wrong flags or configuration\n\n"
              "examples:\n"
              "  ",
              name, " --config /etc/posthouse/", service,
              ".yaml --check-config\n"
              "  ",
              name, " --config /etc/posthouse/", service, ".yaml\n")};
}

// Returns the exit code, or -1 to go on.
int ParseFlags(int argc, char** argv, const Process& process, Flags* flags) {
  const std::string& service = process.service;
  const cli::Program program = FlagsOf(service, process.program);
  const cli::Parsed parsed = cli::Parse(program, {argv + 1, argv + argc}, cli::ProcessEnvironment);
  switch (parsed.outcome) {
    case cli::Parsed::Outcome::kHelp:
      std::fputs(parsed.text.c_str(), stdout);
      return 0;
    case cli::Parsed::Outcome::kMistake:
      std::fputs(parsed.text.c_str(), stderr);
      return 2;
    case cli::Parsed::Outcome::kRun:
      break;
  }
  if (parsed.arguments.Has("version")) {
    std::printf("%s %s\n", process.program.c_str(), kVersion);
    return 0;
  }
  flags->config = parsed.arguments.GetOr("config", "");
  flags->check = parsed.arguments.Has("check-config");
  flags->accept_data_loss = HasStore(service) && parsed.arguments.Has(kAcceptDataLoss);
  return -1;
}

// Null: the configuration names no collector.
absl::StatusOr<std::shared_ptr<tracing::OtlpExporter>> StartTracing(Runtime& runtime, const std::string& service,
                                                                    tracing::ExportMetrics& metrics) {
  PH_ASSIGN_OR_RETURN(tracing::OtlpOptions options, tracing::OptionsOf(runtime.config().tracing(), service));
  if (options.endpoint.empty()) return nullptr;
  return tracing::OtlpExporter::Start(std::move(options), runtime.loops().Next(), metrics);
}

absl::StatusOr<config::v1::Config> LoadConfig(const std::string& path, const Process& process) {
  config::v1::Config config;
  if (!path.empty()) {
    PH_ASSIGN_OR_RETURN(config, config::LoadFile(path));
  }
  absl::Status status = config::Validate(config, process.service);
  if (status.ok()) status = tracing::OptionsOf(config.tracing(), process.service).status();
  if (status.ok() && process.check != nullptr) status = process.check(config);
  if (!status.ok()) return path.empty() ? status : config::Locate(status, path);
  return config;
}

void ApplyLogLevel(const config::v1::Config& config) {
  log::Level level = log::Level::kInfo;
  if (!config.log_level().empty()) log::ParseLevel(config.log_level(), &level);
  log::SetLevel(level);
}

uint16_t HttpPort(const config::v1::Config& config, const std::string& service) {
  if (config.http().has_port()) return static_cast<uint16_t>(config.http().port());
  if (service == "routing") return 9401;
  if (service == "queue") return 9402;
  if (service == "mailbox") return 9403;
  if (service == "gateway") return 9404;
  if (service == "directory") return 9405;
  return 9400;
}

absl::StatusOr<std::unique_ptr<http::HttpServer>> StartHttp(Runtime& runtime, App& app, const std::string& service,
                                                            const ConfigReload& config, absl::Time started) {
  http::PageSources sources;
  sources.service = service;
  sources.live = [&runtime] {
    return runtime.loops().Alive(kStuckLoop) ? absl::OkStatus() : absl::UnavailableError("an event loop is stuck");
  };
  sources.ready = [&app] { return app.Ready(); };
  sources.redacted_config = [&config] { return config.Shown(); };
  sources.status = [&app, started] {
    std::vector<std::pair<std::string, std::string>> rows = app.Status();
    rows.insert(rows.begin(), {"up for", absl::FormatDuration(absl::Trunc(absl::Now() - started, absl::Seconds(1)))});
    rows.insert(rows.begin(), {"version", kVersion});
    return rows;
  };
  http::ServerOptions options;
  if (!runtime.config().http().address().empty()) options.address = runtime.config().http().address();
  options.port = HttpPort(runtime.config(), service);
  auto server = http::HttpServer::Start(runtime.loops(), options, http::Pages(std::move(sources), runtime.registry()));
  if (!server.ok()) return Annotate(server.status(), "http");
  return server;
}

sigset_t HandledSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, number);
  return set;
}

// posthouse_draining, and how long the process has been ending.
class DrainMetrics {
 public:
  explicit DrainMetrics(metrics::Registry& registry)
      : draining_(registry.AddGauge("posthouse_draining", "1 from the signal to stop to the end, else 0.")),
        seconds_(registry.AddGauge("posthouse_drain_seconds", "Time since the signal to stop; 0 before it.")),
        collect_(registry.OnCollect([this] { seconds_.Set(absl::ToDoubleSeconds(Elapsed())); })) {}
  void Begin() {
    began_nanos_ = absl::ToInt64Nanoseconds(MonotonicNow() - absl::UnixEpoch());
    draining_.Set(1);
  }
  absl::Duration Elapsed() const {
    const int64_t began = began_nanos_;
    return began == 0 ? absl::ZeroDuration() : MonotonicNow() - (absl::UnixEpoch() + absl::Nanoseconds(began));
  }

 private:
  std::atomic<int64_t> began_nanos_{0};
  metrics::Gauge& draining_;
  metrics::Gauge& seconds_;
  const metrics::CollectHandle collect_;
};

// Handles signals, and calls `tick` once a second; returns when the process must drain.
void ServeUntilSignalled(const sigset_t& signals, const std::function<void()>& reload,
                         const std::function<void()>& tick) {
  constexpr timespec kSecond{1, 0};
  while (true) {
    tick();
    const int number = sigtimedwait(&signals, nullptr, &kSecond);
    if (number < 0) continue;  // the second has passed
    if (number != SIGHUP) {
      LOG_EVENT(kInfo, "draining").Str("signal", number == SIGTERM ? "SIGTERM" : "SIGINT");
      return;
    }
    reload();
  }
}

// A second SIGTERM or SIGINT while draining ends the process at once: everything that
// was acknowledged is on disk.
void StopAtSecondSignal(const sigset_t& signals) {
  std::thread([signals] {
    int number = 0;
    while (true) {
      if (sigwait(&signals, &number) != 0) continue;
      if (number != SIGHUP) _exit(1);
      LOG_EVENT(kInfo, "reload_ignored").Str("why", "draining");
    }
  }).detach();
}

// Only the owner may read below data_dir: mail, passwords' hashes and keys are there.
absl::StatusOr<std::unique_ptr<App>> StartApp(Runtime& runtime, const Process& process) {
  const std::string& data_dir = runtime.config().data_dir();
  if (HasStore(process.service) && !data_dir.empty()) {
    PH_RETURN_IF_ERROR(OpenPrivateParent(data_dir, {"directory", "mailbox", "queue", "tls", "lost+found"}));
  }
  return process.make(runtime);
}

// `stamp`: of the file of the configuration, before it was loaded.
int Run(Runtime& runtime, const Flags& flags, const std::string& stamp, const Process& process,
        const sigset_t& signals) {
  const std::string& service = process.service;
  const absl::Time started = absl::Now();
  const metrics::CollectHandle collect = AddProcessMetrics(runtime.registry(), started);
  DrainMetrics drain(runtime.registry());
  tracing::ExportMetrics export_metrics(runtime.registry());
  const auto cannot_start = [&process](const absl::Status& why) {
    LOG_EVENT(kError, "start_failed").Err(why);
    std::fprintf(stderr, "%s: cannot start: %s\n", process.program.c_str(), std::string(why.message()).c_str());
    return 1;
  };
  const absl::StatusOr<std::shared_ptr<tracing::OtlpExporter>> exporter =
      StartTracing(runtime, service, export_metrics);
  if (!exporter.ok()) return cannot_start(exporter.status());
  const absl::Cleanup stop_tracing = [&exporter] {
    if (*exporter != nullptr) (*exporter)->Stop(kLastSpans);
  };
  absl::StatusOr<std::unique_ptr<App>> app = StartApp(runtime, process);
  if (!app.ok()) return cannot_start(app.status());
  ConfigReload config(flags.config, stamp, runtime.config(),
                      {.load = [&] { return LoadConfig(flags.config, process); },
                       .apply =
                           [&app](const config::v1::Config& fresh) {
                             PH_RETURN_IF_ERROR((*app)->Reload(fresh));
                             ApplyLogLevel(fresh);
                             return absl::OkStatus();
                           }},
                      runtime.registry());
  auto http = StartHttp(runtime, **app, service, config, started);
  if (!http.ok()) {
    (*app)->Drain(absl::ZeroDuration());
    return cannot_start(http.status());
  }
  LOG_EVENT(kInfo, "started").Str("version", kVersion).Int("http_port", (*http)->port());
  ServeUntilSignalled(
      signals, [&] { config.Reload(); },
      [&] {
        (*app)->PublishReadiness();
        config.Look();
      });
  StopAtSecondSignal(signals);
  drain.Begin();
  (*app)->AnnounceDrain();
  (*app)->PublishReadiness();
  // The listeners stay open while load balancers learn that the process is not ready.
  absl::SleepFor(FromProto(config.current().drain_delay()));
  (*app)->Drain(DurationOr(config.current().has_drain_timeout(), config.current().drain_timeout(), absl::Seconds(30)));
  http->reset();
  app->reset();
  LOG_EVENT(kInfo, "stopped").Seconds("drain", drain.Elapsed());
  return 0;
}

}  // namespace

int Main(int argc, char** argv, const std::string& service, const MakeApp& make, CheckConfig check) {
  // A SIGHUP that comes before the process can reload waits until it can; by default it would end the process.
  sigset_t reload;
  sigemptyset(&reload);
  sigaddset(&reload, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &reload, nullptr);
  const Process process{service, ProgramName(argc, argv, service), make, std::move(check)};
  Flags flags;
  const int exit_code = ParseFlags(argc, argv, process, &flags);
  if (exit_code >= 0) return exit_code;
  const std::string stamp = FileStamp(flags.config);
  const absl::StatusOr<config::v1::Config> config = LoadConfig(flags.config, process);
  if (!config.ok()) {
    std::fprintf(stderr, "%s\n", std::string(config.status().message()).c_str());
    return 2;
  }
  const std::string warning = rpc::ListenWarning(*config, service);
  if (flags.check) {
    if (!warning.empty()) std::fprintf(stderr, "warning: %s\n", warning.c_str());
    for (const std::string& file : FileWarnings(*config, service)) std::fprintf(stderr, "warning: %s\n", file.c_str());
    std::printf("ok\n");
    return 0;
  }
  // Before any thread exists: all threads inherit the mask, so only sigwait gets these signals.
  const sigset_t signals = HandledSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  umask(S_IRWXG | S_IRWXO);  // no file of this process is for others
  const uint64_t descriptors = RaiseDescriptorLimit();
  // Debian builds Abseil with its lock order checker on, which costs 2 % of the CPU. TSan checks lock order in tests.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  log::SetService(service);
  ApplyLogLevel(*config);
  if (!warning.empty()) LOG_EVENT(kWarning, "config_warning").Str("warning", warning);
  WarnOfFewDescriptors(*config, service, descriptors);
  ProcessRuntime runtime(*config, config->io_threads() != 0 ? static_cast<int>(config->io_threads()) : DefaultThreads(),
                         flags.accept_data_loss);
  if (descriptors != 0) runtime.loops().connections()->SetMost(MailConnections(descriptors));
  return Run(runtime, flags, stamp, process, signals);
}

rpc::ServerOptions RpcOptions(const config::v1::Config& config, const std::string& service) {
  static const std::pair<const char*, int> kPorts[] = {
      {"routing", 7401}, {"queue", 7402}, {"mailbox", 7403}, {"gateway", 7404}, {"directory", 7405}};
  int port = 7400;  // ingress and standalone
  for (const auto& [name, known] : kPorts) {
    if (service == name) port = known;
  }
  return rpc::ListenOptions(config, service, port);
}

}  // namespace posthouse::runtime
