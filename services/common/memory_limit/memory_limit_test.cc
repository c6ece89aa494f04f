#include "services/common/memory_limit/memory_limit.h"

#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

namespace posthouse {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

class MemoryLimitTest : public testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  uint64_t Limit() const { return MemoryLimit(root_ + "/proc", root_ + "/sys"); }

  const std::string root_ = testing::TempDir() + "/" + testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(MemoryLimitTest, TheLeastLimitOnTheWayUpCountsInVersion2) {
  Write("/proc/self/cgroup", "0::/kubepods/pod1/c1\n");
  Write("/sys/memory.stat", "x\n");
  Write("/sys/kubepods/memory.max", "4294967296\n");
  Write("/sys/kubepods/pod1/memory.max", "536870912\n");
  Write("/sys/kubepods/pod1/c1/memory.max", "max\n");
  EXPECT_EQ(Limit(), 512 * kMiB);
}

TEST_F(MemoryLimitTest, InAContainerTheRootOfTheMountIsTheGroup) {
  Write("/proc/self/cgroup", "0::/\n");
  Write("/sys/memory.max", "268435456\n");
  EXPECT_EQ(Limit(), 256 * kMiB);
  Write("/proc/self/cgroup", "0::/../../path/of/the/host\n");
  EXPECT_EQ(Limit(), 256 * kMiB);
}

TEST_F(MemoryLimitTest, Version1HasALimitOfItsMemoryController) {
  Write("/proc/self/cgroup", "5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n1:name=systemd:/docker/1\n");
  Write("/sys/memory/docker/1/memory.limit_in_bytes", "134217728\n");
  Write("/sys/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(Limit(), 128 * kMiB);
}

TEST_F(MemoryLimitTest, WithoutAGroupThereIsNoLimit) {
  EXPECT_EQ(Limit(), 0u);
  Write("/proc/self/cgroup", "0::/user.slice\nnonsense\n");
  Write("/sys/user.slice/memory.max", "max\n");
  EXPECT_EQ(Limit(), 0u);
}

TEST(StoreMemoryTest, CachesFitTheLimit) {
  EXPECT_EQ(StoreMemoryFor(0, 1).block_cache_bytes, 64 * kMiB);
  EXPECT_EQ(StoreMemoryFor(0, 3).write_buffer_bytes, 32 * kMiB);
  for (const uint64_t limit : {256 * kMiB, 512 * kMiB, 4096 * kMiB, 65536 * kMiB}) {
    for (const int stores : {1, 3}) {
      const StoreMemory memory = StoreMemoryFor(limit, stores);
      const uint64_t all = static_cast<uint64_t>(stores) * (memory.block_cache_bytes + 4 * memory.write_buffer_bytes);
      EXPECT_LE(all, limit / 2) << limit << " " << stores;
    }
  }
  EXPECT_EQ(StoreMemoryFor(4096 * kMiB, 1).block_cache_bytes, 1024 * kMiB);
  EXPECT_EQ(StoreMemoryFor(kMiB, 1).block_cache_bytes, 8 * kMiB);  // too little for anything
}

}  // namespace
}  // namespace posthouse
