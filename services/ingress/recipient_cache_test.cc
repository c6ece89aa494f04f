#include "services/ingress/recipient_cache.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace posthouse::ingress {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1000);

Resolution Answer(Resolution::Outcome outcome) {
  Resolution resolution;
  resolution.outcome = outcome;
  return resolution;
}

TEST(RecipientCache, AnswersUntilItExpires) {
  RecipientCache cache(10);
  EXPECT_FALSE(cache.Find("a@x", false, kNow).has_value());
  cache.Put("a@x", false, Answer(Resolution::Outcome::kNoSuchMailbox), kNow + absl::Seconds(5));
  EXPECT_EQ(cache.Find("a@x", false, kNow + absl::Seconds(4))->outcome, Resolution::Outcome::kNoSuchMailbox);
  EXPECT_FALSE(cache.Find("a@x", false, kNow + absl::Seconds(5)).has_value());
}

// The right to relay changes the answer.
TEST(RecipientCache, KeepsRelayersApart) {
  RecipientCache cache(10);
  cache.Put("a@x", true, Answer(Resolution::Outcome::kAccept), kNow + absl::Hours(1));
  EXPECT_FALSE(cache.Find("a@x", false, kNow).has_value());
  EXPECT_TRUE(cache.Find("a@x", true, kNow).has_value());
}

TEST(RecipientCache, IsBoundedAndKeepsWhatIsUsed) {
  RecipientCache cache(10);
  cache.Put("used@x", false, Answer(Resolution::Outcome::kAccept), kNow + absl::Hours(1));
  int found = 0;
  for (int i = 0; i < 100; ++i) {
    cache.Put(absl::StrCat("r", i, "@x"), false, Answer(Resolution::Outcome::kAccept), kNow + absl::Hours(1));
    EXPECT_TRUE(cache.Find("used@x", false, kNow).has_value()) << i;
  }
  for (int i = 0; i < 100; ++i) found += cache.Find(absl::StrCat("r", i, "@x"), false, kNow).has_value() ? 1 : 0;
  EXPECT_LE(found, 10);
  EXPECT_GE(found, 1);
}

}  // namespace
}  // namespace posthouse::ingress
