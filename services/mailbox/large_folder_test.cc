// A folder of many messages on RocksDB: what it costs to open, list, fetch, search and
// change, printed, and bounded by what a user would wait. 20,000 messages, so that the
// test is short; LARGE_FOLDER_MESSAGES=100000 makes as many.
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
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/rocks_store.h"
#include "services/common/uid_set/uid_set_proto.h"
#include "services/mailbox/message/fetch.h"
#include "services/mailbox/message/intake.h"
#include "services/mailbox/search/search.h"
#include "services/mailbox/testing/world.h"

namespace posthouse::mailbox {
namespace {

const uint32_t kMessages = [] {
  uint32_t wanted = 0;
  const char* const set = std::getenv("LARGE_FOLDER_MESSAGES");
  return set != nullptr && absl::SimpleAtoi(set, &wanted) ? wanted : 20'000;
}();

std::unique_ptr<store::Store> OpenRocks() {
  static auto& registry = *new metrics::Registry;
  store::RocksOptions options;
  options.path = absl::StrCat(std::getenv("TEST_TMPDIR"), "/large");
  options.name = "large";
  options.min_free_bytes = 0;
  return *store::RocksStore::Open(options, registry);
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
    inbox_ = world_.OpenFolder("INBOX");
  }

  static Task<bool> AppendOne(World* world, Folder* folder, uint32_t number) {
    Intake intake(world->context(), {"t1"});
    const std::string body = absl::StrCat(
        "From: Ann <ann", number % 100, "@a.example>\r\nTo: bob@b.example\r\nSubject: number ", number,
        "\r\nDate: Tue, 1 Jul 2025 10:00:00 +0200\r\nMessage-ID: <", number, "@a.example>\r\n\r\nHello.\r\n");
    PH_CHECK((co_await intake.Add(body)).ok());
    const TakenMessage taken = *co_await intake.Finish(body.size());
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
      for (size_t i = 0; i < Folder::kAppendGroup && at < kMessages; ++i) {
        appends.push_back(AppendOne(&world_, inbox_.get(), at++));
      }
      for (const bool ok : SyncWait(WhenAll(std::move(appends)))) ASSERT_TRUE(ok);
    }
  }
  // Prints and bounds the duration of `work`.
  void Timed(const char* what, absl::Duration bound, const std::function<void()>& work) {
    const absl::Time start = absl::Now();
    work();
    const absl::Duration took = absl::Now() - start;
    std::cout << absl::StrFormat("%-34s %7.0f ms   resident %4.0f MiB\n", what, absl::ToDoubleMilliseconds(took),
                                 ResidentMiB());
    EXPECT_LT(took, bound) << what;
  }
  uint32_t Fetch(const v1::FetchRequest& request) {
    uint32_t rows = 0;
    const FetchSink sink = [&rows](v1::FetchResponse chunk) -> Task<absl::Status> {
      EXPECT_LT(chunk.ByteSizeLong(), size_t{1} << 20);
      rows += static_cast<uint32_t>(chunk.rows().uid_size());
      co_return absl::OkStatus();
    };
    EXPECT_TRUE(SyncWait(FetchMessages(world_.context(), inbox_, request, sink)).ok());
    return rows;
  }
  uint32_t Search(v1::SearchKey::Kind kind, const std::string& field, const std::string& text) {
    v1::SearchRequest request;
    request.mutable_key()->set_kind(kind);
    request.mutable_key()->set_field(field);
    request.mutable_key()->set_text(text);
    v1::SearchResponse response;
    EXPECT_TRUE(SyncWait(SearchMessages(world_.context(), inbox_, request, [] { return false; }, &response)).ok());
    return static_cast<uint32_t>(UidSetFromProto(response.uids()).Count());
  }

  World world_{&OpenRocks};
  std::shared_ptr<Folder> inbox_;
};

TEST_F(LargeFolderTest, EverythingTakesLinearTime) {
#if __has_feature(thread_sanitizer)
  GTEST_SKIP() << "RocksDB's own threads are not instrumented and look like races";
#endif
  const absl::Duration bound = absl::Seconds(60);  // sanitizers and busy machines pass, a square does not
  Timed("append, 250 at a time", absl::Minutes(4), [&] { Fill(); });
  inbox_ = nullptr;
  world_.Reopen();
  Timed("open", bound, [&] { inbox_ = world_.OpenFolder("INBOX"); });
  Timed("list UIDs, index loaded", bound, [&] { EXPECT_EQ((*SyncWait(inbox_->Uids()))->uids.Count(), kMessages); });
  EXPECT_LT(inbox_->MemoryBytes(), size_t{8} << 20);

  v1::FetchRequest request;
  request.add_uids()->set_last(UINT32_MAX);
  request.set_flags(true);
  Timed("fetch FLAGS", bound, [&] { EXPECT_EQ(Fetch(request), kMessages); });
  request.set_envelope(true);
  request.set_internal_date(true);
  request.set_size(true);
  Timed("fetch FLAGS, SIZE, DATE, ENVELOPE", bound, [&] { EXPECT_EQ(Fetch(request), kMessages); });

  Timed("search KEYWORD", bound, [&] { EXPECT_EQ(Search(v1::SearchKey::KIND_KEYWORD, "", "$kw7"), kMessages / 50); });
  Timed("search FROM", bound,
        [&] { EXPECT_EQ(Search(v1::SearchKey::KIND_HEADER, "from", "ann42@"), kMessages / 100); });
  Timed("search TEXT", bound, [&] { EXPECT_EQ(Search(v1::SearchKey::KIND_TEXT, "", "<4242@"), 1u); });

  FlagChange seen;
  seen.mode = FlagChange::Mode::kAdd;
  seen.flags = v1::FLAG_SEEN | v1::FLAG_DELETED;
  const uint64_t modseq = SyncWait(inbox_->Snapshot())->head.highest_modseq;
  Timed("store flags of all", bound,
        [&] { EXPECT_EQ(SyncWait(inbox_->StoreFlags(UidSet::All(), seen))->messages.size(), kMessages); });
  Timed("changes since", bound, [&] { EXPECT_EQ(SyncWait(inbox_->ChangesAfter(modseq))->messages.size(), kMessages); });
  Timed("expunge all", bound,
        [&] { EXPECT_EQ(SyncWait(inbox_->Expunge(UidSet::All(), false))->expunged.Count(), kMessages); });
  EXPECT_EQ(SyncWait(inbox_->Snapshot())->head.size_bytes, 0u);
}

}  // namespace
}  // namespace posthouse::mailbox
