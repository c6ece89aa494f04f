// Rows: commits, reads, pages, limits, a full disk, restarts. One caller at a time.
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/common/store/conformance/engine.h"

namespace posthouse::store {
namespace {

using absl::StatusCode;

TEST_P(StoreConformanceTest, ACommittedRowIsRead) {
  EXPECT_EQ(Get("k"), "");
  ASSERT_TRUE(Commit({}, {Set("k", "v"), Set("l", std::string("\0\xff", 2))}).ok());
  EXPECT_EQ(Get("k"), "v");
  EXPECT_EQ(Get("l"), std::string("\0\xff", 2));
  ASSERT_TRUE(Commit({}, {Set("k", "w"), Remove("l"), Remove("never there")}).ok());
  EXPECT_EQ(Get("k"), "w");
  EXPECT_EQ(Get("l"), "");
}

TEST_P(StoreConformanceTest, PreconditionsDecideTheWholeCommit) {
  ASSERT_TRUE(Commit({Absent("k")}, {Set("k", "1")}).ok());
  const struct {
    std::vector<Precondition> preconditions;
    StatusCode code;
  } kCases[] = {
      {{Absent("k")}, StatusCode::kAborted},
      {{Is("k", "2")}, StatusCode::kAborted},
      {{Is("k", "")}, StatusCode::kInvalidArgument},
      {{Is("absent", "1")}, StatusCode::kAborted},
      {{Is("k", "1"), Is("k", "2")}, StatusCode::kAborted},
      {{Is("k", "1"), Absent("k2"), Is("absent", "x")}, StatusCode::kAborted},
      {{Is("k", "11")}, StatusCode::kAborted},
      {{Is("k", "1"), Absent("k2"), Is("k", "1")}, StatusCode::kOk},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(Commit(c.preconditions, {Set("written", "x"), Remove("gone")}).code(), c.code);
    EXPECT_EQ(Get("written"), c.code == StatusCode::kOk ? "x" : "");
  }
  // Nothing to change: a check.
  EXPECT_TRUE(Commit({Is("k", "1")}, {}).ok());
  EXPECT_EQ(Commit({Is("k", "2")}, {}).code(), StatusCode::kAborted);
  // Preconditions on removed rows.
  ASSERT_TRUE(Commit({Is("k", "1")}, {Remove("k")}).ok());
  EXPECT_EQ(Commit({Is("k", "1")}, {Set("k", "3")}).code(), StatusCode::kAborted);
  EXPECT_TRUE(Commit({Absent("k")}, {Set("k", "3")}).ok());
}

TEST_P(StoreConformanceTest, PartitionsAndTenantsAreSeparate) {
  const Partition partitions[] = {{"", "p"}, {"t", "p"}, {"t", "p "}, {"t", "pp"}, {"tp", "p"}, {"t", "q"}};
  int n = 0;
  for (const Partition& p : partitions) ASSERT_TRUE(CommitTo(p, {Absent("k")}, {Set("k", absl::StrCat(n++))}).ok());
  n = 0;
  for (const Partition& p : partitions) {
    EXPECT_EQ(PageOf(p, "", "", 10), absl::StrCat("k=", n, " "));
    EXPECT_EQ(GetFrom(p, "k"), absl::StrCat(n++));
  }
  EXPECT_EQ(GetFrom({"u", "p"}, "k"), "");
}

TEST_P(StoreConformanceTest, PagesAreAscendingFromAfterAPointWithinAPrefix) {
  ASSERT_TRUE(CommitTo({"t", "o"}, {}, {Set("zz", "other")}).ok());
  ASSERT_TRUE(CommitTo({"t", "q"}, {}, {Set("a", "other")}).ok());
  ASSERT_TRUE(Commit({}, {Set("a", "1"), Set("b", "2"), Set("b1", "3"), Set("b2", "4"), Set("c", "5"), Set("\xff", "6"),
                          Set("\xff\xff", "7")})
                  .ok());
  const struct {
    std::string prefix, after;
    size_t limit;
    std::string page;
  } kCases[] = {
      {"", "", 100, "a=1 b=2 b1=3 b2=4 c=5 \xff=6 \xff\xff=7 "},
      {"", "", 7, "a=1 b=2 b1=3 b2=4 c=5 \xff=6 \xff\xff=7 "},
      {"", "", 6, "a=1 b=2 b1=3 b2=4 c=5 \xff=6 +"},
      {"", "", 1, "a=1 +"},
      {"", "", 0, ""},
      {"b", "", 10, "b=2 b1=3 b2=4 "},
      {"b", "", 2, "b=2 b1=3 +"},
      {"b", "", 3, "b=2 b1=3 b2=4 "},
      {"b", "b", 10, "b1=3 b2=4 "},
      {"b", "b1", 10, "b2=4 "},
      {"b", "b15", 10, "b2=4 "},
      {"b", "b2", 10, ""},
      {"b", "a", 10, "b=2 b1=3 b2=4 "},
      {"b", "c", 10, ""},
      {"", "c", 10, "\xff=6 \xff\xff=7 "},
      {"\xff", "", 10, "\xff=6 \xff\xff=7 "},
      {"\xff", "\xff", 10, "\xff\xff=7 "},
      {"\xff\xff\xff", "", 10, ""},
      {"", "\xff\xff", 10, ""},
      {"nothing", "", 10, ""},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(Page(c.prefix, c.after, c.limit), c.page) << "prefix " << c.prefix << " after " << c.after;
  }
  EXPECT_EQ(PageOf({"t", "none"}, "", "", 10), "");
}

TEST_P(StoreConformanceTest, WalkingByPagesSeesEveryRowOnce) {
  constexpr int kRows = 2500;
  for (int i = 0; i < kRows; i += 500) {
    std::vector<Mutation> rows;
    for (int j = i; j < i + 500; ++j) rows.push_back(Set(absl::StrCat("r", 10000 + j), absl::StrCat(j)));
    ASSERT_TRUE(Commit({}, std::move(rows)).ok());
  }
  for (const size_t limit : {size_t{7}, size_t{500}, kMaxPageRows}) {
    int next = 0;
    std::string after;
    bool more = true;
    while (more) {
      const absl::StatusOr<ReadResult> page = Read({partition_, {}, "r", after, limit});
      ASSERT_TRUE(page.ok()) << page.status();
      for (const Row& row : page->page) ASSERT_EQ(row.value, absl::StrCat(next++));
      more = page->more;
      ASSERT_EQ(more, next < kRows);
      after = page->page.back().key;
    }
    EXPECT_EQ(next, kRows);
  }
}

TEST_P(StoreConformanceTest, KeysAreAnsweredInTheOrderAsked) {
  ASSERT_TRUE(Commit({}, {Set("a", "1"), Set("b", "2")}).ok());
  const absl::StatusOr<ReadResult> result = Read({partition_, {"b", "x", "a", "b"}, "a", "", 5});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->values, (std::vector<std::optional<std::string>>{"2", std::nullopt, "1", "2"}));
  EXPECT_EQ(result->page, (std::vector<Row>{{"a", "1"}}));
  EXPECT_FALSE(result->more);
}

TEST_P(StoreConformanceTest, LimitsAreTheLastThatIsAccepted) {
  const std::string long_key(kMaxKeyBytes, 'k');
  const std::string row_value(kMaxRowBytes - 1, 'v');
  EXPECT_TRUE(Commit({}, {Set(long_key, std::string(kMaxRowBytes - kMaxKeyBytes, 'v'))}).ok());
  EXPECT_TRUE(Commit({}, {Set("k", row_value)}).ok());
  EXPECT_EQ(Get("k"), row_value);
  std::vector<Mutation> many;
  for (size_t i = 0; i < kMaxMutations; ++i) many.push_back(Set(absl::StrCat("m", i), "v"));
  EXPECT_TRUE(Commit({}, many).ok());
  std::vector<Mutation> large;
  for (size_t i = 0; i < kMaxCommitBytes / kMaxRowBytes; ++i) {
    large.push_back(Set(std::string(1, static_cast<char>('A' + i % 64)), row_value));
  }
  EXPECT_TRUE(Commit({}, large).ok());

  const auto refused = [&](std::vector<Precondition> preconditions, std::vector<Mutation> mutations) {
    return Commit(std::move(preconditions), std::move(mutations)).code() == StatusCode::kInvalidArgument;
  };
  EXPECT_TRUE(refused({}, {Set(long_key + "k", "v")}));
  EXPECT_TRUE(refused({}, {Set("", "v")}));
  EXPECT_TRUE(refused({}, {Remove("")}));
  EXPECT_TRUE(refused({}, {Set("k", "")}));
  EXPECT_TRUE(refused({}, {Set("k", row_value + "v")}));
  EXPECT_TRUE(refused({}, {Set("k", "1"), Set("k", "2")}));
  EXPECT_TRUE(refused({}, {Set("k", "1"), Remove("k")}));
  EXPECT_TRUE(refused({Absent("")}, {Set("k", "2")}));
  many.push_back(Set("one more", "v"));
  EXPECT_TRUE(refused({}, many));
  std::swap(many.back(), many.front());
  many.back() = Set("m1", "twice");
  many.pop_back();
  many.back() = Set("m1", "twice");
  EXPECT_TRUE(refused({}, many));
  large.push_back(Set("!", "v"));
  EXPECT_TRUE(refused({}, large));
  EXPECT_EQ(Get("!"), "");
}

TEST_P(StoreConformanceTest, RequestsOverTheContractAreRefused) {
  const auto code = [&](ReadRequest request) { return Read(std::move(request)).status().code(); };
  EXPECT_EQ(code({partition_, std::vector<std::string>(kMaxReadKeys, "k"), "", "", kMaxPageRows}), StatusCode::kOk);
  EXPECT_EQ(code({partition_, std::vector<std::string>(kMaxReadKeys + 1, "k")}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({partition_, {}, "", "", kMaxPageRows + 1}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({partition_, {""}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"t", ""}, {"k"}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"t", std::string("a\0b", 3)}, {"k"}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{std::string("a\0b", 3), "p"}, {"k"}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(CommitTo({"t", "a\nb"}, {}, {Set("k", "v")}).code(), StatusCode::kInvalidArgument);
}

TEST_P(StoreConformanceTest, CommitAllHasAResultForEach) {
  ASSERT_TRUE(Commit({}, {Set("k", "1")}).ok());
  std::vector<CommitRequest> requests;
  requests.push_back({{"t", "a"}, {}, {Set("k", "a")}});
  requests.push_back({partition_, {Absent("k")}, {Set("no", "x")}});
  requests.push_back({{"t", "b"}, {}, {Set("", "b")}});
  requests.push_back({{"t", "c"}, {Absent("k")}, {Set("k", "c")}});
  const std::vector<absl::Status> results = SyncWait(store().CommitAll(std::move(requests)));
  ASSERT_EQ(results.size(), 4u);
  EXPECT_TRUE(results[0].ok());
  EXPECT_EQ(results[1].code(), StatusCode::kAborted);
  EXPECT_EQ(results[2].code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(results[3].ok());
  EXPECT_EQ(GetFrom({"t", "a"}, "k"), "a");
  EXPECT_EQ(GetFrom({"t", "c"}, "k"), "c");
  EXPECT_EQ(Get("no"), "");
  EXPECT_TRUE(SyncWait(store().CommitAll({})).empty());
}

TEST_P(StoreConformanceTest, DropRemovesOnePartition) {
  for (const char* id : {"mb/1", "mb/10", "mb/2", "q/0"}) {
    ASSERT_TRUE(CommitTo({"t", id}, {}, {Set("k", id), Set("\xff\xff", "v")}).ok());
  }
  ASSERT_TRUE(SyncWait(store().Drop({"t", "mb/1"})).ok());
  ASSERT_TRUE(SyncWait(store().Drop({"t", "never there"})).ok());
  EXPECT_EQ(PageOf({"t", "mb/1"}, "", "", 10), "");
  EXPECT_EQ(GetFrom({"t", "mb/10"}, "k"), "mb/10");
  // A guard after the drop sees it, and the partition can be used again.
  EXPECT_EQ(CommitTo({"t", "mb/1"}, {Is("k", "mb/1")}, {Set("x", "y")}).code(), StatusCode::kAborted);
  EXPECT_TRUE(CommitTo({"t", "mb/1"}, {Absent("k")}, {Set("k", "again")}).ok());
  EXPECT_EQ(PageOf({"t", "mb/1"}, "", "", 10), "k=again ");
}

TEST_P(StoreConformanceTest, ListNamesPartitionsWithRows) {
  const auto list = [&](const std::string& prefix, const std::string& after, size_t limit) {
    const absl::StatusOr<std::vector<Partition>> found = SyncWait(store().List("t", prefix, after, limit));
    if (!found.ok()) return found.status().ToString();
    std::string text;
    for (const Partition& p : *found) text += p.id + " ";
    return text;
  };
  EXPECT_EQ(list("", "", 10), "");
  ASSERT_TRUE(CommitTo({"s", "mb/0"}, {}, {Set("k", "v")}).ok());
  ASSERT_TRUE(CommitTo({"u", "mb/9"}, {}, {Set("k", "v")}).ok());
  for (const char* id : {"acct/1", "mb/1", "mb/10", "mb/2", "q/0"}) {
    std::vector<Mutation> rows;
    for (int i = 0; i < 20; ++i) rows.push_back(Set(absl::StrCat("k", i), "v"));
    ASSERT_TRUE(CommitTo({"t", id}, {}, std::move(rows)).ok());
  }
  ASSERT_TRUE(CommitTo({"t", "emptied"}, {}, {Set("k", "v")}).ok());
  ASSERT_TRUE(CommitTo({"t", "emptied"}, {}, {Remove("k")}).ok());
  EXPECT_EQ(list("", "", 10), "acct/1 mb/1 mb/10 mb/2 q/0 ");
  EXPECT_EQ(list("mb/", "", 10), "mb/1 mb/10 mb/2 ");
  EXPECT_EQ(list("mb/", "", 2), "mb/1 mb/10 ");
  EXPECT_EQ(list("mb/", "mb/1", 2), "mb/10 mb/2 ");
  EXPECT_EQ(list("mb/", "mb/2", 2), "");
  EXPECT_EQ(list("mb/", "zz", 2), "");
  EXPECT_EQ(list("", "mb/2", 9), "q/0 ");
  EXPECT_EQ(SyncWait(store().List("t", "", "", 0)).status().code(), StatusCode::kInvalidArgument);
}

// A decision that was made before a Drop, and comes late, brings nothing back.
TEST_P(StoreConformanceTest, APreconditionOnAValueNeverCreatesAPartition) {
  const auto exists = [&] { return !SyncWait(store().List("t", partition_.id, "", 10))->empty(); };
  const std::vector<std::vector<Precondition>> kCases = {
      {Is("head", "1")}, {Is("head", "1"), Absent("other")}, {Absent("other"), Is("head", "1")}};
  for (const bool dropped : {false, true}) {
    if (dropped) {
      ASSERT_TRUE(Commit({Absent("head")}, {Set("head", "1")}).ok());
      ASSERT_TRUE(exists());
      ASSERT_TRUE(SyncWait(store().Drop(partition_)).ok());
    }
    for (const auto& preconditions : kCases) {
      EXPECT_EQ(Commit(preconditions, {Set("head", "2"), Set("row", "x")}).code(), StatusCode::kAborted);
      EXPECT_EQ(Commit(preconditions, {}).code(), StatusCode::kAborted);
    }
    EXPECT_FALSE(exists());
  }
}

TEST_P(StoreConformanceTest, AStoreIsHealthyAlsoWhenItIsFull) {
  EXPECT_TRUE(store().Health().ok());
  engine_->SetFull(true);
  EXPECT_TRUE(store().Health().ok());
}

TEST_P(StoreConformanceTest, ABodyInARowFitsIntoARow) { EXPECT_LT(store().Limits().max_row_body_bytes, kMaxRowBytes); }

TEST_P(StoreConformanceTest, AFullDiskRefusesRowsAndTakesRemovals) {
  ASSERT_TRUE(Commit({}, {Set("a", "1"), Set("b", "2")}).ok());
  ASSERT_TRUE(PutBlob("blob", "body").ok());
  EXPECT_FALSE(SyncWait(store().Capacity())->full);
  engine_->SetFull(true);
  EXPECT_TRUE(SyncWait(store().Capacity())->full);
  EXPECT_EQ(Commit({}, {Set("c", "3")}).code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(Commit({Is("a", "1")}, {Remove("a"), Set("c", "3")}).code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(PutBlob("blob2", "body").code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(Page("", "", 10), "a=1 b=2 ");
  EXPECT_TRUE(Commit({Is("a", "1")}, {Remove("a")}).ok());
  EXPECT_TRUE(Commit({Is("b", "2")}, {}).ok());
  CommitRequest reserve{.partition = {"t", "q"}, .use_reserve = true};
  reserve.mutations = {Remove("b"), Set("b2", "2")};
  EXPECT_TRUE(SyncWait(store().Commit(reserve)).ok());
  reserve.mutations = {Remove("b2"), Set("b", "2")};
  EXPECT_TRUE(SyncWait(store().Commit(reserve)).ok());
  EXPECT_TRUE(SyncWait(blobs().Delete("t", "blob")).ok());
  EXPECT_TRUE(SyncWait(store().Drop({"t", "q"})).ok());
  EXPECT_EQ(Page("", "", 10), "b=2 ");
  engine_->SetFull(false);  // and goes on without a restart
  EXPECT_TRUE(Commit({}, {Set("c", "3")}).ok());
  EXPECT_TRUE(PutBlob("blob2", "body").ok());
  EXPECT_EQ(Page("", "", 10), "b=2 c=3 ");
  EXPECT_EQ(ListBlobs(), "blob2");
}

TEST_P(StoreConformanceTest, CommittedRowsOutliveACrash) {
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 20; ++i) {
      ASSERT_TRUE(
          Commit({}, {Set(absl::StrCat("k", round, "/", i), absl::StrCat(i)), Set("last", absl::StrCat(i))}).ok());
    }
    ASSERT_TRUE(Commit({Is("last", "19")}, {Remove(absl::StrCat("k", round, "/0"))}).ok());
    engine_->CrashAndReopen();
    EXPECT_EQ(Get("last"), "19");
    for (int r = 0; r <= round; ++r) {
      EXPECT_EQ(Get(absl::StrCat("k", r, "/0")), "");
      for (int i = 1; i < 20; ++i) EXPECT_EQ(Get(absl::StrCat("k", r, "/", i)), absl::StrCat(i));
    }
    // Guards hold across the restart.
    EXPECT_EQ(Commit({Is("last", "18")}, {Set("x", "y")}).code(), StatusCode::kAborted);
    EXPECT_TRUE(Commit({Is("last", "19")}, {Set("last", "again")}).ok());
  }
}

TEST_P(StoreConformanceTest, ADropOutlivesACrash) {
  ASSERT_TRUE(Commit({}, {Set("k", "v")}).ok());
  ASSERT_TRUE(SyncWait(store().Drop(partition_)).ok());
  engine_->CrashAndReopen();
  EXPECT_EQ(Page("", "", 10), "");
}

}  // namespace
}  // namespace posthouse::store
