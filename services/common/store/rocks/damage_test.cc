// One flipped bit in a table file: everything but the rows of that block goes on, the
// lost rows are named, and salvage keeps the rest.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/log/log.h"
#include "services/common/metrics/metrics.h"
#include "services/common/store/read_past_damage.h"
#include "services/common/store/rocks/rocks_store.h"
#include "services/common/store/rocks/store_check.h"

namespace posthouse::store {
namespace {

const Partition kDamaged{"t", "mb/a"};
const Partition kOther{"t", "mb/b"};
constexpr int kRows = 200;

std::string Key(int i) { return absl::StrFormat("m/%04d", i); }

class DamageTest : public testing::Test {
 protected:
  void SetUp() override {
    log::SetLevel(log::Level::kError);
    static int number = 0;
    options_.path = absl::StrCat(std::getenv("TEST_TMPDIR"), "/damage", number++);
    options_.name = "test";
    options_.min_free_bytes = 0;
    options_.block_cache_bytes = 0;
    options_.reopen_interval = absl::Milliseconds(1);
    Open();
    for (int i = 0; i < kRows; ++i) {
      ASSERT_TRUE(Set(kDamaged, Key(i)).ok());
      ASSERT_TRUE(Set(kOther, Key(i)).ok());
    }
    ASSERT_TRUE(store_->Flush().ok());
    store_.reset();
    FlipABit();
  }
  void Open() {
    absl::StatusOr<std::unique_ptr<RocksStore>> store = RocksStore::Open(options_, registry_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  // In the first block of rows, which are those of kDamaged.
  void FlipABit() {
    std::filesystem::path table;
    for (const auto& entry : std::filesystem::directory_iterator(options_.path)) {
      if (entry.path().extension() != ".sst") continue;
      if (table.empty() || entry.file_size() > std::filesystem::file_size(table)) table = entry.path();
    }
    ASSERT_FALSE(table.empty());
    std::fstream file(table, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(2000);
    const char byte = static_cast<char>(file.get());
    file.seekp(2000);
    file.put(static_cast<char>(byte ^ 0x10));
  }
  absl::Status Set(const Partition& partition, const std::string& key) {
    std::string value(500, 0);
    for (char& byte : value) byte = static_cast<char>(random_());
    return SyncWait(store_->Commit({partition, {}, {{key, value}}}));
  }
  absl::StatusOr<bool> Has(const Partition& partition, const std::string& key) {
    const absl::StatusOr<ReadResult> read = SyncWait(store_->Read({partition, {key}}));
    if (!read.ok()) return read.status();
    return read->values[0].has_value();
  }
  double Metric(const std::string& name) {
    const std::string text = registry_.Serialize();
    const size_t at = text.find("\n" + name + "{store=\"test\"} ");
    return at == std::string::npos ? -1 : std::atof(text.c_str() + at + name.size() + 16);
  }

  std::mt19937 random_{5};
  metrics::Registry registry_;
  RocksOptions options_;
  std::unique_ptr<RocksStore> store_;
};

TEST_F(DamageTest, OtherFoldersGoOnReadingAndWriting) {
  Open();
  // Compactions meet the block, again and again, unless nobody lets them.
  for (int i = 0; i < 12; ++i) {
    for (int j = 0; j < 5; ++j) {
      const absl::Status committed = Set(kOther, absl::StrCat("new", i, "-", j));
      ASSERT_TRUE(committed.ok()) << committed;
    }
    ASSERT_TRUE(store_->Flush().ok());
  }
  const absl::Time limit = absl::Now() + absl::Minutes(1);
  while (Metric("posthouse_store_damaged_places") < 1 && absl::Now() < limit) absl::SleepFor(absl::Milliseconds(5));
  EXPECT_GE(Metric("posthouse_store_damaged_places"), 1);
  ASSERT_TRUE(Set(kOther, "after the compaction").ok());
  EXPECT_TRUE(store_->Health().ok()) << store_->Health();
  EXPECT_EQ(Metric("posthouse_store_background_errors_total"), 0);
  for (int i = 0; i < kRows; ++i) EXPECT_TRUE(Has(kOther, Key(i)).value_or(false)) << i;
  EXPECT_TRUE(absl::IsDataLoss(Has(kDamaged, Key(1)).status()));
  EXPECT_TRUE(Has(kDamaged, Key(kRows - 1)).value_or(false));
  // A scan of the damaged folder misses what cannot be read, and no other row.
  std::vector<std::string> scanned, readable;
  int ranges = 0;
  ReadRequest request{kDamaged, {}, "", "", 50};
  for (bool more = true; more;) {
    const absl::StatusOr<ReadResult> page =
        SyncWait(ReadPastDamage(*store_, request, [&](const LostKeys&) { ++ranges; }));
    ASSERT_TRUE(page.ok()) << page.status();
    for (const Row& row : page->page) scanned.push_back(row.key);
    more = page->more && !page->page.empty();
    if (more) request.after = scanned.back();
  }
  for (int i = 0; i < kRows; ++i) {
    if (Has(kDamaged, Key(i)).ok()) readable.push_back(Key(i));
  }
  EXPECT_EQ(scanned, readable);
  EXPECT_EQ(ranges, 1);
  EXPECT_TRUE(Set(kDamaged, Key(kRows)).ok());  // also in the folder itself
}

TEST_F(DamageTest, AMissingBlobFileCostsItsBodiesAndIsNamed) {
  Open();
  std::string body(100'000, 0);
  for (char& byte : body) byte = static_cast<char>(random_());
  ASSERT_TRUE(SyncWait(store_->blobs().Put("t", "large", absl::Cord(absl::string_view(body)))).ok());
  ASSERT_TRUE(SyncWait(store_->blobs().Put("t", "small", absl::Cord("small"))).ok());
  ASSERT_TRUE(Set(kOther, "behind them").ok());  // writes them, too
  ASSERT_TRUE(store_->Flush().ok());
  store_.reset();
  int removed = 0;
  for (const auto& entry : std::filesystem::directory_iterator(options_.path)) {
    if (entry.path().extension() == ".blob") removed += std::filesystem::remove(entry.path()) ? 1 : 0;
  }
  ASSERT_GE(removed, 1);
  Open();
  const auto large = SyncWait(store_->blobs().Get("t", "large", 0, body.size()));
  EXPECT_TRUE(absl::IsDataLoss(large.status())) << large.status();
  EXPECT_TRUE(absl::StrContains(large.status().message(), ".blob")) << large.status();
  EXPECT_GE(Metric("posthouse_store_damaged_places"), 1);
  const auto small = SyncWait(store_->blobs().Get("t", "small", 0, 100));
  EXPECT_TRUE(small.ok() && *small == "small") << small.status();
  EXPECT_TRUE(Set(kOther, "new").ok());
  store_.reset();
  const absl::StatusOr<StoreCheck> check = CheckStore(options_.path);
  ASSERT_TRUE(check.ok()) << check.status();
  EXPECT_EQ(check->lost.size(), 2u);  // the flipped block of rows, and these bodies
}

TEST_F(DamageTest, ACheckAsksAboutEachReadableRow) {
  const absl::StatusOr<StoreCheck> check =
      CheckStore(options_.path, [](const Partition& partition, absl::string_view key, absl::string_view value) {
        EXPECT_EQ(value.size(), 500u);
        return partition == kOther && key == Key(7) ? absl::DataLossError("does not parse") : absl::OkStatus();
      });
  ASSERT_TRUE(check.ok()) << check.status();
  ASSERT_EQ(check->malformed.size(), 1u);
  EXPECT_EQ(check->malformed[0].what, "row m/0007 of mb/b");
  EXPECT_EQ(check->malformed[0].error, "does not parse");
}

TEST_F(DamageTest, TheLostRowsAreNamedAndTheOthersSalvaged) {
  const absl::StatusOr<StoreCheck> check = CheckStore(options_.path);
  ASSERT_TRUE(check.ok()) << check.status();
  ASSERT_EQ(check->lost.size(), 1u);
  EXPECT_TRUE(absl::StrContains(check->lost[0].what, "mb/a")) << check->lost[0].what;
  EXPECT_TRUE(absl::StrContains(check->lost[0].error, ".sst")) << check->lost[0].error;
  Open();
  EXPECT_TRUE(absl::IsFailedPrecondition(SalvageStore(options_.path).status()));  // it is in use
  EXPECT_EQ(store_->Incarnation(), 0u);
  std::vector<bool> readable;
  for (int i = 0; i < kRows; ++i) readable.push_back(Has(kDamaged, Key(i)).ok());
  store_.reset();
  const absl::StatusOr<StoreCheck> salvaged = SalvageStore(options_.path + "/");
  ASSERT_TRUE(salvaged.ok()) << salvaged.status();
  EXPECT_EQ(salvaged->lost.size(), 1u);
  EXPECT_EQ(salvaged->rows, check->rows);
  EXPECT_TRUE(std::filesystem::exists(salvaged->kept_at + "/CURRENT"));
  // Whoever salvages, the service can open the files, and nobody else.
  EXPECT_EQ(std::filesystem::status(options_.path).permissions(),
            std::filesystem::status(salvaged->kept_at).permissions());
  for (const auto& entry : std::filesystem::directory_iterator(options_.path)) {
    EXPECT_EQ(entry.status().permissions(), std::filesystem::perms::owner_read | std::filesystem::perms::owner_write)
        << entry.path();
  }
  const absl::StatusOr<StoreCheck> again = CheckStore(options_.path);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->lost.empty());
  Open();
  EXPECT_EQ(store_->Incarnation(), 1u);  // no number is given out again
  int lost = 0;
  for (int i = 0; i < kRows; ++i) {
    EXPECT_TRUE(Has(kOther, Key(i)).value_or(false)) << i;
    // Every row that could be read is there, and the block's rows are not.
    EXPECT_EQ(Has(kDamaged, Key(i)).value_or(false), readable[static_cast<size_t>(i)]) << i;
    lost += readable[static_cast<size_t>(i)] ? 0 : 1;
  }
  EXPECT_GT(lost, 0);
  EXPECT_LT(lost, 40);  // a block of 8 KiB
  EXPECT_TRUE(SalvageStore("/nowhere").status().code() == absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace posthouse::store
