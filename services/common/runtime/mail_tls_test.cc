#include "services/common/runtime/mail_tls.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "posthouse/config/v1/config.pb.h"

namespace posthouse::runtime {
namespace {

class MailTlsTest : public testing::Test {
 protected:
  MailTlsTest() {
    config_.set_hostname("mx.example");
    config_.set_data_dir(testing::TempDir() + "/" + testing::UnitTest::GetInstance()->current_test_info()->name());
    files_ = {config_.data_dir() + "/tls/self-signed.crt", config_.data_dir() + "/tls/self-signed.key"};
  }

  config::v1::Config config_;
  net::CertificateFiles files_;
};

TEST_F(MailTlsTest, NothingIsMadeUnlessAskedFor) {
  const auto none = LoadMailTls(config_);
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_EQ(*none, nullptr);
  EXPECT_FALSE(std::filesystem::exists(files_.private_key));
}

TEST_F(MailTlsTest, TheSelfSignedCertificateIsMadeOnce) {
  config_.mutable_tls()->set_self_signed(true);
  const auto first = LoadMailTls(config_);
  ASSERT_TRUE(first.ok()) << first.status();
  const auto made = std::filesystem::last_write_time(files_.certificate_chain);
  ASSERT_TRUE(LoadMailTls(config_).ok());
  EXPECT_EQ(std::filesystem::last_write_time(files_.certificate_chain), made);
}

TEST_F(MailTlsTest, AnExpiredSelfSignedCertificateIsRenewed) {
  config_.mutable_tls()->set_self_signed(true);
  std::filesystem::create_directories(config_.data_dir() + "/tls");
  ASSERT_TRUE(net::WriteSelfSigned(files_, {"mx.example"}, 0).ok());
  const auto renewed = LoadMailTls(config_);
  ASSERT_TRUE(renewed.ok()) << renewed.status();
  EXPECT_GT((*renewed)->NotAfter(), absl::Now() + absl::Hours(24 * 800));
}

TEST_F(MailTlsTest, AnExpiredCertificateOfTheOperatorStopsTheStart) {
  std::filesystem::create_directories(config_.data_dir() + "/tls");
  ASSERT_TRUE(net::WriteSelfSigned(files_, {"mx.example"}, 0).ok());
  auto& certificate = *config_.mutable_tls()->add_certificates();
  certificate.set_certificate_file(files_.certificate_chain);
  certificate.set_private_key_file(files_.private_key);
  EXPECT_EQ(LoadMailTls(config_).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace posthouse::runtime
