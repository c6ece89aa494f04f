#include "services/common/tracing/otlp_exporter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/async/thread_pool.h"
#include "services/common/tracing/testing/fake_collector.h"

namespace posthouse::tracing {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(60);
constexpr int kUnavailable = 14, kInvalidArgument = 3;  // of gRPC

class OtlpExporterTest : public testing::Test {
 protected:
  ~OtlpExporterTest() override { Stop(); }

  void Start(OtlpOptions options = {}) {
    options.endpoint = collector_.endpoint();
    options.service = "posthouse-test";
    options.instance = "pod-0";
    options.interval = absl::Milliseconds(1);
    options.first_pause = absl::Milliseconds(1);
    auto exporter = OtlpExporter::Start(options, pool_, metrics_);
    ASSERT_TRUE(exporter.ok()) << exporter.status();
    exporter_ = *exporter;
  }
  void Stop() {
    if (exporter_ != nullptr) exporter_->Stop(kPatience);
    exporter_ = nullptr;
  }
  static Span Made(const std::string& name) {
    Span span;
    span.trace = rpc::TraceContext::New();
    span.name = name;
    span.start = absl::FromUnixNanos(1'700'000'000'000'000'001);
    span.end = span.start + absl::Milliseconds(5);
    return span;
  }

  FakeCollector collector_;
  metrics::Registry registry_;
  ExportMetrics metrics_{registry_};
  ThreadPool pool_{1};
  std::shared_ptr<OtlpExporter> exporter_;
};

TEST_F(OtlpExporterTest, ASpanArrivesAsItWasMade) {
  Start();
  Span span = Made("queue.attempt");
  span.parent_id = "00f067aa0ba902b7";
  span.kind = SpanKind::kClient;
  span.status = absl::UnavailableError("user@example.org is away");
  span.attributes = {{"posthouse.queue_id", "q1"}};
  const std::string trace_id = absl::HexStringToBytes(span.trace.trace_id);
  const std::string span_id = absl::HexStringToBytes(span.trace.parent_id);
  ASSERT_TRUE(Wanted(span.trace));
  Emit(std::move(span));
  ASSERT_TRUE(collector_.WaitFor([](const auto& spans) { return spans.size() == 1; }, kPatience));
  Stop();
  const auto got = collector_.spans()[0];
  EXPECT_EQ(got.trace_id(), trace_id);
  EXPECT_EQ(got.trace_id().size(), 16u);
  EXPECT_EQ(got.span_id(), span_id);
  EXPECT_EQ(got.parent_span_id(), absl::HexStringToBytes("00f067aa0ba902b7"));
  EXPECT_EQ(got.name(), "queue.attempt");
  EXPECT_EQ(got.kind(), opentelemetry::proto::trace::v1::Span::SPAN_KIND_CLIENT);
  EXPECT_EQ(got.start_time_unix_nano(), 1'700'000'000'000'000'001u);
  EXPECT_EQ(got.end_time_unix_nano(), 1'700'000'000'005'000'001u);
  ASSERT_EQ(got.attributes_size(), 1);
  EXPECT_EQ(got.attributes(0).key(), "posthouse.queue_id");
  EXPECT_EQ(got.attributes(0).value().string_value(), "q1");
  EXPECT_EQ(got.status().code(), opentelemetry::proto::trace::v1::Status::STATUS_CODE_ERROR);
  // The message of a status may name addresses.
  EXPECT_EQ(got.status().message(), "UNAVAILABLE");
  EXPECT_THAT(collector_.resource(),
              testing::IsSupersetOf({"service.name=posthouse-test", "service.instance.id=pod-0"}));
  EXPECT_EQ(metrics_.sent.Value(), 1);
}

TEST_F(OtlpExporterTest, WithoutASinkNoTraceIsWanted) {
  EXPECT_FALSE(Wanted(rpc::TraceContext::New()));
  Start();
  EXPECT_TRUE(Wanted(rpc::TraceContext::New()));
  Stop();
  EXPECT_FALSE(Wanted(rpc::TraceContext::New()));
  Emit(Made("late"));  // to nobody
  EXPECT_TRUE(collector_.spans().empty());
}

TEST_F(OtlpExporterTest, TheTraceIdDecidesWhichTracesHaveSpans) {
  OtlpOptions options;
  options.ratio = 0.25;
  Start(options);
  rpc::TraceContext trace = rpc::TraceContext::New();
  trace.trace_id = "0000000000000000ff3fffffffffffff";
  EXPECT_TRUE(Wanted(trace));
  trace.trace_id = "00000000000000000040000000000000";
  EXPECT_FALSE(Wanted(trace));
  trace.trace_id = "0000000000000000003fffffffffffff";
  EXPECT_TRUE(Wanted(trace));
  trace.sampled = false;
  EXPECT_FALSE(Wanted(trace));
  EXPECT_FALSE(Wanted(rpc::TraceContext()));
}

TEST_F(OtlpExporterTest, ABatchThatTheCollectorCannotTakeNowIsRepeated) {
  collector_.FailNext(kUnavailable);
  Start();
  Emit(Made("a"));
  ASSERT_TRUE(collector_.WaitFor([](const auto& spans) { return spans.size() == 1; }, kPatience));
  Stop();
  EXPECT_EQ(metrics_.sent.Value(), 1);
  EXPECT_EQ(metrics_.failed.Value(), 0);
}

TEST_F(OtlpExporterTest, WhatTheCollectorRefusesIsCountedAndNotRepeated) {
  collector_.FailNext(kInvalidArgument);
  Start();
  Emit(Made("a"));
  Stop();
  EXPECT_EQ(metrics_.failed.Value(), 1);
  EXPECT_TRUE(collector_.spans().empty());
  collector_.RejectNext(1);
  Start();
  Emit(Made("b"));
  Stop();
  EXPECT_EQ(metrics_.rejected.Value(), 1);
  EXPECT_EQ(metrics_.sent.Value(), 0);
}

// The only thread of the executor is taken: nothing can be sent, and nothing waits for that.
TEST_F(OtlpExporterTest, SpansWithoutRoomAreDroppedAndCounted) {
  absl::Mutex mutex;
  bool release = false;
  pool_.Post([&] {
    absl::MutexLock lock(&mutex);
    mutex.Await(absl::Condition(&release));
  });
  OtlpOptions options;
  options.max_waiting = 10;
  Start(options);
  for (int i = 0; i < 25; ++i) Emit(Made(absl::StrCat("span", i)));
  EXPECT_EQ(metrics_.dropped.Value(), 15);
  EXPECT_EQ(metrics_.waiting.Value(), 10);
  {
    absl::MutexLock lock(&mutex);
    release = true;
  }
  ASSERT_TRUE(collector_.WaitFor([](const auto& spans) { return spans.size() == 10; }, kPatience));
  EXPECT_EQ(collector_.spans()[9].name(), "span9");
}

TEST_F(OtlpExporterTest, TheEndSendsWhatWaitsInBatches) {
  OtlpOptions options;
  options.batch = 7;
  Start(options);
  for (int i = 0; i < 100; ++i) Emit(Made("a"));
  Stop();
  EXPECT_EQ(collector_.spans().size(), 100u);
  EXPECT_EQ(metrics_.sent.Value(), 100);
}

TEST(OtlpOptionsTest, TheConfigurationIsChecked) {
  config::v1::Tracing tracing;
  EXPECT_TRUE(OptionsOf(tracing, "queue")->endpoint.empty());
  tracing.set_sampling_ratio(0.5);
  EXPECT_EQ(OptionsOf(tracing, "queue").status().message(), "tracing.endpoint: required by the other keys of tracing");
  tracing.set_endpoint("collector.observability:4317");
  EXPECT_EQ(OptionsOf(tracing, "queue")->ratio, 0.5);
  EXPECT_EQ(OptionsOf(tracing, "queue")->service, "posthouse-queue");
  EXPECT_EQ(OptionsOf(tracing, "queue")->max_waiting, 8192u);
  tracing.set_max_waiting_spans(100);
  EXPECT_EQ(OptionsOf(tracing, "queue")->max_waiting, 100u);
  tracing.set_sampling_ratio(1.5);
  EXPECT_EQ(OptionsOf(tracing, "queue").status().message(), "tracing.sampling_ratio: 1.5: must be 0 to 1");
  tracing.clear_sampling_ratio();
  for (const char* bad :
       {"collector", "collector:", ":4317", "http://collector:4317", "collector:0", "collector:65536"}) {
    tracing.set_endpoint(bad);
    EXPECT_EQ(OptionsOf(tracing, "queue").status().message(),
              absl::StrCat("tracing.endpoint: \"", bad, "\": write HOST:PORT, as collector.observability:4317"));
  }
}

}  // namespace
}  // namespace posthouse::tracing
