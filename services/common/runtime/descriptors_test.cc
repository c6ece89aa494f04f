#include "services/common/runtime/descriptors.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/log/log.h"

namespace posthouse::runtime {
namespace {

std::string& Logged() {
  static auto& lines = *new std::string;
  return lines;
}

std::string Warned(const config::v1::Config& config, const std::string& service, uint64_t limit) {
  Logged().clear();
  log::SetSinkForTest([](absl::string_view line) { Logged().append(line.data(), line.size()); });
  WarnOfFewDescriptors(config, service, limit);
  log::SetSinkForTest(nullptr);
  return Logged();
}

TEST(DescriptorsTest, TheLimitIsRaisedAsFarAsTheSystemAllows) {
  struct rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlim_t hard = limit.rlim_max;
  limit.rlim_cur = hard / 2;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(RaiseDescriptorLimit(), hard);
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(limit.rlim_cur, hard);
}

TEST(DescriptorsTest, MailLeavesDescriptorsForOtherWork) {
  EXPECT_EQ(MailConnections(1 << 20), (1u << 20) - 2048);
  EXPECT_EQ(MailConnections(4096), 2048u);
  EXPECT_EQ(MailConnections(256), 128u);
}

TEST(DescriptorsTest, ConnectionsThatDoNotFitAreAWarning) {
  config::v1::Config config;
  EXPECT_EQ(DescriptorsNeeded(config, "standalone") - DescriptorsNeeded(config, "queue"), 70000u);
  EXPECT_EQ(DescriptorsNeeded(config, "ingress") - DescriptorsNeeded(config, "queue"), 30000u);
  config.mutable_gateway()->mutable_imap()->set_max_connections(500);
  config.mutable_gateway()->mutable_pop3()->set_disabled(true);
  EXPECT_EQ(DescriptorsNeeded(config, "gateway") - DescriptorsNeeded(config, "queue"), 20500u);
  EXPECT_EQ(Warned(config, "gateway", 1 << 20), "");
  EXPECT_EQ(Warned(config, "gateway", 0), "");
  const std::string line = Warned(config, "gateway", 1024);
  EXPECT_TRUE(absl::StrContains(line, "\"event\":\"few_descriptors\"")) << line;
  EXPECT_TRUE(absl::StrContains(line, "\"limit\":1024")) << line;
}

}  // namespace
}  // namespace posthouse::runtime
