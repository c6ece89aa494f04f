#include "services/mail_formats/imap/number_set.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace posthouse::imap {
namespace {

std::string Text(std::vector<NumberRange> ranges) { return NumberSet::Of(std::move(ranges)).ToString(); }

TEST(NumberSetTest, RangesAreSortedMergedAndTurned) {
  EXPECT_EQ(Text({}), "");
  EXPECT_EQ(Text({{5, 5}, {1, 3}}), "1:3,5");
  EXPECT_EQ(Text({{4, 6}, {1, 3}}), "1:6");
  EXPECT_EQ(Text({{9, 2}, {4, 5}}), "2:9");
  EXPECT_EQ(Text({{4294967295u, 4294967294u}, {4294967295u, 4294967295u}}), "4294967294:4294967295");
}

TEST(NumberSetTest, LargestNumberDoesNotWrap) {
  NumberSet set;
  set.Add(4294967295u);
  set.Add(1);
  EXPECT_EQ(set.ToString(), "1,4294967295");
  EXPECT_EQ(set.Minus(NumberSet::Of({{1, 5}})).ToString(), "4294967295");
  EXPECT_TRUE(set.Contains(4294967295u));
  EXPECT_EQ(NumberSet::Of({{1, 4294967295u}}).Count(), 4294967295u);
}

// Against std::set, with every operation.
TEST(NumberSetTest, AgreesWithPlainSets) {
  std::mt19937 random(7);
  const auto make = [&](std::set<uint32_t>& plain) {
    NumberSet set;
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
    const NumberSet a = make(pa);
    const NumberSet b = make(pb);
    const NumberSet both = a.Intersect(b), only = a.Minus(b), any = a.Union(b);
    uint64_t count = 0;
    for (uint32_t n = 1; n < 70; ++n) {
      EXPECT_EQ(a.Contains(n), pa.count(n) == 1);
      EXPECT_EQ(both.Contains(n), pa.count(n) == 1 && pb.count(n) == 1);
      EXPECT_EQ(only.Contains(n), pa.count(n) == 1 && pb.count(n) == 0);
      EXPECT_EQ(any.Contains(n), pa.count(n) == 1 || pb.count(n) == 1);
      count += only.Contains(n) ? 1 : 0;
    }
    EXPECT_EQ(only.Count(), count);
    EXPECT_EQ(NumberSet::Of(only.ranges()), only) << "not normal: " << only.ToString();
  }
}

// RFC 9051 §9, seq-range and "*".
TEST(SequenceSetTest, StarIsTheLargestWhereverItStands) {
  const SequenceSet set{{{559, SequenceSet::kStar}}, false};
  EXPECT_EQ(set.Resolve(10).ToString(), "10:559");
  EXPECT_EQ(set.Resolve(600).ToString(), "559:600");
  EXPECT_EQ(set.Resolve(0).ToString(), "");
  EXPECT_TRUE(set.ReachesBeyond(1000));
  EXPECT_EQ(set.LargestNumber(), 0u);
  const SequenceSet star{{{SequenceSet::kStar, SequenceSet::kStar}}, false};
  EXPECT_EQ(star.Resolve(7).ToString(), "7");
  const SequenceSet plain{{{2, 4}}, false};
  EXPECT_FALSE(plain.ReachesBeyond(4));
  EXPECT_TRUE(plain.ReachesBeyond(3));
  EXPECT_EQ(plain.LargestNumber(), 4u);
}

}  // namespace
}  // namespace posthouse::imap
