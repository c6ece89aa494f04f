// Two mailbox processes with one store: each has its own memory of a folder, and what it knows
// is old whenever the other one has committed.
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/mailbox/folder/mover.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/testing/mailbox_fixture.h"

namespace posthouse::mailbox {
namespace {

using Mode = FlagChange::Mode;

struct ModelMessage {
  uint32_t flags = 0;
  std::set<std::string> keywords;
  friend bool operator==(const ModelMessage&, const ModelMessage&) = default;
};
using Model = std::map<uint32_t, ModelMessage>;

class TwoWritersTest : public testing::Test {
 protected:
  struct Process {
    explicit Process(const std::shared_ptr<store::MemoryDisk>& disk)
        : fixture([disk] { return std::make_unique<store::MemoryStore>(disk); }), inbox(fixture.OpenFolder("INBOX")) {}
    MailboxFixture fixture;
    std::shared_ptr<Folder> inbox;
  };

  // The folder as this process has it in memory.
  static Model Seen(Folder& folder) {
    Model out;
    std::vector<std::string> bits;
    const std::vector<MessageMeta> messages = *SyncWait(folder.Select(UidSet::All(), Uid(), SIZE_MAX, &bits));
    const FolderSnapshot state = *SyncWait(folder.Snapshot());
    for (size_t i = 0; i < messages.size(); ++i) {
      ModelMessage& m = out[messages[i].uid.value()];
      m.flags = messages[i].flags;
      for (size_t n = 0; n < bits[i].size() * 8; ++n) {
        if ((static_cast<unsigned char>(bits[i][n / 8]) >> (n % 8) & 1) != 0) m.keywords.insert(state.keywords.at(n));
      }
    }
    EXPECT_EQ(state.head.exists, out.size());
    return out;
  }

  const std::shared_ptr<store::MemoryDisk> disk_ = std::make_shared<store::MemoryDisk>();
  Process a_{disk_};
  Process b_{disk_};
};

TEST_F(TwoWritersTest, EachChangeIsDecidedOnWhatTheOtherLeft) {
  std::mt19937 random(1);
  const auto below = [&random](uint32_t n) { return static_cast<uint32_t>(random() % n); };
  Model model;
  uint32_t next_uid = 1;
  Modseq modseq;
  for (int step = 0; step < 400; ++step) {
    SCOPED_TRACE(step);
    Process& process = below(2) == 0 ? a_ : b_;
    Folder& inbox = *process.inbox;
    // The other one is behind by one commit, or by many.
    if (below(4) == 0) (void)Seen(inbox);
    // An append is always a commit, so from here on this process knows the folder as it is.
    ModelMessage added{below(32), {}};
    if (below(4) == 0) added.keywords.insert(absl::StrCat("$kw", below(8)));
    EXPECT_EQ(process.fixture.Add(inbox, "x", added.flags, {added.keywords.begin(), added.keywords.end()}), next_uid);
    model[next_uid++] = added;
    if (below(3) == 0) {
      FlagChange change;
      change.mode = static_cast<Mode>(below(3));
      change.flags = below(32);
      if (below(3) == 0) change.keywords = {absl::StrCat("$kw", below(8))};
      const UidSet uids({{1 + below(next_uid), 1 + below(next_uid)}});
      const FlagResult done = *SyncWait(inbox.StoreFlags(uids, change));
      for (auto& [uid, m] : model) {
        if (!uids.Contains(uid)) continue;
        const std::set<std::string> given(change.keywords.begin(), change.keywords.end());
        if (change.mode == Mode::kReplace) m = {change.flags, given};
        if (change.mode == Mode::kAdd) m.flags |= change.flags, m.keywords.insert(given.begin(), given.end());
        if (change.mode == Mode::kRemove) m.flags &= ~change.flags;
        if (change.mode == Mode::kRemove) std::erase_if(m.keywords, [&](const auto& k) { return given.contains(k); });
      }
    }
    if (below(5) == 0) {
      const UidSet gone = SyncWait(inbox.Expunge(UidSet({{1, 1 + below(next_uid)}}), false))->expunged;
      std::erase_if(model, [&](const auto& m) { return gone.Contains(m.first); });
    }
    ASSERT_EQ(Seen(inbox), model);
    const Head head = SyncWait(inbox.Snapshot())->head;
    EXPECT_GT(head.highest_modseq, modseq);
    modseq = head.highest_modseq;
  }
  EXPECT_GT(a_.fixture.metrics().folder_commits.conflicts.Value(), 0);
  EXPECT_GT(b_.fixture.metrics().folder_commits.conflicts.Value(), 0);
  // A third process reads what both wrote.
  Process c(disk_);
  EXPECT_EQ(Seen(*c.inbox), model);
}

TEST_F(TwoWritersTest, ADeliveryThatBothTryIsStoredOnce) {
  NewMessage m = a_.fixture.MakeMessage("x");
  m.dedupe_key = DeliveryKey("q/0/keep");
  const AppendResult first = *SyncWait(a_.inbox->Append(m));
  const AppendResult second = *SyncWait(b_.inbox->Append(m));
  EXPECT_FALSE(first.duplicate);
  EXPECT_TRUE(second.duplicate);
  EXPECT_EQ(second.uid, first.uid);
  EXPECT_EQ(Seen(*b_.inbox).size(), 1u);
}

TEST_F(TwoWritersTest, AnOldIndexIsBroughtUpToDateByTheLog) {
  for (int i = 0; i < 50; ++i) a_.fixture.Add(*a_.inbox);
  (void)Seen(*b_.inbox);  // its index is loaded
  a_.fixture.Add(*a_.inbox);
  ASSERT_TRUE(SyncWait(a_.inbox->Expunge(UidSet({{7, 7}}), true)).ok());
  FlagChange seen;
  seen.mode = Mode::kAdd;
  seen.flags = v1::FLAG_SEEN;
  const FlagResult done = *SyncWait(b_.inbox->StoreFlags(UidSet::All(), seen));
  EXPECT_EQ(done.messages.size(), 50u);
  EXPECT_EQ(done.own_modseqs.size(), 1u);
}

TEST_F(TwoWritersTest, AFolderThatTheOtherDeletedIsNotFound) {
  a_.fixture.Add(*a_.inbox);
  ASSERT_TRUE(SyncWait(a_.inbox->Destroy()).ok());
  EXPECT_EQ(SyncWait(b_.inbox->Append(b_.fixture.MakeMessage("x"))).status().code(), absl::StatusCode::kNotFound);
}

// A message that b copies must be in the source when the copy is committed: a message that
// a expunged before is not copied.
TEST_F(TwoWritersTest, AMoveTakesWhatIsThere) {
  for (int i = 0; i < 4; ++i) a_.fixture.Add(*a_.inbox, "x", 0, {"$kw"});
  (void)Seen(*b_.inbox);
  ASSERT_TRUE(SyncWait(a_.inbox->Expunge(UidSet({{2, 2}}), true)).ok());
  const std::shared_ptr<Account> account = b_.fixture.OpenAccount();
  const std::shared_ptr<Folder> trash = b_.fixture.OpenFolder("Trash");
  CopyOrder order;
  order.uids = UidSet::All();
  order.move = true;
  const CopyDone done =
      *SyncWait(CopyMessages(b_.fixture.deps(), b_.fixture.mailboxes(), account, b_.inbox, trash, std::move(order)));
  EXPECT_EQ(done.uids, (std::vector<std::pair<Uid, Uid>>{{Uid(1), Uid(1)}, {Uid(3), Uid(2)}, {Uid(4), Uid(3)}}));
  a_.fixture.Add(*a_.inbox);
  EXPECT_EQ(Seen(*a_.inbox).size(), 1u);
  EXPECT_EQ(Seen(*trash).begin()->second.keywords, std::set<std::string>{"$kw"});
}

}  // namespace
}  // namespace posthouse::mailbox
