#include "services/mail_formats/imap/sequence_set.h"

#include <gtest/gtest.h>

namespace posthouse::imap {
namespace {

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
