#include "services/gateway/metrics.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "services/common/metrics/metrics.h"

namespace posthouse::gateway {
namespace {

class MetricsTest : public testing::Test {
 protected:
  // The value of the series; -1: there is none.
  double Value(const std::string& series) const {
    const std::string text = registry_.Serialize();
    const size_t at = text.find(absl::StrCat("\n", series, " "));
    return at == std::string::npos ? -1 : std::atof(text.c_str() + at + series.size() + 2);
  }
  static std::string Commands(const std::string& command, const std::string& protocol, const std::string& result) {
    return absl::StrCat("posthouse_gateway_commands_total{command=\"", command, "\",protocol=\"", protocol,
                        "\",result=\"", result, "\"}");
  }

  metrics::Registry registry_;
  Metrics metrics_{registry_};
};

TEST_F(MetricsTest, CommandsAreCountedByResult) {
  EXPECT_EQ(Value(Commands("uid_fetch", "imap", "unavailable")), 0);
  metrics_.Command("imap", "UID FETCH", CommandResult::kOk, absl::Seconds(1));
  metrics_.Command("imap", "uid fetch", CommandResult::kUnavailable, absl::Seconds(1));
  metrics_.Command("pop3", "RETR", CommandResult::kLost, absl::Seconds(1));
  metrics_.Command("imap", "XYZZY", CommandResult::kBad, absl::Seconds(1));
  EXPECT_EQ(Value(Commands("uid_fetch", "imap", "ok")), 1);
  EXPECT_EQ(Value(Commands("uid_fetch", "imap", "unavailable")), 1);
  EXPECT_EQ(Value(Commands("retr", "pop3", "lost")), 1);
  EXPECT_EQ(Value(Commands("other", "imap", "bad")), 1);
  EXPECT_EQ(Value("posthouse_gateway_command_seconds_count{command=\"uid_fetch\",protocol=\"imap\"}"), 2);
}

TEST_F(MetricsTest, EncryptedConnectionsAreCountedByVersion) {
  metrics_.TlsStarted("pop3", "TLSv1.2");
  metrics_.TlsStarted("imap", "TLSv1.3");
  EXPECT_EQ(Value("posthouse_gateway_tls_connections_total{protocol=\"pop3\",version=\"TLSv1.2\"}"), 1);
  EXPECT_EQ(Value("posthouse_gateway_tls_connections_total{protocol=\"imap\",version=\"TLSv1.3\"}"), 1);
  EXPECT_EQ(Value("posthouse_gateway_tls_connections_total{protocol=\"imap\",version=\"TLSv1.2\"}"), 0);
}

}  // namespace
}  // namespace posthouse::gateway
