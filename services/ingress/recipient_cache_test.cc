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
  cache.Put("a@x", false, Answer(Resolution::Outcome::kNoSuchMailbox), kNow, kNow + absl::Seconds(5));
  EXPECT_EQ(cache.Find("a@x", false, kNow + absl::Seconds(4))->outcome, Resolution::Outcome::kNoSuchMailbox);
  EXPECT_FALSE(cache.Find("a@x", false, kNow + absl::Seconds(5)).has_value());
}

// The right to relay changes the answer.
TEST(RecipientCache, KeepsRelayersApart) {
  RecipientCache cache(10);
  cache.Put("a@x", true, Answer(Resolution::Outcome::kAccept), kNow, kNow + absl::Hours(1));
  EXPECT_FALSE(cache.Find("a@x", false, kNow).has_value());
  EXPECT_TRUE(cache.Find("a@x", true, kNow).has_value());
}

TEST(RecipientCache, IsBoundedAndKeepsWhatIsUsed) {
  RecipientCache cache(10);
  cache.Put("used@x", false, Answer(Resolution::Outcome::kAccept), kNow, kNow + absl::Hours(1));
  int found = 0;
  for (int i = 0; i < 100; ++i) {
    cache.Put(absl::StrCat("r", i, "@x"), false, Answer(Resolution::Outcome::kAccept), kNow, kNow + absl::Hours(1));
    EXPECT_TRUE(cache.Find("used@x", false, kNow).has_value()) << i;
  }
  for (int i = 0; i < 100; ++i) found += cache.Find(absl::StrCat("r", i, "@x"), false, kNow).has_value() ? 1 : 0;
  EXPECT_LE(found, 10);
  EXPECT_GE(found, 1);
}

TEST(RecipientCache, AChangeOfAnAccountForgetsWhatLeadsToIt) {
  RecipientCache cache(10);
  const auto put = [&cache](const std::string& address, const std::string& account, absl::Time now) {
    Resolution resolution = Answer(Resolution::Outcome::kAccept);
    resolution.account_id = AccountId(account);
    cache.Put(address, false, resolution, now, now + absl::Hours(1));
  };
  const auto found = [&cache](absl::Time now) {
    std::string all;
    for (const char* address : {"bob@x", "ann@x", "list@x"}) {
      if (cache.Find(address, false, now).has_value()) absl::StrAppend(&all, address, " ");
    }
    return all;
  };
  const auto put_all = [&put](absl::Time now) {
    put("bob@x", "bob", now);
    put("ann@x", "ann", now);
    put("list@x", "", now);
  };
  put_all(kNow);
  EXPECT_EQ(found(kNow), "bob@x ann@x list@x ");
  cache.Forget(AccountId("bob"), kNow);
  EXPECT_EQ(found(kNow), "ann@x ");
  // Routing may not have heard of the change yet.
  put_all(kNow + RecipientCache::kSettle / 2);
  EXPECT_EQ(found(kNow + RecipientCache::kSettle), "ann@x ");
  put_all(kNow + RecipientCache::kSettle);
  EXPECT_EQ(found(kNow + RecipientCache::kSettle), "bob@x ann@x list@x ");
  const absl::Time later = kNow + absl::Minutes(1);
  cache.ForgetAll(later);
  EXPECT_EQ(found(later), "");
  put_all(later + RecipientCache::kSettle);
  EXPECT_EQ(found(later + RecipientCache::kSettle), "bob@x ann@x list@x ");
  // So many changes are one change of everything.
  for (int i = 0; i < 10001; ++i) cache.Forget(AccountId(absl::StrCat("other", i)), later + absl::Minutes(1));
  EXPECT_EQ(found(later + absl::Minutes(1)), "");
}

}  // namespace
}  // namespace posthouse::ingress
