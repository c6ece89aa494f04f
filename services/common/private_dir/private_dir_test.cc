#include "services/common/private_dir/private_dir.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace posthouse {
namespace {

namespace fs = std::filesystem;

class PrivateDirTest : public testing::Test {
 protected:
  void SetUp() override {
    static int number = 0;
    root_ = std::string(std::getenv("TEST_TMPDIR")) + "/private" + std::to_string(number++);
    fs::create_directories(root_);
  }
  static int Mode(const std::string& path) {
    struct stat info = {};
    EXPECT_EQ(stat(path.c_str(), &info), 0) << path;
    return static_cast<int>(info.st_mode & 07777);
  }
  static void Write(const std::string& path, int mode) {
    std::ofstream(path) << "x";
    ASSERT_EQ(chmod(path.c_str(), static_cast<mode_t>(mode)), 0);
  }
  std::string root_;
};

TEST_F(PrivateDirTest, WhatIsMissingIsMadeForTheOwnerOnly) {
  ASSERT_TRUE(OpenPrivateDirectory(root_ + "/a/b/c/").ok());
  EXPECT_EQ(Mode(root_ + "/a"), 0700);
  EXPECT_EQ(Mode(root_ + "/a/b/c"), 0700);
  EXPECT_TRUE(OpenPrivateDirectory(root_ + "/a/b/c").ok());
}

// A power loss after it leaves all of them or none of what is in them.
TEST_F(PrivateDirTest, EachNewDirectoryIsSyncedIntoItsParentBeforeTheNextIsMade) {
  std::vector<std::string> synced;
  const auto sync = [&](const std::string& parent) {
    synced.push_back(parent);
    // Its new entry is there, and nothing in it yet.
    const std::string made = parent + "/" + std::string(1, static_cast<char>('a' + synced.size() - 1));
    EXPECT_TRUE(fs::is_empty(made)) << made;
    return absl::OkStatus();
  };
  ASSERT_TRUE(CreatePrivateDirectory(root_ + "/a/b/c", sync).ok());
  EXPECT_EQ(synced, (std::vector<std::string>{root_, root_ + "/a", root_ + "/a/b"}));
  synced.clear();
  ASSERT_TRUE(CreatePrivateDirectory(root_ + "/a/b/c", sync).ok());
  EXPECT_TRUE(synced.empty());
  const auto broken = [](const std::string&) { return absl::FailedPreconditionError("cannot sync"); };
  EXPECT_EQ(CreatePrivateDirectory(root_ + "/x/y", broken).message(), "cannot sync");
  EXPECT_FALSE(fs::exists(root_ + "/x/y"));
}

TEST_F(PrivateDirTest, WideModesAreRepairedAndLinksAreNotFollowed) {
  const std::string store = root_ + "/store";
  fs::create_directories(store + "/sub");
  ASSERT_EQ(chmod(store.c_str(), 0755), 0);
  ASSERT_EQ(chmod((store + "/sub").c_str(), 0777), 0);
  Write(store + "/000004.sst", 0644);
  Write(store + "/sub/key", 0640);
  Write(store + "/script", 0755);
  Write(root_ + "/outside", 0644);
  fs::create_symlink(root_ + "/outside", store + "/link");
  ASSERT_TRUE(OpenPrivateDirectory(store).ok());
  EXPECT_EQ(Mode(store), 0700);
  EXPECT_EQ(Mode(store + "/sub"), 0700);
  EXPECT_EQ(Mode(store + "/000004.sst"), 0600);
  EXPECT_EQ(Mode(store + "/sub/key"), 0600);
  EXPECT_EQ(Mode(store + "/script"), 0700);
  EXPECT_EQ(Mode(root_ + "/outside"), 0644);
}

TEST_F(PrivateDirTest, ADirectoryWithOtherThingsInItStaysAsItIs) {
  ASSERT_EQ(chmod(root_.c_str(), 0755), 0);
  fs::create_directories(root_ + "/mailbox");
  Write(root_ + "/somebody-else", 0644);
  ASSERT_TRUE(OpenPrivateParent(root_, {"mailbox"}).ok());
  EXPECT_EQ(Mode(root_), 0755);
  fs::remove(root_ + "/somebody-else");
  ASSERT_TRUE(OpenPrivateParent(root_, {"mailbox"}).ok());
  EXPECT_EQ(Mode(root_), 0700);
}

TEST_F(PrivateDirTest, APathThatCannotBeIsNamed) {
  const absl::Status refused = OpenPrivateDirectory("/proc/nowhere/store");
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_NE(refused.message().find("/proc/nowhere"), std::string::npos) << refused;
  Write(root_ + "/file", 0600);
  EXPECT_FALSE(OpenPrivateDirectory(root_ + "/file/store").ok());
}

}  // namespace
}  // namespace posthouse
