// Blobs: streaming, ranges, names, unfinished writers, and what a crash leaves.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "services/common/store/conformance/engine.h"

namespace posthouse::store {
namespace {

using absl::StatusCode;

constexpr size_t kPiece = kMaxBlobPieceBytes;

// Bytes that differ at every offset modulo a prime, so that a shift is seen.
std::string Body(size_t size, int seed = 0) {
  std::string body(size, '\0');
  for (size_t i = 0; i < size; ++i) body[i] = static_cast<char>((i + static_cast<size_t>(seed)) % 251);
  return body;
}

TEST_P(StoreConformanceTest, BlobsOfEverySizeComeBack) {
  const size_t kSizes[] = {0,      1,          4096,       16383,          16384,
                           65536,  65537,      262144,     262145,         kPiece - 1,
                           kPiece, kPiece + 1, 2 * kPiece, 2 * kPiece + 7, 5 * kPiece + 12345};
  for (const size_t size : kSizes) {
    const std::string name = absl::StrCat("b", size);
    ASSERT_TRUE(PutBlob(name, Body(size)).ok()) << size;
    EXPECT_EQ(SyncWait(blobs().Size("t", name)).value_or(99), size);
    EXPECT_TRUE(GetBlob(name) == Body(size)) << size;
  }
  std::vector<std::string> names;
  for (const size_t size : kSizes) names.push_back(absl::StrCat("b", size));
  ASSERT_TRUE(CommitWithBlobs("k", names).ok());
  engine_->CrashAndReopen();
  for (const size_t size : kSizes) {
    const std::string name = absl::StrCat("b", size);
    EXPECT_EQ(SyncWait(blobs().Size("t", name)).value_or(99), size);
    EXPECT_TRUE(GetBlob(name) == Body(size)) << size;
  }
}

TEST_P(StoreConformanceTest, RangesOfBlobs) {
  const struct {
    size_t size;
    uint64_t offset, length;
  } kCases[] = {
      {100, 0, 0},
      {100, 0, 100},
      {100, 0, 101},
      {100, 99, 1},
      {100, 100, 1},
      {100, 101, 5},
      {100, ~uint64_t{0}, 1},
      {0, 0, 10},
      {3 * kPiece + 5, kPiece - 1, 2},
      {3 * kPiece + 5, kPiece, kPiece},
      {3 * kPiece + 5, kPiece - 1, 2 * kPiece},
      {3 * kPiece + 5, 3 * kPiece, 100},
      {3 * kPiece + 5, 3 * kPiece + 4, 1},
      {3 * kPiece + 5, 3 * kPiece + 5, 1},
      {3 * kPiece + 5, 0, 16 * kPiece},
  };
  for (const auto& c : kCases) {
    const std::string name = absl::StrCat("r", c.size);
    const std::string body = Body(c.size);
    const absl::Status put = PutBlob(name, body);
    ASSERT_TRUE(put.ok() || put.code() == StatusCode::kAlreadyExists) << put;
    const std::string expected = c.offset < c.size ? body.substr(c.offset, c.length) : "";
    EXPECT_TRUE(GetBlob(name, c.offset, c.length) == expected) << c.size << " " << c.offset << " " << c.length;
  }
  EXPECT_EQ(SyncWait(blobs().Get("t", "r100", 0, 16 * kPiece + 1)).status().code(), StatusCode::kInvalidArgument);
}

TEST_P(StoreConformanceTest, ABlobIsStreamedInPiecesOfAnySize) {
  const std::string body = Body(3 * kPiece + 777);
  const std::unique_ptr<BlobWriter> writer = blobs().Create("t", "streamed");
  size_t at = 0;
  for (size_t step = 1; at < body.size(); step = step * 3 % 400'000 + 1) {
    ASSERT_TRUE(SyncWait(writer->Append(Bytes(body.substr(at, step)))).ok());
    at += std::min(step, body.size() - at);
    EXPECT_EQ(SyncWait(blobs().Size("t", "streamed")).status().code(), StatusCode::kNotFound);
  }
  ASSERT_TRUE(SyncWait(writer->Finish()).ok());
  EXPECT_TRUE(GetBlob("streamed") == body);
  EXPECT_EQ(SyncWait(writer->Append(absl::Cord("x"))).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(SyncWait(writer->Finish()).code(), StatusCode::kFailedPrecondition);
}

TEST_P(StoreConformanceTest, AbsentBlobs) {
  EXPECT_EQ(SyncWait(blobs().Get("t", "none", 0, 1)).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(SyncWait(blobs().Size("t", "none")).status().code(), StatusCode::kNotFound);
  EXPECT_TRUE(SyncWait(blobs().Delete("t", "none")).ok());
  ASSERT_TRUE(PutBlob("here", "x").ok());
  EXPECT_EQ(SyncWait(blobs().Get("other", "here", 0, 1)).status().code(), StatusCode::kNotFound);
}

TEST_P(StoreConformanceTest, BadBlobNamesAreRefused) {
  for (const std::string& name : {std::string(), std::string("a\0b", 3), std::string("a\n"), std::string(256, 'n')}) {
    EXPECT_EQ(PutBlob(name, "x").code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(SyncWait(blobs().Get("t", name, 0, 1)).status().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(SyncWait(blobs().Delete("t", name)).code(), StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(PutBlob(std::string(255, 'n'), "x").ok());
}

TEST_P(StoreConformanceTest, ANameIsTakenOnce) {
  for (const size_t size : {size_t{10}, 3 * kPiece}) {
    for (const size_t second : {size_t{10}, 300'000ul, 2 * kPiece + 1}) {
      const std::string name = absl::StrCat("n", size, "/", second);
      ASSERT_TRUE(PutBlob(name, Body(size)).ok());
      EXPECT_EQ(PutBlob(name, Body(second, 5)).code(), StatusCode::kAlreadyExists);
      EXPECT_TRUE(GetBlob(name) == Body(size));
      ASSERT_TRUE(CommitWithBlobs("k", {name}).ok());
      EXPECT_EQ(PutBlob(name, Body(second, 5)).code(), StatusCode::kAlreadyExists);
      EXPECT_TRUE(GetBlob(name) == Body(size));
    }
  }
  engine_->CrashAndReopen();
  EXPECT_EQ(PutBlob("n10/10", "x").code(), StatusCode::kAlreadyExists);
}

TEST_P(StoreConformanceTest, ADeletedBlobIsGoneAndItsNameFree) {
  for (const size_t size : {size_t{0}, size_t{100}, 300'000ul, 2 * kPiece + 9}) {
    for (const bool committed : {false, true}) {
      ASSERT_TRUE(PutBlob("b", Body(size)).ok());
      if (committed) ASSERT_TRUE(CommitWithBlobs("k", {"b"}).ok());
      ASSERT_TRUE(SyncWait(blobs().Delete("t", "b")).ok());
      EXPECT_EQ(SyncWait(blobs().Get("t", "b", 0, 1)).status().code(), StatusCode::kNotFound);
      EXPECT_EQ(ListBlobs(), "");
      ASSERT_TRUE(PutBlob("b", "other").ok());
      EXPECT_EQ(GetBlob("b"), "other");
      ASSERT_TRUE(SyncWait(blobs().Delete("t", "b")).ok());
    }
  }
}

TEST_P(StoreConformanceTest, AWalkOverBlobsSeesEachOnce) {
  EXPECT_EQ(ListBlobs(), "");
  ASSERT_TRUE(SyncWait(blobs().Put("s", "a", absl::Cord("x"))).ok());
  ASSERT_TRUE(SyncWait(blobs().Put("u", "z", absl::Cord("x"))).ok());
  for (const char* name : {"d", "a", "ab", "c", "b", "e", "f"}) ASSERT_TRUE(PutBlob(name, "body").ok());
  ASSERT_TRUE(PutBlob("large", Body(2 * kPiece)).ok());
  for (const size_t limit : {size_t{1}, size_t{3}, size_t{7}, size_t{8}, kMaxPageRows}) {
    EXPECT_EQ(ListBlobs(limit), "a ab b c d e f large") << limit;
  }
  const absl::StatusOr<BlobPage> all = SyncWait(blobs().List("t", "", 8));
  ASSERT_TRUE(all.ok());
  for (const BlobInfo& info : all->blobs)
    EXPECT_EQ(info.size_bytes, info.name == "large" ? 2 * kPiece : 4) << info.name;
  EXPECT_EQ(SyncWait(blobs().List("t", "", 0)).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(SyncWait(blobs().List("t", "", kMaxPageRows + 1)).status().code(), StatusCode::kInvalidArgument);
}

TEST_P(StoreConformanceTest, AWalkGoesOnWhenItsBlobsAreDeleted) {
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(PutBlob(absl::StrCat("b", i), "body").ok());
  size_t seen = 0;
  std::string cursor;
  do {
    const absl::StatusOr<BlobPage> page = SyncWait(blobs().List("t", cursor, 3));
    ASSERT_TRUE(page.ok());
    for (const BlobInfo& info : page->blobs) ASSERT_TRUE(SyncWait(blobs().Delete("t", info.name)).ok());
    seen += page->blobs.size();
    cursor = page->next;
  } while (!cursor.empty());
  EXPECT_EQ(seen, 20u);
  EXPECT_EQ(ListBlobs(), "");
}

TEST_P(StoreConformanceTest, AnUnfinishedBlobNeverExisted) {
  for (const size_t size : {size_t{0}, size_t{100}, 4 * kPiece}) {
    {
      const std::unique_ptr<BlobWriter> writer = blobs().Create("t", "b");
      ASSERT_TRUE(SyncWait(writer->Append(Bytes(Body(size)))).ok());
    }
    EXPECT_EQ(SyncWait(blobs().Size("t", "b")).status().code(), StatusCode::kNotFound);
    EXPECT_EQ(ListBlobs(), "");
  }
  ASSERT_TRUE(PutBlob("b", "finished").ok());
  EXPECT_EQ(GetBlob("b"), "finished");
}

TEST_P(StoreConformanceTest, ACrashLeavesBlobsThatACommitNeeded) {
  for (int round = 0; round < 3; ++round) {
    const std::string small = absl::StrCat("small", round), large = absl::StrCat("large", round);
    ASSERT_TRUE(PutBlob(small, Body(5000, round)).ok());
    ASSERT_TRUE(PutBlob(large, Body(3 * kPiece, round)).ok());
    ASSERT_TRUE(CommitWithBlobs("row", {small, large}).ok());
    {
      // Unfinished, though the commit makes its pieces durable. The writer ends before its
      // store does.
      const std::unique_ptr<BlobWriter> writer = blobs().Create("t", "unfinished");
      ASSERT_TRUE(SyncWait(writer->Append(Bytes(Body(3 * kPiece)))).ok());
      ASSERT_TRUE(Commit({}, {Set("after", absl::StrCat(round))}).ok());
    }
    engine_->CrashAndReopen();
    EXPECT_EQ(SyncWait(blobs().Size("t", "unfinished")).status().code(), StatusCode::kNotFound);
    for (int r = 0; r <= round; ++r) {
      EXPECT_TRUE(GetBlob(absl::StrCat("small", r)) == Body(5000, r));
      EXPECT_TRUE(GetBlob(absl::StrCat("large", r)) == Body(3 * kPiece, r));
    }
  }
  EXPECT_EQ(ListBlobs(), "large0 large1 large2 small0 small1 small2");
}

TEST_P(StoreConformanceTest, ABlobIsWholeOrAbsentAfterACrashWithoutACommit) {
  for (int i = 0; i < 6; ++i) {
    ASSERT_TRUE(PutBlob(absl::StrCat("b", i), Body(i % 2 == 0 ? 1000 : 2 * kPiece + 5, i)).ok());
  }
  engine_->CrashAndReopen();
  for (int i = 0; i < 6; ++i) {
    const std::string name = absl::StrCat("b", i);
    if (SyncWait(blobs().Size("t", name)).status().code() == StatusCode::kNotFound) continue;
    EXPECT_TRUE(GetBlob(name) == Body(i % 2 == 0 ? 1000 : 2 * kPiece + 5, i)) << name;
  }
}

}  // namespace
}  // namespace posthouse::store
