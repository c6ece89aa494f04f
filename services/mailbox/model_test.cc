// Random operations of several tasks on one account, on a real RocksDB, against a
// model in memory. Each task changes only messages that it made, in folders that all
// share, so that the model of the whole is the sum of theirs whatever the order was.
// Between rounds nothing runs, and everything that is stored is compared: rows,
// counters, UIDs, change log, bodies; every other round on a store opened again.
#include <atomic>
#include <cstdlib>
#include <list>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "posthouse/mailbox/v1/store.pb.h"
#include "services/common/async/thread_pool.h"
#include "services/common/async/when_all.h"
#include "services/common/log/log.h"
#include "services/common/store/rocks/rocks_store.h"
#include "services/common/store/testing/memory_store.h"
#include "services/common/testing/wait.h"
#include "services/common/uid_set/uid_set.h"
#include "services/mailbox/folder/folder_tree_ops.h"
#include "services/mailbox/folder/mover.h"
#include "services/mailbox/folder/sweeper.h"
#include "services/mailbox/message/body_receiver.h"
#include "services/mailbox/message/delivery.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"
#include "services/mailbox/testing/mailbox_fixture.h"

namespace posthouse::mailbox {
namespace {

constexpr int kActors = 5;
constexpr int kRounds = 10;
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
constexpr int kSteps = 40;
#else
constexpr int kSteps = 120;
#endif

struct ModelMessage {
  std::string body;
  uint32_t flags = 0;
  std::set<std::string> keywords;
};
using Box = std::map<Uid, ModelMessage>;
using Boxes = std::map<std::string, Box>;  // by folder id

// Shared by all tasks: the folders, and every UID that was ever given out.
class Commons {
 public:
  void Claim(const std::string& folder, Uid uid) {
    absl::MutexLock lock(&mutex_);
    // RFC 9051 §2.3.1.1
    EXPECT_TRUE(used_.insert({folder, uid}).second) << "UID " << uid << " was given out twice";
  }
  std::vector<std::string> folders;  // ids

 private:
  absl::Mutex mutex_;
  std::set<std::pair<std::string, Uid>> used_ ABSL_GUARDED_BY(mutex_);
};

class Actor {
 public:
  Actor(MailboxFixture& fixture, Commons& commons, int number)
      : fixture_(fixture), commons_(commons), number_(number), random_(static_cast<unsigned>(1000 + number)) {}

  Boxes boxes;

  Task<void> Run(Executor* pool, int steps) {
    co_await SwitchTo(*pool);
    for (int i = 0; i < steps; ++i) {
      account_ = *co_await fixture_.mailboxes().OpenAccount(TenantId("t1"), AccountId("acc1"));
      switch (Below(10)) {
        case 0:
        case 1:
          co_await Append();
          break;
        case 2:
        case 3:
          co_await Deliver();
          break;
        case 4:
        case 5:
          co_await Store();
          break;
        case 6:
          co_await Copy(false);
          break;
        case 7:
          co_await Copy(true);
          break;
        case 8:
          co_await Expunge();
          break;
        case 9:
          co_await ChangeTree();
          break;
      }
    }
    account_ = nullptr;
  }

 private:
  struct Delivered {
    std::string id;
    Uid uid;
  };

  int Below(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }
  std::string Name() const { return absl::StrCat("own", number_, renamed_ ? "/deep/er" : ""); }
  std::string NewBody() {
    const size_t sizes[] = {20, 900, 30'000, 300'000};
    return absl::StrCat("Subject: ", number_, ".", ++bodies_, "\r\n\r\n",
                        std::string(sizes[Below(20) == 0 ? 3 : Below(3)], static_cast<char>('a' + Below(26))));
  }
  std::string PickFolder() {
    const int n = Below(static_cast<int>(commons_.folders.size()) + (own_.empty() ? 0 : 1));
    return n < static_cast<int>(commons_.folders.size()) ? commons_.folders[static_cast<size_t>(n)] : own_;
  }
  std::vector<Uid> PickUids(const std::string& folder) {
    std::vector<Uid> out;
    for (const auto& [uid, message] : boxes[folder]) {
      if (Below(3) == 0) out.push_back(uid);
    }
    return out;
  }
  static UidSet SetOf(const std::vector<Uid>& uids) {
    UidSet set;
    for (const Uid uid : uids) set.Add(uid);
    return set;
  }
  std::vector<std::string> PickKeywords() {
    std::vector<std::string> out;
    for (int i = Below(3); i > 0; --i) out.push_back(absl::StrCat("$kw", Below(12)));
    return out;
  }
  static void SetKeywords(ModelMessage& m, const std::vector<std::string>& keywords) {
    m.keywords = {keywords.begin(), keywords.end()};
  }
  Task<std::shared_ptr<Folder>> Open(std::string id) {
    co_return *co_await fixture_.mailboxes().OpenFolder(account_, FolderId(id));
  }

  Task<void> Append() {
    const std::string id = PickFolder();
    const std::shared_ptr<Folder> folder = co_await Open(id);
    const std::string body = NewBody();
    BodyReceiver receiver(fixture_.deps(), {TenantId("t1")});
    EXPECT_TRUE((co_await receiver.Add(body)).ok());
    const absl::StatusOr<ReceivedMessage> taken = co_await receiver.Finish(body.size());
    NewMessage message;
    message.flags = static_cast<uint32_t>(Below(32));
    message.keywords = PickKeywords();
    message.size_bytes = taken->size_bytes;
    message.blob = taken->blob;
    message.cached = taken->cached;
    ModelMessage model{body, message.flags, {}};
    SetKeywords(model, message.keywords);
    const absl::StatusOr<AppendResult> done = co_await folder->Append(std::move(message));
    EXPECT_TRUE(done.ok()) << done.status();
    if (!done.ok()) co_return;
    commons_.Claim(id, done->uid);
    boxes[id][done->uid] = model;
  }

  // New mail, or old mail that the queue brings once more.
  Task<void> Deliver() {
    const bool again = !delivered_.empty() && Below(3) == 0;
    const std::string body = NewBody();
    v1::DeliverRequest::Header header;
    v1::DeliveryTarget* target = header.add_targets();
    const Delivered before = again ? delivered_[static_cast<size_t>(Below(static_cast<int>(delivered_.size())))]
                                   : Delivered{absl::StrCat("q", number_, "/", delivered_.size()), Uid()};
    target->set_delivery_id(before.id);
    target->mutable_account()->set_tenant("t1");
    target->mutable_account()->set_account_id("acc1");
    if (!again) *header.add_targets() = *target;  // and twice in one call
    BodyReceiver receiver(fixture_.deps(), {TenantId("t1")});
    EXPECT_TRUE((co_await receiver.Add(body)).ok());
    const absl::StatusOr<ReceivedMessage> taken = co_await receiver.Finish(body.size());
    v1::DeliverResponse response;
    const bool named = co_await DeliverToAll(fixture_.deps(), fixture_.mailboxes(), header, *taken, &response);
    EXPECT_EQ(named, !again);
    if (!named) co_await receiver.Discard();
    const std::string inbox = account_->inbox_id().value();
    for (const v1::DeliveryOutcome& outcome : response.outcomes()) {
      EXPECT_EQ(outcome.kind(), v1::DeliveryOutcome::KIND_STORED) << outcome.detail();
      EXPECT_EQ(outcome.folder_id(), inbox);
      EXPECT_EQ(outcome.uid(), again ? before.uid.value() : response.outcomes(0).uid());
    }
    if (again) {
      EXPECT_TRUE(response.outcomes(0).duplicate());
      co_return;
    }
    EXPECT_NE(response.outcomes(0).duplicate(), response.outcomes(1).duplicate());
    const Uid uid(response.outcomes(0).uid());
    commons_.Claim(inbox, uid);
    boxes[inbox][uid] = ModelMessage{body, 0, {}};
    delivered_.push_back({before.id, uid});
  }

  Task<void> Store() {
    const std::string id = PickFolder();
    const std::shared_ptr<Folder> folder = co_await Open(id);
    const std::vector<Uid> uids = PickUids(id);
    FlagChange change;
    change.mode = static_cast<FlagChange::Mode>(Below(3));
    change.flags = static_cast<uint32_t>(Below(32));
    change.keywords = PickKeywords();
    for (const Uid uid : uids) {
      ModelMessage& m = boxes[id][uid];
      switch (change.mode) {
        case FlagChange::Mode::kReplace:
          m.flags = change.flags;
          SetKeywords(m, change.keywords);
          break;
        case FlagChange::Mode::kAdd:
          m.flags |= change.flags;
          m.keywords.insert(change.keywords.begin(), change.keywords.end());
          break;
        case FlagChange::Mode::kRemove:
          m.flags &= ~change.flags;
          for (const std::string& k : change.keywords) m.keywords.erase(k);
          break;
      }
    }
    const absl::StatusOr<FlagResult> done = co_await folder->StoreFlags(SetOf(uids), change);
    EXPECT_TRUE(done.ok()) << done.status();
    if (!done.ok()) co_return;
    EXPECT_EQ(done->messages.size(), uids.size());
    for (const MessageFlags& m : done->messages) EXPECT_EQ(m.flags, boxes[id][m.uid].flags);
  }

  Task<void> Copy(bool move) {
    const std::string from_id = PickFolder();
    const std::string to_id = PickFolder();
    const std::shared_ptr<Folder> from = co_await Open(from_id);
    const std::shared_ptr<Folder> to = co_await Open(to_id);
    const std::vector<Uid> uids = PickUids(from_id);
    CopyOrder order;
    order.uids = SetOf(uids);
    order.move = move;
    order.operation_id = absl::StrCat("op", number_, "/", ++operations_);
    const CopyOrder repeated = order;
    const auto done =
        co_await CopyMessages(fixture_.deps(), fixture_.mailboxes(), account_, from, to, std::move(order));
    EXPECT_TRUE(done.ok()) << done.status();
    if (!done.ok()) co_return;
    EXPECT_EQ(done->uids.size(), uids.size());
    if (Below(3) == 0) {
      const auto again = co_await CopyMessages(fixture_.deps(), fixture_.mailboxes(), account_, from, to, repeated);
      EXPECT_TRUE(again.ok()) << again.status();
      if (again.ok()) EXPECT_EQ(again->uids, done->uids);
    }
    for (const auto& [source, target] : done->uids) {
      commons_.Claim(to_id, target);
      boxes[to_id][target] = boxes[from_id][source];
      if (move) boxes[from_id].erase(source);
    }
  }

  Task<void> Expunge() {
    const std::string id = PickFolder();
    const std::shared_ptr<Folder> folder = co_await Open(id);
    const std::vector<Uid> uids = PickUids(id);
    const bool even_undeleted = Below(2) == 0;
    UidSet expected;
    for (const Uid uid : uids) {
      if (!even_undeleted && (boxes[id][uid].flags & v1::FLAG_DELETED) == 0) continue;
      expected.Add(uid);
      boxes[id].erase(uid);
    }
    const absl::StatusOr<ExpungeResult> done = co_await folder->Expunge(SetOf(uids), even_undeleted);
    EXPECT_TRUE(done.ok()) << done.status();
    if (done.ok()) EXPECT_EQ(done->expunged, expected);
  }

  // The task's own folder is made, renamed with what is in it, and deleted.
  Task<void> ChangeTree() {
    if (own_.empty()) {
      renamed_ = false;
      const absl::StatusOr<FolderInfo> made = co_await account_->Create(Name(), "");
      EXPECT_TRUE(made.ok()) << made.status();
      if (made.ok()) own_ = made->folder_id.value();
      co_return;
    }
    if (Below(3) == 0) {
      boxes.erase(own_);
      own_.clear();
      const absl::Status deleted = co_await DeleteFolder(fixture_.mailboxes(), account_, Name());
      EXPECT_TRUE(deleted.ok()) << deleted;
      // The levels above it that renaming made.
      for (const char* above : {"/deep", ""}) {
        if (renamed_) (void)co_await DeleteFolder(fixture_.mailboxes(), account_, absl::StrCat("own", number_, above));
      }
      co_return;
    }
    const std::string from = Name();
    if (!renamed_) {
      // "own" cannot become its own child: by way of another name.
      EXPECT_TRUE((co_await RenameFolder(fixture_.deps(), fixture_.mailboxes(), account_, from, from + "+")).ok());
      renamed_ = true;
      const auto moved = co_await RenameFolder(fixture_.deps(), fixture_.mailboxes(), account_, from + "+", Name());
      EXPECT_TRUE(moved.ok()) << moved.status();
      if (moved.ok()) EXPECT_EQ(moved->folder_id.value(), own_);
    }
  }

  MailboxFixture& fixture_;
  Commons& commons_;
  const int number_;
  std::mt19937 random_;
  std::shared_ptr<Account> account_;
  std::vector<Delivered> delivered_;
  std::string own_;  // id of the task's own folder; "": none now
  bool renamed_ = false;
  int bodies_ = 0;
  int operations_ = 0;
};

class ModelTest : public testing::Test {
 protected:
  ModelTest() {
    log::SetLevel(log::Level::kWarning);
    fixture_.settings().sweep_grace = absl::Minutes(1);
    fixture_.settings().change_log_entries = 200;
    fixture_.settings().folder_cache_bytes = 4096;  // folders are closed and opened all the time
    fixture_.Reopen();
    const std::shared_ptr<Account> account = fixture_.OpenAccount();
    for (const char* name : {"INBOX", "Sent", "Trash"})
      commons_.folders.push_back(account->FindByName(name)->folder_id.value());
  }

  static std::unique_ptr<store::Store> OpenStore() {
#if __has_feature(thread_sanitizer)
    // RocksDB's own threads are not instrumented and look like races.
    static auto& disk = *new std::shared_ptr<store::MemoryDisk>(std::make_shared<store::MemoryDisk>());
    return std::make_unique<store::MemoryStore>(disk);
#endif
    static auto& registry = *new metrics::Registry;
    store::RocksOptions options;
    options.path = absl::StrCat(std::getenv("TEST_TMPDIR"), "/model");
    options.name = "model";
    options.write_buffer_bytes = uint64_t{1} << 20;
    options.block_cache_bytes = uint64_t{1} << 20;
    options.min_free_bytes = 0;
    auto opened = store::RocksStore::Open(options, registry);
    EXPECT_TRUE(opened.ok()) << opened.status();
    return *std::move(opened);
  }

  static Task<void> SweepOften(Executor* pool, MailboxFixture* fixture, const std::atomic<bool>* stop) {
    co_await SwitchTo(*pool);
    Sweeper sweeper(fixture->deps(), fixture->mailboxes());
    while (!*stop) {
      const auto swept = co_await sweeper.Sweep();
      EXPECT_TRUE(swept.ok()) << swept.status();
      fixture->mailboxes().Trim();
    }
  }

  static Task<void> RunAll(std::vector<Task<int>> tasks) { co_await WhenAll(std::move(tasks)); }

  static Task<int> Counted(Task<void> task) {
    co_await std::move(task);
    co_return 0;
  }

  void RunRound() {
    ThreadPool pool(2);
    std::atomic<bool> stop{false};
    absl::Notification sweeper_done;
    Spawn(pool, NotifyAfter(SweepOften(&pool, &fixture_, &stop), &sweeper_done));
    std::vector<Task<int>> tasks;
    for (Actor& actor : actors_) tasks.push_back(Counted(actor.Run(&pool, kSteps)));
    SyncWait(RunAll(std::move(tasks)));
    stop = true;
    WaitFor(sweeper_done);
  }

  static Task<void> NotifyAfter(Task<void> task, absl::Notification* done) {
    co_await std::move(task);
    done->Notify();
  }

  std::vector<store::Row> Rows(const std::string& folder, const char* prefix) {
    std::vector<store::Row> rows;
    store::ReadRequest request{FolderPartition(TenantId("t1"), FolderId(folder)), {}, prefix, "", store::kMaxPageRows};
    for (bool more = true; more;) {
      store::ReadResult read = *SyncWait(fixture_.store().Read(request));
      more = read.more;
      for (store::Row& row : read.page) rows.push_back(std::move(row));
      if (!rows.empty()) request.after = rows.back().key;
    }
    return rows;
  }

  void CheckFolder(const std::string& id, const Box& model, Usage::Amount* sum) {
    const std::shared_ptr<Account> account = fixture_.OpenAccount();
    const std::shared_ptr<Folder> folder = *SyncWait(fixture_.mailboxes().OpenFolder(account, FolderId(id)));
    const FolderSnapshot state = *SyncWait(folder->Snapshot());
    std::vector<std::string> bits;
    const std::vector<MessageMeta> metas = *SyncWait(folder->Select(UidSet::All(), Uid(), SIZE_MAX, &bits));
    const std::vector<store::Row> rows = Rows(id, kMessagePrefix);
    ASSERT_EQ(metas.size(), model.size());
    ASSERT_EQ(rows.size(), model.size());
    Head counted;
    size_t i = 0;
    for (const auto& [uid, message] : model) {
      const v1::MessageRow row = *DecodeRow<v1::MessageRow>(rows[i].value);
      EXPECT_EQ(metas[i].uid, uid);
      EXPECT_EQ(*UidOfKey(rows[i].key), uid);
      EXPECT_EQ(metas[i].flags, message.flags);
      EXPECT_EQ(row.flags(), message.flags);
      EXPECT_EQ(metas[i].modseq, Modseq(row.modseq()));
      EXPECT_LE(Modseq(row.modseq()), state.head.highest_modseq);
      EXPECT_EQ(bits[i], row.keywords());
      std::set<std::string> keywords;
      for (size_t n = 0; n < bits[i].size() * 8; ++n) {
        if ((static_cast<unsigned char>(bits[i][n / 8]) >> (n % 8) & 1) != 0) keywords.insert(state.keywords.at(n));
      }
      EXPECT_EQ(keywords, message.keywords);
      const auto body = SyncWait(fixture_.store().blobs().Get("t1", IdToHex(row.blob()), 0, 1 << 20));
      EXPECT_TRUE(body.ok() && *body == message.body) << body.status();
      named_.insert(IdToHex(row.blob()));
      counted.Count(message.flags, message.body.size(), +1);
      ++i;
    }
    EXPECT_EQ(state.head.exists, counted.exists);
    EXPECT_EQ(state.head.unseen, counted.unseen);
    EXPECT_EQ(state.head.deleted, counted.deleted);
    EXPECT_EQ(state.head.size_bytes, counted.size_bytes);
    EXPECT_EQ(state.head.intents, 0u);
    EXPECT_GT(state.head.uid_next, model.empty() ? Uid() : model.rbegin()->first);
    // Exactly one row for each modseq that the log says it holds.
    Modseq modseq = state.head.log_floor;
    for (const store::Row& row : Rows(id, kChangePrefix)) EXPECT_EQ(*ModseqOfKey(row.key), modseq = modseq.Next());
    EXPECT_EQ(modseq, state.head.highest_modseq);
    EXPECT_LE(modseq.value() - state.head.log_floor.value(), fixture_.settings().change_log_entries + 1);
    CheckChanges(*folder, id, model);
    sum->bytes += static_cast<int64_t>(counted.size_bytes);
    sum->messages += static_cast<int64_t>(counted.exists);
  }

  // A client that was here a round ago and applies the changes has the same as we.
  void CheckChanges(Folder& folder, const std::string& id, const Box& model) {
    const auto before = seen_.find(id);
    if (before != seen_.end()) {
      const FolderChanges changes = *SyncWait(folder.ChangesAfter(before->second.modseq));
      std::set<Uid> uids;
      if (!changes.full) uids = before->second.uids;
      for (const MessageFlags& m : changes.messages) uids.insert(m.uid);
      for (const Uid uid : changes.vanished.Expand()) uids.erase(uid);
      std::set<Uid> now;
      for (const auto& [uid, message] : model) now.insert(uid);
      EXPECT_EQ(uids, now) << (changes.full ? "after a full answer" : "after the changes");
    }
    Seen seen{SyncWait(folder.Snapshot())->head.highest_modseq, {}};
    for (const auto& [uid, message] : model) seen.uids.insert(uid);
    seen_[id] = std::move(seen);
  }

  void CheckAll() {
    Boxes model;
    for (Actor& actor : actors_) {
      for (const auto& [folder, box] : actor.boxes) model[folder].insert(box.begin(), box.end());
    }
    named_.clear();
    Usage::Amount sum;
    const std::shared_ptr<Account> account = fixture_.OpenAccount();
    for (const FolderId& id : account->FolderIds()) {
      SCOPED_TRACE(account->FindById(id)->name);
      CheckFolder(id.value(), model[id.value()], &sum);
    }
    EXPECT_TRUE(SyncWait(fixture_.mailboxes().CountUsage(account)).ok());
    EXPECT_EQ(account->usage()->Total().bytes, sum.bytes);
    EXPECT_EQ(account->usage()->Total().messages, sum.messages);
  }

  struct Seen {
    Modseq modseq;
    std::set<Uid> uids;
  };
  MailboxFixture fixture_{&OpenStore};
  Commons commons_;
  std::list<Actor> actors_;
  std::map<std::string, Seen> seen_;  // by folder, a round ago
  std::set<std::string> named_;       // blobs that rows name
};

TEST_F(ModelTest, RandomOperationsOfSeveralTasks) {
  for (int i = 0; i < kActors; ++i) actors_.emplace_back(fixture_, commons_, i);
  for (int round = 0; round < kRounds; ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    RunRound();
    if (round % 2 == 1) fixture_.Reopen();
    CheckAll();
    if (HasFailure()) return;
    fixture_.Advance(absl::Hours(2));  // what is there is old enough for the sweeper of the next round
  }
  // At rest the sweeper leaves exactly the bodies that rows name.
  Sweeper sweeper(fixture_.deps(), fixture_.mailboxes());
  ASSERT_TRUE(SyncWait(sweeper.Sweep()).ok());
  std::set<std::string> stored;
  std::string cursor;
  do {
    const store::BlobPage page = *SyncWait(fixture_.store().blobs().List("t1", cursor, 1000));
    for (const store::BlobInfo& info : page.blobs) stored.insert(info.name);
    cursor = page.next;
  } while (!cursor.empty());
  EXPECT_EQ(stored, named_);
  EXPECT_GT(named_.size(), 50u);
}

}  // namespace
}  // namespace posthouse::mailbox
