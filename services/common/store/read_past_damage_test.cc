#include "services/common/store/read_past_damage.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "services/common/async/task.h"
#include "services/common/store/testing/memory_store.h"
#include "services/common/store/testing/store_with_hole.h"

namespace posthouse::store {
namespace {

const Partition kPartition{"t", "p"};

std::string Key(int i) { return absl::StrFormat("a/example.org/user%03d", i); }

class ReadPastDamageTest : public testing::Test {
 protected:
  ReadPastDamageTest() {
    for (int i = 0; i < 300; ++i) Put(Key(i));
    Put("b/behind");
  }
  void Put(const std::string& key) { ASSERT_TRUE(SyncWait(memory_.Commit({kPartition, {}, {{key, "v"}}})).ok()); }
  // All keys of the prefix that the store can read.
  std::vector<std::string> Walk(Store& store, const std::string& prefix) {
    std::vector<std::string> keys;
    lost_.clear();
    ReadRequest request{kPartition, {}, prefix, "", 50};
    while (true) {
      const absl::StatusOr<ReadResult> page =
          SyncWait(ReadPastDamage(store, request, [&](const LostKeys& range) { lost_.push_back(range); }));
      EXPECT_TRUE(page.ok()) << page.status();
      if (!page.ok() || page->page.empty()) return keys;
      for (const Row& row : page->page) keys.push_back(row.key);
      request.after = keys.back();
      if (!page->more) return keys;
    }
  }
  static std::vector<std::string> Keys(int from, int to) {
    std::vector<std::string> keys;
    for (int i = from; i < to; ++i) keys.push_back(Key(i));
    return keys;
  }

  MemoryStore memory_;
  std::vector<LostKeys> lost_;
};

TEST_F(ReadPastDamageTest, OnlyTheRowsInTheDamagedRangeAreLeftOut) {
  const struct {
    int first, last;
  } cases[] = {{0, 0}, {0, 40}, {5, 5}, {98, 102}, {100, 199}, {250, 299}, {0, 299}};
  for (const auto& c : cases) {
    StoreWithHole hole(memory_, c.first == 0 ? "a/" : Key(c.first), Key(c.last));
    std::vector<std::string> expected = Keys(0, c.first);
    for (const std::string& key : Keys(c.last + 1, 300)) expected.push_back(key);
    EXPECT_EQ(Walk(hole, "a/"), expected) << c.first << " to " << c.last;
    ASSERT_EQ(lost_.size(), 1u) << c.first;
    EXPECT_EQ(lost_[0].after, c.first == 0 ? "a/" : Key(c.first - 1));
    EXPECT_TRUE(absl::IsDataLoss(lost_[0].why));
    EXPECT_LT(hole.reads(), 320) << c.first << " to " << c.last;
    EXPECT_EQ(Walk(hole, "b/"), std::vector<std::string>{"b/behind"});
    EXPECT_TRUE(lost_.empty());
  }
}

TEST_F(ReadPastDamageTest, TheEndOfTheRangeIsFoundInFewReads) {
  StoreWithHole hole(memory_, Key(100), Key(199));
  Walk(hole, "a/");
  // 6 pages, and the way behind the damage: less than the octets of the key and 8 for each digit.
  EXPECT_LT(hole.reads(), 80);
}

TEST_F(ReadPastDamageTest, TwoRangesAreTwoRanges) {
  StoreWithHole first(memory_, Key(50), Key(59));
  StoreWithHole both(first, Key(150), Key(159));
  std::vector<std::string> expected = Keys(0, 50);
  for (const std::string& key : Keys(60, 150)) expected.push_back(key);
  for (const std::string& key : Keys(160, 300)) expected.push_back(key);
  EXPECT_EQ(Walk(both, "a/"), expected);
  EXPECT_EQ(lost_.size(), 2u);
}

TEST_F(ReadPastDamageTest, WithoutDamageItIsARead) {
  EXPECT_EQ(Walk(memory_, "a/"), Keys(0, 300));
  EXPECT_TRUE(lost_.empty());
  EXPECT_TRUE(Walk(memory_, "z/").empty());
}

}  // namespace
}  // namespace posthouse::store
