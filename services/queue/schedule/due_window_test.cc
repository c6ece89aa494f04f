#include "services/queue/schedule/due_window.h"

#include <gtest/gtest.h>

#include <map>

#include "absl/strings/str_cat.h"
#include "services/queue/spool/key_schema.h"
#include "services/queue/spool/queue_id.h"

namespace posthouse::queue {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1700000000);

// The rows on disk, and pages of them.
class DueWindowTest : public ::testing::Test {
 protected:
  DueEntry Entry(int second) {
    return {kStart + absl::Seconds(second), *QueueId::FromBytes(absl::StrCat(2000000000000000 + second)),
            Destination::Remote("x.example"), kStart + absl::Hours(1)};
  }
  void OnDisk(int second) { disk_[DueKey(Entry(second).due, Entry(second).queue_id)] = Entry(second); }
  DuePage Page(const std::string& after, size_t limit) {
    DuePage page;
    auto it = disk_.upper_bound(after);
    for (; it != disk_.end() && page.entries.size() < limit; ++it) {
      page.entries.push_back(it->second);
      page.last_key = it->first;
    }
    page.more = it != disk_.end();
    return page;
  }
  void Load(DueWindow& window, absl::Time now, size_t page = 4) {
    for (int i = 0; window.WantsPage(now) && i < 1000; ++i) {
      const std::string after = window.cursor();
      ASSERT_TRUE(window.Loaded(after, Page(after, page)));
    }
  }
  std::vector<int> Seconds(const std::vector<DueEntry>& entries) {
    std::vector<int> seconds;
    for (const DueEntry& e : entries) seconds.push_back(static_cast<int>(absl::ToInt64Seconds(e.due - kStart)));
    return seconds;
  }

  std::map<std::string, DueEntry> disk_;
};

using Ints = std::vector<int>;

TEST_F(DueWindowTest, PopsInOrderOfTime) {
  for (const int s : {30, 10, 20}) OnDisk(s);
  DueWindow window(100);
  Load(window, kStart);
  EXPECT_TRUE(window.complete());
  EXPECT_EQ(window.NextDue(), kStart + absl::Seconds(10));
  EXPECT_EQ(Seconds(window.PopDue(kStart + absl::Seconds(20), 10)), (Ints{10, 20}));
  EXPECT_EQ(window.NextDue(), kStart + absl::Seconds(30));
  EXPECT_EQ(Seconds(window.PopDue(kStart + absl::Seconds(20), 10)), Ints{});
}

TEST_F(DueWindowTest, MemoryIsBoundedAndEverythingComesInTheEnd) {
  for (int s = 0; s < 1000; ++s) OnDisk(s);
  DueWindow window(50);
  Ints popped;
  for (int s = 0; s < 1000; s += 7) {
    const absl::Time now = kStart + absl::Seconds(s);
    Load(window, now);
    EXPECT_LE(window.size(), 50u);
    for (const int got : Seconds(window.PopDue(now, 1000))) popped.push_back(got);
  }
  ASSERT_EQ(popped.size(), 995u);  // the last step was at 994
  for (int s = 0; s < 995; ++s) EXPECT_EQ(popped[static_cast<size_t>(s)], s);
}

TEST_F(DueWindowTest, ANewRowBeyondTheCursorIsLeftToTheDisk) {
  for (int s = 0; s < 100; ++s) OnDisk(s);
  DueWindow window(20);
  Load(window, kStart - absl::Seconds(1));
  ASSERT_FALSE(window.complete());
  const size_t size = window.size();
  OnDisk(500);
  window.Add(Entry(500));
  EXPECT_EQ(window.size(), size);
  window.Add(Entry(-5));  // before it: it must not be skipped
  EXPECT_EQ(window.NextDue(), kStart - absl::Seconds(5));
}

TEST_F(DueWindowTest, AddingToAFullWindowPushesTheLatestBackToTheDisk) {
  DueWindow window(3);
  ASSERT_TRUE(window.Loaded("", {}));
  for (const int s : {1, 2, 3}) {
    OnDisk(s);
    window.Add(Entry(s));
  }
  EXPECT_TRUE(window.complete());
  OnDisk(0);
  window.Add(Entry(0));
  EXPECT_FALSE(window.complete());
  EXPECT_EQ(Seconds(window.PopDue(kStart + absl::Seconds(9), 10)), (Ints{0, 1, 2}));
  Load(window, kStart + absl::Seconds(9));
  EXPECT_EQ(Seconds(window.PopDue(kStart + absl::Seconds(9), 10)), Ints{3});
}

TEST_F(DueWindowTest, APageThatARescanOvertookIsNotTaken) {
  for (int s = 0; s < 10; ++s) OnDisk(s);
  DueWindow window(100);
  ASSERT_TRUE(window.Loaded("", Page("", 4)));
  const std::string after = window.cursor();
  const DuePage late = Page(after, 4);
  window.Rescan();
  EXPECT_FALSE(window.Loaded(after, late));
  Load(window, kStart);
  EXPECT_EQ(window.size(), 10u);
}

TEST_F(DueWindowTest, RescanFindsWhatWasDropped) {
  for (int s = 0; s < 10; ++s) OnDisk(s);
  DueWindow window(100);
  Load(window, kStart);
  EXPECT_EQ(window.PopDue(kStart + absl::Seconds(4), 100).size(), 5u);  // and dropped
  window.Rescan();
  Load(window, kStart);
  EXPECT_EQ(window.PopDue(kStart + absl::Seconds(4), 100).size(), 5u);
}

// A window full of later rows does not stop the scan, and an eviction skips no row that was
// not read.
TEST_F(DueWindowTest, AFullWindowIsRescannedToo) {
  DueWindow window(8);
  ASSERT_TRUE(window.Loaded("", {}));
  for (int s = 0; s < 6; ++s) OnDisk(s);
  for (int s = 100; s < 110; ++s) {
    OnDisk(s);
    window.Add(Entry(s));
  }
  ASSERT_EQ(window.size(), 8u);
  window.Rescan();
  const absl::Time now = kStart + absl::Seconds(10);
  Ints found;
  for (int i = 0; window.WantsPage(now) && i < 100; ++i) {
    const std::string after = window.cursor();
    ASSERT_TRUE(window.Loaded(after, Page(after, 4)));
    window.Add(Entry(109));  // rescheduled meanwhile
    for (const int got : Seconds(window.PopDue(now, 100))) found.push_back(got);
  }
  EXPECT_EQ(found, (Ints{0, 1, 2, 3, 4, 5}));
  EXPECT_LE(window.size(), 8u);
}

TEST_F(DueWindowTest, RemovedEntriesAreNotPopped) {
  OnDisk(1);
  DueWindow window(10);
  Load(window, kStart);
  window.Remove(Entry(1).due, Entry(1).queue_id);
  EXPECT_EQ(window.NextDue(), absl::InfiniteFuture());
}

}  // namespace
}  // namespace posthouse::queue
