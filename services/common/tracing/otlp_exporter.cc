#include "services/common/tracing/otlp_exporter.h"

#include <grpcpp/grpcpp.h>

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.grpc.pb.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/log/log.h"
#include "services/common/rpc/client.h"
#include "services/common/status/status.h"
#include "services/common/version/version.h"

namespace posthouse::tracing {
namespace {

namespace collector = opentelemetry::proto::collector::trace::v1;
namespace otlp = opentelemetry::proto::trace::v1;
using opentelemetry::proto::common::v1::KeyValue;

constexpr absl::Duration kCallTimeout = absl::Seconds(10);
constexpr absl::Duration kLastCallTimeout = absl::Seconds(2);
constexpr absl::Duration kLongestPause = absl::Seconds(30);

metrics::Counter& Spans(metrics::Registry& registry, const char* result) {
  return registry.AddCounter("posthouse_tracing_spans_total",
                             "Spans by what became of them; none while tracing is off.", {{"result", result}});
}

void Add(absl::string_view key, absl::string_view value, KeyValue* out) {
  out->set_key(std::string(key));
  out->mutable_value()->set_string_value(std::string(value));
}

uint64_t Nanos(absl::Time time) { return static_cast<uint64_t>(std::max<int64_t>(absl::ToUnixNanos(time), 0)); }

void ToProto(const Span& span, otlp::Span* out) {
  out->set_trace_id(absl::HexStringToBytes(span.trace.trace_id));
  out->set_span_id(absl::HexStringToBytes(span.trace.parent_id));
  if (!span.parent_id.empty()) out->set_parent_span_id(absl::HexStringToBytes(span.parent_id));
  out->set_name(span.name);
  out->set_kind(static_cast<otlp::Span::SpanKind>(span.kind));
  out->set_start_time_unix_nano(Nanos(span.start));
  out->set_end_time_unix_nano(Nanos(std::max(span.start, span.end)));
  for (const auto& [key, value] : span.attributes) Add(key, value, out->add_attributes());
  if (span.status.ok()) return;
  out->mutable_status()->set_code(otlp::Status::STATUS_CODE_ERROR);
  // The message of a status may name addresses; its code does not.
  out->mutable_status()->set_message(absl::StatusCodeToString(span.status.code()));
}

// OTLP, "Failures": these may pass.
bool MayPass(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDataLoss:
      return true;
    default:
      return false;
  }
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> DialCollector(const OtlpOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_CHANNELZ, 0);
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (!options.ca_file.empty()) {
    std::ifstream file(options.ca_file);
    std::ostringstream pem;
    if (!file || !(pem << file.rdbuf())) {
      return absl::FailedPreconditionError(absl::StrCat("tracing.ca_file: cannot read ", options.ca_file));
    }
    grpc::SslCredentialsOptions tls;
    tls.pem_root_certs = pem.str();
    credentials = grpc::SslCredentials(tls);
  }
  return grpc::CreateCustomChannel(options.endpoint, credentials, arguments);
}

std::string InstanceName() {
  if (const char* const pod = std::getenv("POD_NAME"); pod != nullptr && *pod != '\0') return pod;
  char host[256] = {};
  return gethostname(host, sizeof(host) - 1) == 0 ? host : "unknown";
}

}  // namespace

absl::StatusOr<OtlpOptions> OptionsOf(const config::v1::Tracing& tracing, const std::string& service) {
  OtlpOptions options;
  options.endpoint = tracing.endpoint();
  options.ca_file = tracing.ca_file();
  options.service = absl::StrCat("posthouse-", service);
  options.instance = InstanceName();
  if (tracing.has_sampling_ratio()) options.ratio = tracing.sampling_ratio();
  if (!(options.ratio >= 0 && options.ratio <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat("tracing.sampling_ratio: ", options.ratio, ": must be 0 to 1"));
  }
  if (options.endpoint.empty()) {
    if (tracing.has_sampling_ratio() || !tracing.ca_file().empty() || tracing.max_waiting_spans() != 0) {
      return absl::InvalidArgumentError("tracing.endpoint: required by the other keys of tracing");
    }
    return options;
  }
  const size_t colon = options.endpoint.rfind(':');
  int port = 0;
  if (colon == std::string::npos || colon == 0 || absl::StrContains(options.endpoint, "/") ||
      !absl::SimpleAtoi(options.endpoint.substr(colon + 1), &port) || port < 1 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("tracing.endpoint: \"", options.endpoint, "\": write HOST:PORT, as collector.observability:4317"));
  }
  if (tracing.max_waiting_spans() > 1000000) {
    return absl::InvalidArgumentError(
        absl::StrCat("tracing.max_waiting_spans: ", tracing.max_waiting_spans(), ": must be 1 to 1000000"));
  }
  if (tracing.max_waiting_spans() != 0) options.max_waiting = tracing.max_waiting_spans();
  return options;
}

ExportMetrics::ExportMetrics(metrics::Registry& registry)
    : sent(Spans(registry, "sent")),
      dropped(Spans(registry, "dropped")),
      failed(Spans(registry, "failed")),
      rejected(Spans(registry, "rejected")),
      waiting(registry.AddGauge("posthouse_tracing_waiting_spans", "Spans that wait to be sent.")) {}

struct OtlpExporter::Client {
  explicit Client(const std::shared_ptr<grpc::Channel>& channel) : stub(collector::TraceService::NewStub(channel)) {}
  const std::unique_ptr<collector::TraceService::Stub> stub;
};

OtlpExporter::OtlpExporter(OtlpOptions options, ExportMetrics& metrics, std::unique_ptr<Client> client)
    : options_(std::move(options)), metrics_(metrics), client_(std::move(client)) {}

OtlpExporter::~OtlpExporter() = default;

absl::StatusOr<std::shared_ptr<OtlpExporter>> OtlpExporter::Start(OtlpOptions options, Executor& executor,
                                                                  ExportMetrics& metrics) {
  PH_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, DialCollector(options));
  const double ratio = options.ratio;
  std::shared_ptr<OtlpExporter> exporter(
      new OtlpExporter(std::move(options), metrics, std::make_unique<Client>(channel)));
  Spawn(executor, Run(exporter));
  SetSink(exporter, ratio);
  return exporter;
}

void OtlpExporter::Take(Span span) {
  size_t waiting = 0;
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_ || waiting_.size() >= options_.max_waiting) {
      metrics_.dropped.Add();
      return;
    }
    waiting_.push_back(std::move(span));
    waiting = waiting_.size();
  }
  metrics_.waiting.Set(static_cast<double>(waiting));
  if (waiting == options_.batch) work_.Signal();
}

void OtlpExporter::Stop(absl::Duration grace) {
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_) return;
  }
  SetSink(nullptr, 0);
  const auto ended = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return ended_; };
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  work_.Signal();
  end_.Signal();
  absl::MutexLock lock(&mutex_);
  if (!mutex_.AwaitWithTimeout(absl::Condition(&ended), grace)) {
    metrics_.dropped.Add(static_cast<double>(waiting_.size()));
    waiting_.clear();
  }
}

std::vector<Span> OtlpExporter::NextBatch() {
  std::vector<Span> batch;
  absl::MutexLock lock(&mutex_);
  const size_t count = std::min(waiting_.size(), options_.batch);
  batch.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    batch.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
  metrics_.waiting.Set(static_cast<double>(waiting_.size()));
  return batch;
}

// Ends when it is told to and nothing waits.
Task<void> OtlpExporter::Run(std::shared_ptr<OtlpExporter> self) {
  while (true) {
    std::vector<Span> batch = self->NextBatch();
    if (!batch.empty()) {
      co_await self->Send(std::move(batch));
      continue;
    }
    if (self->stopping()) break;
    co_await self->work_.WaitFor(self->options_.interval);
  }
  absl::MutexLock lock(&self->mutex_);
  self->ended_ = true;
}

Task<void> OtlpExporter::Send(std::vector<Span> batch) {
  collector::ExportTraceServiceRequest request;
  otlp::ResourceSpans* const spans = request.add_resource_spans();
  auto* const attributes = spans->mutable_resource()->mutable_attributes();
  Add("service.name", options_.service, attributes->Add());
  Add("service.version", kVersion, attributes->Add());
  Add("service.instance.id", options_.instance, attributes->Add());
  spans->add_scope_spans()->mutable_scope()->set_name("posthouse");
  for (const Span& span : batch) ToProto(span, spans->mutable_scope_spans(0)->add_spans());
  const auto count = static_cast<double>(batch.size());
  const auto start = [this](auto* context, auto* req, auto* resp, auto done) {
    client_->stub->async()->Export(context, req, resp, std::move(done));
  };
  absl::Duration pause = options_.first_pause;
  for (int tries = 1;; ++tries) {
    rpc::CallOptions call;
    call.deadline = stopping() ? kLastCallTimeout : kCallTimeout;
    const absl::StatusOr<collector::ExportTraceServiceResponse> response =
        co_await rpc::Call<collector::ExportTraceServiceResponse>(call, request, start);
    if (response.ok()) {
      const auto rejected = static_cast<double>(std::max<int64_t>(response->partial_success().rejected_spans(), 0));
      metrics_.rejected.Add(std::min(rejected, count));
      metrics_.sent.Add(std::max(count - rejected, 0.0));
      co_return;
    }
    if (!MayPass(response.status()) || tries >= options_.tries || stopping()) {
      metrics_.failed.Add(count);
      static auto& limit = *new log::RateLimit(1, absl::Minutes(1));
      int64_t dropped = 0;
      if (limit.Allow(&dropped)) {
        LOG_EVENT(kWarning, "spans_not_exported")
            .Str("endpoint", options_.endpoint)
            .Int("spans", static_cast<int64_t>(batch.size()))
            .Int("not_logged", dropped)
            .Err(response.status());
      }
      co_return;
    }
    co_await end_.WaitFor(pause);
    pause = std::min(pause * 2, kLongestPause);
  }
}

}  // namespace posthouse::tracing
