#include "services/ingress/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "posthouse/config/v1/config.pb.h"

namespace posthouse::ingress {
namespace {

using config::v1::Config;

TEST(Settings, DefaultsAreTheDocumentedOnes) {
  Config config;
  config.set_hostname("mx.example");
  const absl::StatusOr<Settings> s = Settings::FromConfig(config);
  ASSERT_TRUE(s.ok()) << s.status();
  EXPECT_EQ(s->smtp.port, 2525);
  EXPECT_EQ(s->submission.port, 2587);
  EXPECT_EQ(s->submissions.port, 2465);
  EXPECT_TRUE(s->smtp.enabled);
  EXPECT_EQ(s->smtp.address, "127.0.0.1");
  EXPECT_EQ(s->smtp.max_connections, 10000u);
  EXPECT_EQ(s->smtp.max_connections_per_address, 200u);
  EXPECT_EQ(s->max_envelope_recipients, 5000u);
  EXPECT_EQ(s->message_memory_bytes, 128u << 20);
  EXPECT_EQ(s->max_message_bytes, 50u << 20);
  EXPECT_EQ(s->max_recipients, 1000u);
  EXPECT_EQ(s->max_errors, 20u);
  EXPECT_EQ(s->max_received, 50u);
  EXPECT_EQ(s->command_timeout, absl::Minutes(5));
  EXPECT_EQ(s->data_timeout, absl::Minutes(3));
  EXPECT_EQ(s->bare_lf, smtp::BareLinePolicy::kReject);
  EXPECT_FALSE(s->allow_plaintext_auth || s->allow_any_sender);
  EXPECT_TRUE(s->relay_networks.empty());
}

TEST(Settings, ReadsWhatIsGiven) {
  Config config;
  config.set_hostname("mx.example");
  auto& in = *config.mutable_ingress();
  in.mutable_smtp()->set_port(0);
  in.mutable_smtp()->set_max_connections_per_address(0);
  in.mutable_smtp()->add_proxy_from("10.0.0.0/8");
  in.mutable_smtp()->set_proxy_port(12525);
  in.mutable_submission()->set_disabled(true);
  in.add_relay_networks("192.0.2.0/24");
  in.set_bare_lf("normalize");
  in.mutable_data_timeout()->set_seconds(7);
  in.set_max_message_bytes(1 << 20);
  const absl::StatusOr<Settings> s = Settings::FromConfig(config);
  ASSERT_TRUE(s.ok()) << s.status();
  EXPECT_EQ(s->smtp.port, 0);
  EXPECT_EQ(s->smtp.max_connections_per_address, 0u);  // no limit
  EXPECT_TRUE(s->smtp.proxy_from[0].Contains("10.1.2.3"));
  EXPECT_EQ(s->smtp.proxy_port, 12525);
  EXPECT_FALSE(s->submissions.proxy_port.has_value());
  EXPECT_FALSE(s->submission.enabled);
  EXPECT_TRUE(s->relay_networks[0].Contains("192.0.2.200"));
  EXPECT_EQ(s->bare_lf, smtp::BareLinePolicy::kNormalize);
  EXPECT_EQ(s->data_timeout, absl::Seconds(7));
  EXPECT_EQ(s->max_message_bytes, 1u << 20);
}

TEST(Settings, NamesTheKeyThatIsWrong) {
  struct Case {
    std::function<void(Config&)> change;
    const char* key;
  };
  const std::vector<Case> cases = {
      {[](Config& c) { c.set_hostname("not a name"); }, "hostname"},
      {[](Config& c) { c.mutable_ingress()->set_bare_lf("maybe"); }, "ingress.bare_lf"},
      {[](Config& c) { c.mutable_ingress()->add_relay_networks("x/8"); }, "ingress.relay_networks"},
      {[](Config& c) { c.mutable_ingress()->mutable_smtp()->add_proxy_from("10.0.0.0/99"); },
       "ingress.smtp.proxy_from"},
      {[](Config& c) { c.mutable_ingress()->mutable_submissions()->set_port(70000); }, "ingress.submissions.port"},
      {[](Config& c) { c.mutable_ingress()->mutable_smtp()->set_proxy_port(70000); }, "ingress.smtp.proxy_port"},
      {[](Config& c) { c.mutable_ingress()->set_max_message_bytes(1000); }, "ingress.max_message_bytes"},
      {[](Config& c) { c.mutable_ingress()->set_max_recipients(5); }, "ingress.max_recipients"},
      {[](Config& c) { c.mutable_ingress()->mutable_command_timeout(); }, "ingress.command_timeout"},
      {[](Config& c) { c.mutable_ingress()->set_max_envelope_recipients(5001); }, "ingress.max_envelope_recipients"},
      {[](Config& c) { c.mutable_ingress()->set_message_memory_bytes(1000); }, "ingress.message_memory_bytes"},
  };
  for (const Case& c : cases) {
    Config config;
    config.set_hostname("mx.example");
    c.change(config);
    const absl::StatusOr<Settings> s = Settings::FromConfig(config);
    EXPECT_EQ(s.status().code(), absl::StatusCode::kInvalidArgument) << c.key;
    EXPECT_THAT(std::string(s.status().message()), testing::HasSubstr(c.key));
  }
}

}  // namespace
}  // namespace posthouse::ingress
