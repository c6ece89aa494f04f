#include "services/common/status/status.h"

#include <gtest/gtest.h>

namespace posthouse {
namespace {

absl::StatusOr<int> Half(int n) {
  if (n % 2 != 0) return absl::InvalidArgumentError("odd");
  return n / 2;
}

absl::StatusOr<int> Quarter(int n) {
  PH_ASSIGN_OR_RETURN(const int half, Half(n));
  PH_RETURN_IF_ERROR(Half(half));
  return half / 2;
}

TEST(StatusTest, MacrosPropagateTheFirstError) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Quarter(6).status(), absl::InvalidArgumentError("odd"));
}

TEST(StatusTest, WhatIsNotKnownToBePermanentIsTemporary) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "x");
    const bool definite = absl::IsInvalidArgument(status) || absl::IsNotFound(status) ||
                          absl::IsAlreadyExists(status) || absl::IsFailedPrecondition(status) ||
                          absl::IsOutOfRange(status) || absl::IsPermissionDenied(status) ||
                          absl::IsUnauthenticated(status) || absl::IsUnimplemented(status);
    EXPECT_EQ(IsTemporary(status), !definite) << status;
  }
  EXPECT_FALSE(IsTemporary(absl::OkStatus()));
}

TEST(StatusTest, AnnotateKeepsTheCode) {
  EXPECT_EQ(Annotate(absl::UnavailableError("down"), "queue"), absl::UnavailableError("queue: down"));
  EXPECT_TRUE(Annotate(absl::OkStatus(), "queue").ok());
}

TEST(StatusDeathTest, CheckNamesTheCondition) { EXPECT_DEATH(PH_CHECK(1 + 1 == 3), "1 \\+ 1 == 3"); }

}  // namespace
}  // namespace posthouse
