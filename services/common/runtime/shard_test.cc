#include "services/common/runtime/shard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"

namespace posthouse::runtime {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string NewFolder() {
  const std::string folder =
      absl::StrCat(std::getenv("TEST_TMPDIR"), "/", testing::UnitTest::GetInstance()->current_test_info()->name());
  std::filesystem::create_directories(folder);
  return folder;
}

TEST(ShardTest, AStoreKeepsTheNameOfItsFirstStart) {
  const std::string folder = NewFolder();
  EXPECT_TRUE(ClaimShard(folder, "mailbox.shard", "m0").ok());
  EXPECT_TRUE(ClaimShard(folder, "mailbox.shard", "m0").ok());
  for (const char* other : {"m1", "", "m00"}) {
    const absl::Status status = ClaimShard(folder, "mailbox.shard", other);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << other;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("is \"m0\" ("), HasSubstr(absl::StrCat("mailbox.shard is \"", other, "\""))));
  }
  EXPECT_TRUE(ClaimShard(folder, "mailbox.shard", "m0").ok());
}

TEST(ShardTest, AStoreWithoutANameTakesOneLater) {
  const std::string folder = NewFolder();
  EXPECT_TRUE(ClaimShard(folder, "mailbox.shard", "").ok());
  EXPECT_FALSE(std::filesystem::exists(folder + "/SHARD"));
  EXPECT_TRUE(ClaimShard(folder, "mailbox.shard", "m1").ok());
  EXPECT_FALSE(ClaimShard(folder, "mailbox.shard", "").ok());
}

TEST(ShardTest, ANameThatCannotBeKeptAndADamagedFileAreRefused) {
  const std::string folder = NewFolder();
  EXPECT_EQ(ClaimShard(folder, "queue.shard", "a\nb").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ClaimShard(folder, "queue.shard", std::string(65, 'x')).code(), absl::StatusCode::kInvalidArgument);
  std::ofstream(folder + "/SHARD") << "\xff" << "0\n";
  const absl::Status status = ClaimShard(folder, "queue.shard", "0");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("\\xff"));
  EXPECT_FALSE(ClaimShard(folder + "/absent", "queue.shard", "0").ok());
}

}  // namespace
}  // namespace posthouse::runtime
