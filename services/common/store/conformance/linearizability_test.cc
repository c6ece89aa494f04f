#include "services/common/store/conformance/linearizability.h"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

namespace posthouse::store {
namespace {

using Kind = RegisterOp::Kind;
using Outcome = RegisterOp::Outcome;

RegisterOp Read(RegisterValue value, int64_t start, int64_t end) {
  return {Kind::kRead, Outcome::kOk, std::nullopt, std::move(value), start, end};
}
RegisterOp Write(RegisterValue value, int64_t start, int64_t end, Outcome outcome = Outcome::kOk) {
  return {Kind::kWrite, outcome, std::nullopt, std::move(value), start, end};
}
RegisterOp Cas(RegisterValue expected, RegisterValue value, Outcome outcome, int64_t start, int64_t end) {
  return {Kind::kCompareAndSet, outcome, std::move(expected), std::move(value), start, end};
}

TEST(LinearizabilityTest, AcceptsWhatCanBeOrdered) {
  const std::vector<std::vector<RegisterOp>> histories = {
      {},
      {Read(std::nullopt, 0, 1)},
      {Write("a", 0, 1), Read("a", 2, 3), Write(std::nullopt, 4, 5), Read(std::nullopt, 6, 7)},
      // A read during a write may see either.
      {Write("a", 0, 10), Read(std::nullopt, 1, 2), Read("a", 3, 4)},
      {Write("a", 0, 10), Write("b", 0, 10), Read("a", 11, 12), Read("a", 13, 14)},
      // Two operations compare the same value, and one wins.
      {Cas(std::nullopt, "a", Outcome::kOk, 0, 9), Cas(std::nullopt, "b", Outcome::kConflict, 0, 9), Read("a", 10, 11)},
      // Unknown: happened late, or never.
      {Write("a", 0, 1, Outcome::kUnknown), Read(std::nullopt, 2, 3), Read("a", 4, 5)},
      {Write("a", 0, 1, Outcome::kUnknown), Read(std::nullopt, 2, 3), Read(std::nullopt, 4, 5)},
      {Cas("x", "a", Outcome::kUnknown, 0, 1), Write("x", 2, 3), Read("a", 4, 5)},
  };
  for (size_t i = 0; i < histories.size(); ++i) EXPECT_TRUE(IsLinearizable(std::nullopt, histories[i])) << i;
}

TEST(LinearizabilityTest, RefusesWhatCannot) {
  const std::vector<std::vector<RegisterOp>> histories = {
      {Read("a", 0, 1)},
      // A lost write.
      {Write("a", 0, 1), Read(std::nullopt, 2, 3)},
      // A stale read after a new one.
      {Write("a", 0, 10), Read("a", 1, 2), Read(std::nullopt, 3, 4)},
      // Two winners of one comparison.
      {Cas(std::nullopt, "a", Outcome::kOk, 0, 9), Cas(std::nullopt, "b", Outcome::kOk, 0, 9)},
      // A conflict without another operation.
      {Cas(std::nullopt, "a", Outcome::kConflict, 0, 9)},
      // A lost update: both compared "a".
      {Write("a", 0, 1), Cas("a", "b", Outcome::kOk, 2, 5), Cas("a", "c", Outcome::kOk, 3, 6), Read("c", 7, 8)},
      // A refused one took effect.
      {Write("a", 0, 1), Cas("b", "c", Outcome::kConflict, 2, 3), Read("c", 4, 5)},
      // An unknown write that comes, goes, and comes again.
      {Write("a", 0, 1, Outcome::kUnknown), Read("a", 2, 3), Read(std::nullopt, 4, 5), Read("a", 6, 7)},
  };
  for (size_t i = 0; i < histories.size(); ++i) EXPECT_FALSE(IsLinearizable(std::nullopt, histories[i])) << i;
}

TEST(LinearizabilityTest, ALongHistoryIsFast) {
  std::vector<RegisterOp> history;
  for (int i = 0; i < 400; ++i) {
    const std::string value = std::to_string(i);
    history.push_back(Write(value, 10 * i, 10 * i + 14));  // overlaps the next
    history.push_back(Read(value, 10 * i + 5, 10 * i + 9));
  }
  EXPECT_TRUE(IsLinearizable(std::nullopt, history));
  history.push_back(Read("17", 5000, 5001));
  EXPECT_FALSE(IsLinearizable(std::nullopt, history));
}

}  // namespace
}  // namespace posthouse::store
