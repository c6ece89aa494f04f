// A folder of many messages on RocksDB: what it costs to open, list, fetch, search and change.
// Bounded is the work, in rows read and commits: it must grow with the messages and no faster,
// on any machine. The time that it took is only printed. LARGE_FOLDER_MESSAGES=100000 makes as
// many messages.
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/async/when_all.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/rocks_store.h"
#include "services/common/uid_set/uid_set_proto.h"
#include "services/mailbox/message/body_receiver.h"
#include "services/mailbox/message/fetch.h"
#include "services/mailbox/search/search.h"
#include "services/mailbox/testing/counting_store.h"
#include "services/mailbox/testing/mailbox_fixture.h"

namespace posthouse::mailbox {
namespace {

const uint32_t kMessages = [] {
  uint32_t wanted = 0;
  const char* const set = std::getenv("LARGE_FOLDER_MESSAGES");
  return set != nullptr && absl::SimpleAtoi(set, &wanted) ? wanted : 20'000;
}();

constexpr size_t kAppendGroup = 250;

StoreWork& Work() {
  static auto& work = *new StoreWork;
  return work;
}

std::unique_ptr<store::Store> OpenRocks() {
  static auto& registry = *new metrics::Registry;
  store::RocksOptions options;
  options.path = absl::StrCat(std::getenv("TEST_TMPDIR"), "/large");
  options.name = "large";
  options.min_free_bytes = 0;
  return std::make_unique<CountingStore>(*store::RocksStore::Open(options, registry), Work());
}

double ResidentMiB() {
  std::ifstream statm("/proc/self/statm");
  size_t size = 0;
  size_t resident = 0;
  statm >> size >> resident;
  return static_cast<double>(resident) * 4096 / (1 << 20);
}

class LargeFolderTest : public testing::Test {
 protected:
  LargeFolderTest() {
    log::SetLevel(log::Level::kWarning);
    inbox_ = fixture_.OpenFolder("INBOX");
  }

  static Task<bool> AppendOne(MailboxFixture* fixture, Folder* folder, uint32_t number) {
    BodyReceiver receiver(fixture->deps(), {TenantId("t1")});
    const std::string body = absl::StrCat(
        "From: Ann <ann", number % 100, "@a.example>\r\nTo: bob@b.example\r\nSubject: number ", number,
        "\r\nDate: Tue, 1 Jul 2025 10:00:00 +0200\r\nMessage-ID: <", number, "@a.example>\r\n\r\nHello.\r\n");
    PH_CHECK((co_await receiver.Add(body)).ok());
    const ReceivedMessage taken = *co_await receiver.Finish(body.size());
    NewMessage message;
    message.keywords = {absl::StrCat("$kw", number % 50)};
    message.size_bytes = taken.size_bytes;
    message.blob = taken.blob;
    message.cached = taken.cached;
    co_return (co_await folder->Append(std::move(message))).ok();
  }
  void Fill() {
    for (uint32_t at = 0; at < kMessages;) {
      std::vector<Task<bool>> appends;
      for (size_t i = 0; i < kAppendGroup && at < kMessages; ++i) {
        appends.push_back(AppendOne(&fixture_, inbox_.get(), at++));
      }
      for (const bool ok : SyncWait(WhenAll(std::move(appends)))) ASSERT_TRUE(ok);
    }
  }
  struct Bound {
    uint64_t rows_read = 0;
    uint64_t commits = 0;
  };
  // Runs `work`, prints what it cost, and bounds the rows that it reads and its commits.
  void Measure(const char* what, Bound bound, const std::function<void()>& work) {
    Work().Reset();
    const absl::Time start = absl::Now();
    work();
    std::cout << absl::StrFormat("%-34s %7.0f ms   resident %4.0f MiB   %7d rows read in %5d reads, %5d commits\n",
                                 what, absl::ToDoubleMilliseconds(absl::Now() - start), ResidentMiB(),
                                 Work().rows_read.load(), Work().reads.load(), Work().commits.load());
    EXPECT_LE(Work().rows_read.load(), bound.rows_read) << what;
    EXPECT_LE(Work().commits.load(), bound.commits) << what;
  }
  uint32_t Fetch(const v1::FetchRequest& request) {
    uint32_t rows = 0;
    const FetchSink sink = [&rows](v1::FetchResponse chunk) -> Task<absl::Status> {
      EXPECT_LT(chunk.ByteSizeLong(), size_t{1} << 20);
      rows += static_cast<uint32_t>(chunk.rows().uid_size());
      co_return absl::OkStatus();
    };
    EXPECT_TRUE(SyncWait(FetchMessages(fixture_.deps(), inbox_, request, sink)).ok());
    return rows;
  }
  uint32_t Search(v1::SearchKey::Kind kind, const std::string& field, const std::string& text) {
    v1::SearchRequest request;
    request.mutable_key()->set_kind(kind);
    request.mutable_key()->set_field(field);
    request.mutable_key()->set_text(text);
    v1::SearchResponse response;
    EXPECT_TRUE(SyncWait(SearchMessages(fixture_.deps(), inbox_, request, [] { return false; }, &response)).ok());
    return static_cast<uint32_t>(UidSetFromProto(response.uids()).Count());
  }

  MailboxFixture fixture_{&OpenRocks};
  std::shared_ptr<Folder> inbox_;
};

TEST_F(LargeFolderTest, WorkGrowsWithTheMessagesAndNoFaster) {
#if __has_feature(thread_sanitizer)
  GTEST_SKIP() << "RocksDB's own threads are not instrumented and look like races";
#endif
  // Heads, keywords and the rows of the account, which do not grow with the messages.
  constexpr uint64_t kFew = 100;
  const uint64_t batches = kMessages / Folder::kBatch + 1;
  // At worst every append has a commit of its own, with one for its cache rows.
  Measure("append, 250 at a time", {kFew, 2 * uint64_t{kMessages} + kFew}, [&] { Fill(); });
  inbox_ = nullptr;
  fixture_.Reopen();
  Measure("open", {kFew, 1}, [&] { inbox_ = fixture_.OpenFolder("INBOX"); });
  Measure("list UIDs, index loaded", {kMessages + kFew, 0},
          [&] { EXPECT_EQ((*SyncWait(inbox_->Uids()))->uids.Count(), kMessages); });
  EXPECT_LT(inbox_->MemoryBytes(), size_t{8} << 20);

  v1::FetchRequest request;
  request.add_uids()->set_last(UINT32_MAX);
  request.set_flags(true);
  Measure("fetch FLAGS", {0, 0}, [&] { EXPECT_EQ(Fetch(request), kMessages); });
  request.set_envelope(true);
  request.set_internal_date(true);
  request.set_size(true);
  Measure("fetch FLAGS, SIZE, DATE, ENVELOPE", {2 * kMessages, 0}, [&] { EXPECT_EQ(Fetch(request), kMessages); });

  Measure("search KEYWORD", {0, 0},
          [&] { EXPECT_EQ(Search(v1::SearchKey::KIND_KEYWORD, "", "$kw7"), kMessages / 50); });
  Measure("search FROM", {2 * kMessages, 0},
          [&] { EXPECT_EQ(Search(v1::SearchKey::KIND_HEADER, "from", "ann42@"), kMessages / 100); });
  Measure("search TEXT", {4 * kMessages, 0}, [&] { EXPECT_EQ(Search(v1::SearchKey::KIND_TEXT, "", "<4242@"), 1u); });

  FlagChange seen;
  seen.mode = FlagChange::Mode::kAdd;
  seen.flags = v1::FLAG_SEEN | v1::FLAG_DELETED;
  const Modseq modseq = SyncWait(inbox_->Snapshot())->head.highest_modseq;
  Measure("store flags of all", {kMessages + 4 * batches, batches},
          [&] { EXPECT_EQ(SyncWait(inbox_->StoreFlags(UidSet::All(), seen))->messages.size(), kMessages); });
  Measure("changes since", {batches, 0},
          [&] { EXPECT_EQ(SyncWait(inbox_->ChangesAfter(modseq))->messages.size(), kMessages); });
  // Each commit of the folder goes with some of the cache partition.
  Measure("expunge all", {kFew, 4 * batches + kMessages / 300},
          [&] { EXPECT_EQ(SyncWait(inbox_->Expunge(UidSet::All(), false))->expunged.Count(), kMessages); });
  EXPECT_EQ(SyncWait(inbox_->Snapshot())->head.size_bytes, 0u);
}

}  // namespace
}  // namespace posthouse::mailbox
