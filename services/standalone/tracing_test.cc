// One message through the whole system: its spans are one trace, with the right parents.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "posthouse/config/v1/config.pb.h"
#include "posthouse/directory/v1/directory.grpc.pb.h"
#include "services/common/async/task.h"
#include "services/common/net/connection.h"
#include "services/common/net/event_loop.h"
#include "services/common/rpc/client.h"
#include "services/common/runtime/testing/test_runtime.h"
#include "services/common/tracing/otlp_exporter.h"
#include "services/common/tracing/testing/fake_collector.h"
#include "services/ingress/app.h"
#include "services/standalone/app.h"

namespace posthouse::standalone {
namespace {

constexpr absl::Duration kLong = absl::Seconds(60);
using Spans = tracing::FakeCollector::Spans;
using OtlpSpan = Spans::value_type;

const OtlpSpan* Find(const Spans& spans, const std::string& name,
                     OtlpSpan::SpanKind kind = OtlpSpan::SPAN_KIND_INTERNAL) {
  const auto it =
      std::find_if(spans.begin(), spans.end(), [&](const OtlpSpan& s) { return s.name() == name && s.kind() == kind; });
  return it == spans.end() ? nullptr : &*it;
}

std::string AttributeOf(const OtlpSpan& span, const std::string& key) {
  for (const auto& attribute : span.attributes()) {
    if (attribute.key() == key) return attribute.value().string_value();
  }
  return "";
}

class TracingTest : public testing::Test {
 protected:
  TracingTest() {
    config_.set_hostname("mail.example");
    config_.set_data_dir(testing::TempDir() + "/" + testing::UnitTest::GetInstance()->current_test_info()->name());
    config_.mutable_rpc()->set_port(0);
    config_.mutable_directory()->set_argon2_memory_kib(64);
    config_.mutable_directory()->set_argon2_passes(1);
    config_.mutable_store()->set_min_free_bytes(1);
    auto& ingress = *config_.mutable_ingress();
    for (auto* endpoint : {ingress.mutable_smtp(), ingress.mutable_submission(), ingress.mutable_submissions()}) {
      endpoint->set_port(0);
    }
    auto& gateway = *config_.mutable_gateway();
    for (auto* endpoint :
         {gateway.mutable_imap(), gateway.mutable_imaps(), gateway.mutable_pop3(), gateway.mutable_pop3s()}) {
      endpoint->set_port(0);
    }
  }
  ~TracingTest() override {
    if (exporter_ != nullptr) exporter_->Stop(kLong);
    app_.reset();
    exporter_.reset();
    runtime_.reset();
    client_loops_.Stop();
  }

  void Start() {
    runtime_ = runtime::NewTestRuntime(config_);
    metrics_ = std::make_unique<tracing::ExportMetrics>(runtime_->registry());
    tracing::OtlpOptions options;
    options.endpoint = collector_.endpoint();
    options.service = "posthouse-standalone";
    options.interval = absl::Milliseconds(10);
    auto exporter = tracing::OtlpExporter::Start(options, runtime_->loops().Next(), *metrics_);
    ASSERT_TRUE(exporter.ok()) << exporter.status();
    exporter_ = *exporter;
    auto app = App::Create(*runtime_);
    ASSERT_TRUE(app.ok()) << app.status();
    app_ = *std::move(app);
    const auto admin = directory::v1::DirectoryAdminService::NewStub(app_->rpc().InProcessChannel());
    grpc::ClientContext domain_context, account_context;
    rpc::Prepare(domain_context, {kLong, {}});
    directory::v1::CreateDomainRequest domain;
    directory::v1::CreateDomainResponse made_domain;
    domain.mutable_domain()->set_domain("example.org");
    ASSERT_TRUE(admin->CreateDomain(&domain_context, domain, &made_domain).ok());
    rpc::Prepare(account_context, {kLong, {}});
    directory::v1::CreateAccountRequest account;
    directory::v1::CreateAccountResponse made_account;
    account.mutable_account()->set_address("user@example.org");
    account.set_password("secret");
    ASSERT_TRUE(admin->CreateAccount(&account_context, account, &made_account).ok());
  }

  // Says each line and expects a reply that begins as its partner says.
  void Converse(const std::vector<std::pair<std::string, std::string>>& lines) {
    const uint16_t port = app_->ingress().smtp_port();
    SyncWait(
        [](net::EventLoop& loop, uint16_t to, std::vector<std::pair<std::string, std::string>> said) -> Task<void> {
          co_await SwitchTo(loop);
          auto c = *co_await net::Connect(loop, {"127.0.0.1", to}, "", kLong);
          for (const auto& [line, reply] : said) {
            if (!line.empty()) EXPECT_TRUE((co_await c->Write(line + "\r\n", kLong)).ok());
            const absl::StatusOr<std::string> got = co_await c->ReadLine(1000, kLong);
            EXPECT_THAT(got.value_or("none"), testing::StartsWith(reply)) << line;
          }
        }(client_loops_.at(0), port, lines));
  }

  config::v1::Config config_;
  tracing::FakeCollector collector_;
  std::unique_ptr<runtime::Runtime> runtime_;
  std::unique_ptr<tracing::ExportMetrics> metrics_;
  std::shared_ptr<tracing::OtlpExporter> exporter_;
  std::unique_ptr<App> app_;
  net::EventLoops client_loops_{1};
};

TEST_F(TracingTest, OneMessageIsOneTraceFromIngressToMailbox) {
  Start();
  Converse({{"", "220"},
            {"HELO client.example", "250"},
            {"MAIL FROM:<sender@example.net>", "250"},
            {"RCPT TO:<user@example.org>", "250"},
            {"DATA", "354"},
            {"Subject: a trace\r\n\r\nbody\r\n.", "250"},
            {"QUIT", "221"}});
  ASSERT_TRUE(collector_.WaitFor(
      [](const Spans& spans) {
        return Find(spans, "mailbox.delivery") != nullptr && Find(spans, "queue.attempt") != nullptr &&
               Find(spans, "smtp.transaction", OtlpSpan::SPAN_KIND_SERVER) != nullptr;
      },
      kLong));
  exporter_->Stop(kLong);
  const Spans spans = collector_.spans();
  const auto client = OtlpSpan::SPAN_KIND_CLIENT, server = OtlpSpan::SPAN_KIND_SERVER;
  const OtlpSpan* const transaction = Find(spans, "smtp.transaction", server);
  const OtlpSpan* const attempt = Find(spans, "queue.attempt");
  const OtlpSpan* const delivery = Find(spans, "mailbox.delivery");
  EXPECT_EQ(transaction->parent_span_id(), "");
  EXPECT_EQ(attempt->parent_span_id(), transaction->span_id());
  struct Call {
    const char* method;
    const OtlpSpan* parent;
  };
  for (const Call& call : {Call{"posthouse.routing.v1.RoutingService/ResolveRecipient", transaction},
                           Call{"posthouse.queue.v1.QueueService/Enqueue", transaction},
                           Call{"posthouse.mailbox.v1.MailboxService/Deliver", attempt}}) {
    const OtlpSpan* const made = Find(spans, call.method, client);
    const OtlpSpan* const served = Find(spans, call.method, server);
    ASSERT_NE(made, nullptr) << call.method;
    ASSERT_NE(served, nullptr) << call.method;
    EXPECT_EQ(made->parent_span_id(), call.parent->span_id()) << call.method;
    EXPECT_EQ(served->parent_span_id(), made->span_id()) << call.method;
    EXPECT_EQ(made->trace_id(), transaction->trace_id()) << call.method;
    EXPECT_EQ(served->trace_id(), transaction->trace_id()) << call.method;
    EXPECT_GE(served->start_time_unix_nano() + 1'000'000, made->start_time_unix_nano()) << call.method;
  }
  // Routing asked the directory, as a part of what ingress asked.
  const OtlpSpan* const lookup = Find(spans, "posthouse.directory.v1.DirectoryService/LookupAddress", client);
  ASSERT_NE(lookup, nullptr);
  EXPECT_EQ(lookup->parent_span_id(),
            Find(spans, "posthouse.routing.v1.RoutingService/ResolveRecipient", server)->span_id());
  EXPECT_EQ(delivery->parent_span_id(), Find(spans, "posthouse.mailbox.v1.MailboxService/Deliver", server)->span_id());
  EXPECT_EQ(delivery->trace_id(), transaction->trace_id());
  EXPECT_EQ(attempt->trace_id(), transaction->trace_id());
  const std::string queue_id = AttributeOf(*transaction, "posthouse.queue_id");
  EXPECT_FALSE(queue_id.empty());
  EXPECT_EQ(AttributeOf(*attempt, "posthouse.queue_id"), queue_id);
  EXPECT_EQ(AttributeOf(*delivery, "posthouse.queue_id"), queue_id);
  EXPECT_EQ(AttributeOf(*delivery, "posthouse.outcome"), "delivered");  // as the log has it
  // No span names an address, and the exemplar of the SLO leads to this trace. (An "@" alone may be a byte of an id.)
  for (const OtlpSpan& span : spans) {
    EXPECT_FALSE(absl::StrContains(span.SerializeAsString(), "@example.")) << span.DebugString();
  }
  EXPECT_THAT(runtime_->registry().Serialize(metrics::Format::kOpenMetrics),
              testing::ContainsRegex("posthouse_mailbox_accepted_to_visible_seconds_bucket.* # .trace_id=\"" +
                                     absl::BytesToHexString(transaction->trace_id()) + "\""));
}

TEST_F(TracingTest, ATransactionThatIsNotFinishedIsASpanThatFailed) {
  Start();
  Converse({{"", "220"},
            {"HELO client.example", "250"},
            {"MAIL FROM:<sender@example.net>", "250"},
            {"RCPT TO:<nobody@example.org>", "550"},
            {"QUIT", "221"}});
  ASSERT_TRUE(collector_.WaitFor(
      [](const Spans& spans) { return Find(spans, "smtp.transaction", OtlpSpan::SPAN_KIND_SERVER) != nullptr; },
      kLong));
  exporter_->Stop(kLong);
  const Spans spans = collector_.spans();
  EXPECT_EQ(Find(spans, "smtp.transaction", OtlpSpan::SPAN_KIND_SERVER)->status().message(), "CANCELLED");
  EXPECT_EQ(Find(spans, "queue.attempt"), nullptr);
}

}  // namespace
}  // namespace posthouse::standalone
