// Unknown outcomes: deadlines, lost answers, commits that land late, two processes.
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/common/store/conformance/engine.h"
#include "services/common/testing/wait.h"

namespace posthouse::store {
namespace {

using absl::StatusCode;

TEST_P(StoreConformanceTest, TwoProcessesSeeEachOthersCommits) {
  for (int i = 0; i < 6; ++i) {
    CommitRequest request{partition_, {}, {Set("head", absl::StrCat(i))}};
    request.preconditions.push_back(i == 0 ? Absent("head") : Is("head", absl::StrCat(i - 1)));
    ASSERT_TRUE(SyncWait(StoreOf(i).Commit(request)).ok());
    EXPECT_EQ(SyncWait(StoreOf(i + 1).Commit(request)).code(), StatusCode::kAborted);
    EXPECT_EQ(SyncWait(StoreOf(i + 1).Read({partition_, {"head"}}))->values[0], absl::StrCat(i));
  }
}

TEST_P(StoreConformanceTest, ADeadlineEndsTheWaitAndNotTheCommit) {
  ASSERT_TRUE(Commit({}, {Set("head", "1")}).ok());
  CommitRequest request{partition_, {Is("head", "1")}, {Set("head", "2"), Set("twin", "2")}};
  engine_->SetStalled(true);
  request.deadline = absl::Now() + absl::Milliseconds(20);
  EXPECT_EQ(SyncWait(store().Commit(request)).code(), StatusCode::kDeadlineExceeded);
  std::vector<CommitRequest> two;
  two.push_back({{"t", "a"}, {Absent("k")}, {Set("k", "v")}});
  two.push_back({{"t", "b"}, {Absent("k")}, {Set("k", "v")}});
  two[1].deadline = absl::Now() + absl::Milliseconds(20);
  for (const absl::Status& status : SyncWait(store().CommitAll(std::move(two)))) {
    EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded);
  }
  engine_->SetStalled(false);
  // The outcome is decided by the next commit that compares the same row.
  const absl::Status rival = Commit({Is("head", "1")}, {Set("head", "3")});
  engine_->SettleUnknownCommits();
  if (rival.ok()) {
    EXPECT_EQ(Get("head"), "3");
    EXPECT_EQ(Get("twin"), "");
  } else {
    EXPECT_EQ(rival.code(), StatusCode::kAborted);
    EXPECT_EQ(Get("head"), "2");
    EXPECT_EQ(Get("twin"), "2");
  }
}

TEST_P(StoreConformanceTest, ADeadlineInThePastIsExceededAndOneInTheFutureIsNot) {
  CommitRequest request{partition_, {}, {Set("k", "v")}};
  request.deadline = absl::Now() + absl::Hours(1);
  EXPECT_TRUE(SyncWait(store().Commit(request)).ok());
  ReadRequest read{.partition = partition_, .keys = {"k"}};
  read.deadline = absl::Now() + absl::Hours(1);
  EXPECT_EQ(Read(read)->values[0], "v");
  read.deadline = request.deadline = absl::Now() - absl::Seconds(1);
  EXPECT_EQ(Read(read).status().code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(SyncWait(store().Commit(request)).code(), StatusCode::kDeadlineExceeded);
}

// A commit without an answer happens whole or not at all, and once its head has moved on
// by another commit it never happens. The two processes take turns.
TEST_P(StoreConformanceTest, AfterTheHeadMovedAnUnknownCommitNeverHappens) {
  ASSERT_TRUE(Commit({Absent("head")}, {Set("head", "start")}).ok());
  std::string head = "start";
  std::set<std::string> happened;
  int unknown = 0;
  for (int round = 0; round < 40; ++round) {
    Store& client = StoreOf(round);
    const std::string next = absl::StrCat("round", round);
    CommitRequest change{
        partition_, {Is("head", head)}, {Set("head", next), Set("a/" + next, "x"), Set("b/" + next, "x")}};
    engine_->SetAnswersLost(round % 4 != 3);
    absl::Status status = SyncWait(client.Commit(change));
    EXPECT_TRUE(round % 4 == 3 ? status.ok() : absl::IsDeadlineExceeded(status) || absl::IsUnavailable(status))
        << status;
    engine_->SetAnswersLost(false);
    unknown += absl::IsDeadlineExceeded(status) ? 1 : 0;
    if (!status.ok()) {
      // Moves the head, or learns that the change did.
      const std::string moved = absl::StrCat("moved", round);
      CommitRequest bump{partition_, {Is("head", head)}, {Set("head", moved)}};
      // Unavailable: nothing happened, the store recovers from the lost answer by itself.
      EXPECT_TRUE(Eventually([&] {
        status = SyncWait(StoreOf(round + 1).Commit(bump));
        return !absl::IsUnavailable(status);
      }));
      EXPECT_TRUE(status.ok() || absl::IsAborted(status)) << status;
      head = status.ok() ? moved : next;
      if (absl::IsAborted(status)) happened.insert(next);
    } else {
      head = next;
      happened.insert(next);
    }
    absl::StatusOr<ReadResult> read;
    EXPECT_TRUE(Eventually([&] {
      read = SyncWait(client.Read({partition_, {"head"}}));
      return !absl::IsUnavailable(read.status());
    }));
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->values[0], head);
  }
  engine_->SettleUnknownCommits();
  EXPECT_EQ(Get("head"), head);
  EXPECT_GT(unknown, 5);
  engine_->CrashAndReopen();
  std::set<std::string> found;
  const ReadResult logged = *Read({partition_, {}, "a/", "", kMaxPageRows});
  for (const Row& row : logged.page) {
    found.insert(row.key.substr(2));
    EXPECT_EQ(Get("b/" + row.key.substr(2)), "x");
  }
  EXPECT_EQ(found, happened);
}

// Nothing that lands after a Drop brings the partition back.
TEST_P(StoreConformanceTest, AnUnknownCommitDoesNotOutliveADrop) {
  ASSERT_TRUE(Commit({Absent("head")}, {Set("head", "1")}).ok());
  engine_->SetAnswersLost(true);
  for (int i = 0; i < 8; ++i) {
    (void)Commit({Is("head", "1")}, {Set("row", absl::StrCat(i))});
  }
  engine_->SetAnswersLost(false);
  ASSERT_TRUE(Eventually([&] { return SyncWait(store().Drop(partition_)).ok(); }));
  engine_->SettleUnknownCommits();
  EXPECT_EQ(Page("", "", 10), "");
}

}  // namespace
}  // namespace posthouse::store
