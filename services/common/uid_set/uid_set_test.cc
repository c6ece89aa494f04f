#include "services/common/uid_set/uid_set.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "services/common/uid_set/uid_set_proto.h"

namespace posthouse {
namespace {

std::string Text(std::vector<UidSet::Range> ranges) { return UidSet(std::move(ranges)).ToString(); }

TEST(UidSetTest, RangesAreSortedMergedAndTurned) {
  EXPECT_EQ(Text({}), "");
  EXPECT_EQ(Text({{5, 5}, {1, 3}}), "1:3,5");
  EXPECT_EQ(Text({{4, 6}, {1, 3}}), "1:6");
  EXPECT_EQ(Text({{9, 2}, {4, 5}}), "2:9");
  EXPECT_EQ(Text({{5, 7}, {1, 2}, {3, 3}, {10, 8}}), "1:3,5:10");
  EXPECT_EQ(Text({{7, UINT32_MAX}, {1, 9}}), "1:4294967295");
  EXPECT_EQ(Text({{4294967295u, 4294967294u}, {4294967295u, 4294967295u}}), "4294967294:4294967295");
}

TEST(UidSetTest, ZeroIsLeftOut) { EXPECT_EQ(Text({{0, 0}, {0, 2}}), "1:2"); }

TEST(UidSetTest, GrowsOneByOne) {
  UidSet set;
  for (const uint32_t uid : {1u, 2u, 4u, 255u, 256u}) set.Add(uid);
  EXPECT_EQ(set.ToString(), "1:2,4,255:256");
  EXPECT_EQ(set.Expand(), (std::vector<Uid>{Uid(1), Uid(2), Uid(4), Uid(255), Uid(256)}));
  EXPECT_EQ(set.Count(), 5u);
  EXPECT_EQ(set.Min(), 1u);
  EXPECT_EQ(set.Max(), 256u);
}

TEST(UidSetTest, LargestNumberDoesNotWrap) {
  UidSet set;
  set.Add(4294967295u);
  set.Add(1);
  EXPECT_EQ(set.ToString(), "1,4294967295");
  EXPECT_EQ(set.Minus(UidSet({{1, 5}})).ToString(), "4294967295");
  EXPECT_TRUE(set.Contains(4294967295u));
  EXPECT_EQ(UidSet({{1, 4294967295u}}).Count(), 4294967295u);
}

// Against std::set, with every operation.
TEST(UidSetTest, AgreesWithPlainSets) {
  std::mt19937 random(7);
  const auto make = [&](std::set<uint32_t>& plain) {
    UidSet set;
    for (int i = 0; i < 12; ++i) {
      const uint32_t first = 1 + random() % 60;
      const uint32_t last = first + random() % 5;
      set.Add(first, last);
      for (uint32_t n = first; n <= last; ++n) plain.insert(n);
    }
    return set;
  };
  for (int round = 0; round < 300; ++round) {
    std::set<uint32_t> pa, pb;
    const UidSet a = make(pa);
    const UidSet b = make(pb);
    const UidSet both = a.Intersect(b), only = a.Minus(b), any = a.Union(b);
    uint64_t count = 0;
    for (uint32_t n = 1; n < 70; ++n) {
      EXPECT_EQ(a.Contains(n), pa.count(n) == 1);
      EXPECT_EQ(both.Contains(n), pa.count(n) == 1 && pb.count(n) == 1);
      EXPECT_EQ(only.Contains(n), pa.count(n) == 1 && pb.count(n) == 0);
      EXPECT_EQ(any.Contains(n), pa.count(n) == 1 || pb.count(n) == 1);
      count += only.Contains(n) ? 1 : 0;
    }
    EXPECT_EQ(only.Count(), count);
    EXPECT_EQ(UidSet(only.ranges()), only) << "not normal: " << only.ToString();
  }
}

TEST(UidSetTest, ProtosKeepTheSet) {
  const UidSet set({{1, 2}, {255, UINT32_MAX}});
  UidRanges ranges;
  UidSetToProto(set, &ranges);
  EXPECT_EQ(UidSetFromProto(ranges), set);
  google::protobuf::RepeatedField<uint32_t> flat;
  UidSetToFlat(set, &flat);
  EXPECT_EQ(std::vector<uint32_t>(flat.begin(), flat.end()), (std::vector<uint32_t>{1, 2, 255, UINT32_MAX}));
  EXPECT_EQ(UidSetFromFlat(flat), set);
}

// RFC 4315 §3: the sets of COPYUID correspond item by item.
TEST(UidSetTest, OrderedPairsKeepTheirOrder) {
  UidRanges out;
  for (const uint32_t uid : {5u, 6u, 3u, 4u}) AppendInOrder(&out, Uid(uid));
  std::string text;
  AppendRanges(text, OrderedRanges(out));
  EXPECT_EQ(text, "5:6,3:4");
}

}  // namespace
}  // namespace posthouse
