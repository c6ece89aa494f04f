#include "services/common/runtime/config_reload.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "services/common/config/config.h"
#include "services/common/file_stamp/file_stamp.h"
#include "services/common/metrics/metrics.h"

namespace posthouse::runtime {
namespace {

using testing::HasSubstr;
using testing::Not;

namespace fs = std::filesystem;

// A folder as a ConfigMap is mounted: config.yaml leads to ..data/config.yaml, and ..data to a folder of a version.
class ConfigReloadTest : public testing::Test {
 protected:
  ConfigReloadTest() {
    Mount("log_level: info\n");
    fs::create_symlink("..data/config.yaml", file_);
    config::v1::Config started = *config::LoadFile(file_);
    reload_ = std::make_unique<ConfigReload>(
        file_, FileStamp(file_), std::move(started),
        ConfigReload::Hooks{.load = [this] { return config::LoadFile(file_); },
                            .apply =
                                [this](const config::v1::Config& config) {
                                  if (config.ingress().max_errors() == 13) {
                                    return absl::InvalidArgumentError("ingress.max_errors: not 13");
                                  }
                                  applied_ = config;
                                  ++times_;
                                  return absl::OkStatus();
                                }},
        registry_);
  }
  // The kubelet writes a new folder and then renames a link to it over the old one.
  void Mount(const std::string& yaml) {
    const std::string version = absl::StrCat("..", ++version_);
    fs::create_directories(folder_ + "/" + version);
    std::ofstream(folder_ + "/" + version + "/config.yaml") << yaml;
    fs::create_symlink(version, folder_ + "/..data_tmp");
    fs::rename(folder_ + "/..data_tmp", folder_ + "/..data");
  }
  void LookTwice() {
    reload_->Look();
    reload_->Look();
  }
  std::string Metrics() const { return registry_.Serialize(); }

  const std::string folder_ = testing::TempDir() + "/" + testing::UnitTest::GetInstance()->current_test_info()->name();
  const std::string file_ = folder_ + "/config.yaml";
  int version_ = 0;
  metrics::Registry registry_;
  std::unique_ptr<ConfigReload> reload_;
  config::v1::Config applied_;
  int times_ = 0;
};

TEST_F(ConfigReloadTest, AFileThatDoesNotChangeIsNotLoadedAgain) {
  for (int i = 0; i < 5; ++i) reload_->Look();
  EXPECT_EQ(times_, 0);
  EXPECT_THAT(Metrics(), HasSubstr("posthouse_config_last_reload_successful 1\n"));
  EXPECT_THAT(Metrics(), HasSubstr("posthouse_config_reloads_total{result=\"failed\"} 0\n"));
}

TEST_F(ConfigReloadTest, AConfigMapThatIsSwappedIsApplied) {
  Mount("log_level: debug\ningress: {max_errors: 7}\n");
  LookTwice();
  EXPECT_EQ(times_, 1);
  EXPECT_EQ(applied_.ingress().max_errors(), 7u);
  EXPECT_EQ(reload_->current().log_level(), "debug");
  EXPECT_THAT(reload_->Shown(), HasSubstr("max_errors: 7"));
  EXPECT_THAT(Metrics(), HasSubstr("posthouse_config_reloads_total{result=\"ok\"} 1\n"));
  EXPECT_THAT(Metrics(), HasSubstr("posthouse_config_keys_need_restart 0\n"));
  for (int i = 0; i < 5; ++i) reload_->Look();
  EXPECT_EQ(times_, 1);
}

TEST_F(ConfigReloadTest, EqualConfigurationsHaveEqualHashes) {
  const auto hash = [this] {
    const std::string text = Metrics();
    const std::string name = "\nposthouse_config_hash ";
    const size_t at = text.find(name) + name.size();
    return text.substr(at, text.find('\n', at) - at);
  };
  const std::string first = hash();
  Mount("ingress: {max_errors: 7}\n");
  LookTwice();
  const std::string second = hash();
  EXPECT_NE(second, first);
  Mount("# a comment\ningress:\n  max_errors: 7\n");
  LookTwice();
  EXPECT_EQ(times_, 2);
  EXPECT_EQ(hash(), second);
}

TEST_F(ConfigReloadTest, AFileThatIsStillBeingWrittenWaits) {
  for (int i = 0; i < 3; ++i) {
    Mount(std::string(static_cast<size_t>(i), '\n') + "ingress: {max_errors: 7}\n");
    reload_->Look();
    EXPECT_EQ(times_, 0);
  }
  reload_->Look();
  EXPECT_EQ(times_, 1);
}

TEST_F(ConfigReloadTest, ABadFileKeepsTheOldOneAndIsTriedOnce) {
  Mount("ingress: {max_errors: 7}\n");
  LookTwice();
  for (const char* bad : {"ingress: {max_erors: 1}\n", "ingress: {max_errors: 13}\n", "a: [\n"}) {
    Mount(bad);
    for (int i = 0; i < 5; ++i) reload_->Look();
    EXPECT_EQ(applied_.ingress().max_errors(), 7u) << bad;
    EXPECT_EQ(reload_->current().ingress().max_errors(), 7u) << bad;
    EXPECT_THAT(Metrics(), HasSubstr("posthouse_config_last_reload_successful 0\n"));
  }
  EXPECT_THAT(Metrics(), HasSubstr("posthouse_config_reloads_total{result=\"failed\"} 3\n"));
  EXPECT_THAT(Metrics(), HasSubstr("posthouse_config_reloads_total{result=\"ok\"} 1\n"));
  Mount("ingress: {max_errors: 8}\n");
  LookTwice();
  EXPECT_EQ(applied_.ingress().max_errors(), 8u);
  EXPECT_THAT(Metrics(), HasSubstr("posthouse_config_last_reload_successful 1\n"));
}

TEST_F(ConfigReloadTest, AFileThatIsGoneIsABadFile) {
  fs::remove(folder_ + "/..data");
  for (int i = 0; i < 5; ++i) reload_->Look();
  EXPECT_EQ(times_, 0);
  EXPECT_THAT(Metrics(), HasSubstr("posthouse_config_reloads_total{result=\"failed\"} 1\n"));
}

TEST_F(ConfigReloadTest, KeysThatNeedARestartAreNamedAndCounted) {
  Mount("hostname: a.example\nlog_level: info\ningress: {max_errors: 7, smtp: {port: 99}}\n");
  LookTwice();
  EXPECT_THAT(reload_->Shown(), HasSubstr("# in use after a restart: hostname, ingress.smtp.port\n"));
  EXPECT_THAT(Metrics(), HasSubstr("posthouse_config_keys_need_restart 2\n"));
  Mount("log_level: info\n");
  LookTwice();
  EXPECT_THAT(reload_->Shown(), Not(HasSubstr("after a restart")));
  EXPECT_THAT(Metrics(), HasSubstr("posthouse_config_keys_need_restart 0\n"));
}

TEST_F(ConfigReloadTest, AReloadBySignalIsNotDoneAgainByLooking) {
  Mount("ingress: {max_errors: 7}\n");
  reload_->Look();
  reload_->Reload();
  for (int i = 0; i < 5; ++i) reload_->Look();
  EXPECT_EQ(times_, 1);
}

}  // namespace
}  // namespace posthouse::runtime
