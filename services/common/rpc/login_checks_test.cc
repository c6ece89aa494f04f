#include "services/common/rpc/login_checks.h"

#include <gtest/gtest.h>

namespace posthouse::rpc {
namespace {

TEST(LoginChecksTest, GuessingSlowsDownAndRightLoginsDoNot) {
  const absl::Status wrong = absl::UnauthenticatedError("wrong"), refused = absl::ResourceExhaustedError("too many");
  EXPECT_EQ(GuessDelay(absl::OkStatus(), 9), absl::ZeroDuration());
  EXPECT_EQ(GuessDelay(absl::UnavailableError("down"), 9), absl::ZeroDuration());
  EXPECT_EQ(GuessDelay(wrong, 0), absl::Seconds(1));
  EXPECT_EQ(GuessDelay(refused, 2), absl::Seconds(4));
  EXPECT_EQ(GuessDelay(wrong, 1000), absl::Seconds(8));
}

TEST(LoginChecksTest, WithoutADirectoryALoginIsAFailureThatPasses) {
  LoginChecks none(nullptr);
  PasswordLogin login;
  EXPECT_TRUE(absl::IsUnavailable(SyncWait(none.Check(login)).status()));
}

}  // namespace
}  // namespace posthouse::rpc
