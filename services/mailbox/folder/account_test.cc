#include "services/mailbox/folder/account.h"
#include "services/common/uid_set/uid_set.h"

#include "absl/strings/str_join.h"
#include "gtest/gtest.h"
#include "services/mailbox/folder/folder_tree_ops.h"
#include "services/mailbox/folder/mover.h"
#include "services/mailbox/rows/folder_name.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"
#include "services/mailbox/testing/mailbox_fixture.h"

namespace posthouse::mailbox {
namespace {

class AccountTest : public testing::Test {
 protected:
  AccountTest() : account_(fixture_.OpenAccount()) {}
  void Reopen() {
    account_ = nullptr;
    fixture_.Reopen();
    account_ = fixture_.OpenAccount();
  }
  std::string Names() {
    std::vector<std::string> out;
    for (const FolderInfo& f : account_->List()) {
      out.push_back(
          absl::StrCat(f.name, f.folder_id.empty() ? "!" : "", f.subscribed ? "+" : "", f.has_children ? "/" : ""));
    }
    return absl::StrJoin(out, " ");
  }
  absl::StatusCode Create(const std::string& name) { return SyncWait(account_->Create(name, "")).status().code(); }
  absl::StatusCode Delete(const std::string& name) {
    return SyncWait(DeleteFolder(fixture_.mailboxes(), account_, name)).code();
  }
  absl::StatusCode Rename(const std::string& from, const std::string& to) {
    return SyncWait(RenameFolder(fixture_.deps(), fixture_.mailboxes(), account_, from, to)).status().code();
  }
  std::vector<store::Row> RowsOf(const std::string& prefix) {
    store::ReadRequest request{
        .partition = AccountPartition(TenantId("t1"), AccountId("acc1")), .prefix = prefix, .limit = 1000};
    return SyncWait(fixture_.store().Read(std::move(request)))->page;
  }
  std::string IdOf(const std::string& name) {
    const auto info = account_->FindByName(name);
    return info.ok() ? info->folder_id.value() : "none";
  }

  MailboxFixture fixture_;
  std::shared_ptr<Account> account_;
};

constexpr auto kOk = absl::StatusCode::kOk;

TEST_F(AccountTest, CreateMakesParents) {
  EXPECT_EQ(Create("a/b/c"), kOk);
  EXPECT_EQ(Names(), "INBOX+ Sent+ Trash+ a/ a/b/ a/b/c");
  EXPECT_EQ(Create("a/b"), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Create("a/b/"), absl::StatusCode::kAlreadyExists);  // RFC 9051 §6.3.4
  EXPECT_EQ(Create("inbox"), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Create("iNboX/sub"), kOk);
  Reopen();
  EXPECT_EQ(Names(), "INBOX+/ INBOX/sub Sent+ Trash+ a/ a/b/ a/b/c");
}

TEST_F(AccountTest, DeleteKeepsALevelThatHasChildren) {
  Create("a/b");
  fixture_.Add(*fixture_.OpenFolder("a"));
  const std::string old_id = IdOf("a");
  EXPECT_EQ(Delete("a"), kOk);
  EXPECT_EQ(Names(), "INBOX+ Sent+ Trash+ a!/ a/b");
  EXPECT_EQ(Delete("a"), absl::StatusCode::kFailedPrecondition);
  // Again a folder: new, and empty.
  EXPECT_EQ(Create("a"), kOk);
  EXPECT_NE(IdOf("a"), old_id);
  EXPECT_EQ(SyncWait(fixture_.OpenFolder("a")->Snapshot())->head.exists, 0u);
  EXPECT_EQ(Delete("a/b"), kOk);
  EXPECT_EQ(Delete("a"), kOk);
  EXPECT_EQ(Delete("a"), absl::StatusCode::kNotFound);
  EXPECT_EQ(Delete("INBOX"), absl::StatusCode::kFailedPrecondition);
  Reopen();
  EXPECT_EQ(Names(), "INBOX+ Sent+ Trash+");
}

TEST_F(AccountTest, ADeletedFolderLeavesNoRows) {
  Create("a");
  fixture_.Add(*fixture_.OpenFolder("a"));
  const std::string id = IdOf("a");
  EXPECT_EQ(Delete("a"), kOk);
  EXPECT_TRUE(SyncWait(fixture_.store().List("t1", absl::StrCat("mb/", id), "", 10))->empty());
  EXPECT_EQ(SyncWait(fixture_.mailboxes().OpenFolder(account_, FolderId(id))).status().code(),
            absl::StatusCode::kNotFound);
}

// RFC 9051 §2.3.1.1: a name that comes back has another UIDVALIDITY.
// The store lost the commits that made folders: their UIDVALIDITY is not given out again.
TEST_F(AccountTest, AfterALossNoUidValidityIsGivenOutAgain) {
  ASSERT_EQ(Create("a"), kOk);
  const UidValidity before = SyncWait(fixture_.OpenFolder("a")->Snapshot())->head.uid_validity;
  account_ = nullptr;
  fixture_.ReopenAs(1);
  account_ = fixture_.OpenAccount();
  EXPECT_EQ(SyncWait(fixture_.OpenFolder("a")->Snapshot())->head.uid_validity, before);
  ASSERT_EQ(Create("b"), kOk);
  const Head made = SyncWait(fixture_.OpenFolder("b")->Snapshot())->head;
  EXPECT_GE(made.uid_validity.value(), before.value() + (1u << 20));
  EXPECT_EQ(made.uid_next, Uid(1)) << "a folder that is made after the loss does not jump";
  Reopen();  // once for each loss
  ASSERT_EQ(Create("c"), kOk);
  EXPECT_EQ(SyncWait(fixture_.OpenFolder("c")->Snapshot())->head.uid_validity, made.uid_validity.Next());
  // An account that is made anew begins beyond the seconds of the lost one.
  fixture_.OpenAccount("other");
  EXPECT_GE(SyncWait(fixture_.OpenFolder("INBOX", "other")->Snapshot())->head.uid_validity.value(),
            absl::ToUnixSeconds(fixture_.now()) + (1 << 20));
}

TEST_F(AccountTest, UidValidityOnlyGrows) {
  UidValidity last;
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(Create("a"), kOk);
    const UidValidity now = SyncWait(fixture_.OpenFolder("a")->Snapshot())->head.uid_validity;
    EXPECT_GT(now, last);
    last = now;
    EXPECT_EQ(Delete("a"), kOk);
    if (i == 2) Reopen();
  }
}

TEST_F(AccountTest, RenameMovesChildrenAndKeepsIds) {
  Create("a/b/c");
  fixture_.Add(*fixture_.OpenFolder("a/b"));
  const std::string id = IdOf("a/b");
  EXPECT_EQ(Rename("a/b", "x/y"), kOk);
  EXPECT_EQ(Names(), "INBOX+ Sent+ Trash+ a x/ x/y/ x/y/c");
  EXPECT_EQ(IdOf("x/y"), id);  // RFC 8474 §4.1
  EXPECT_EQ(SyncWait(fixture_.OpenFolder("x/y")->Snapshot())->head.exists, 1u);
  EXPECT_EQ(Rename("a", "Sent"), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Rename("nope", "z"), absl::StatusCode::kNotFound);
  EXPECT_EQ(Rename("x", "x/y/z"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Rename("x", "x/"), absl::StatusCode::kAlreadyExists);
  Reopen();
  EXPECT_EQ(Names(), "INBOX+ Sent+ Trash+ a x/ x/y/ x/y/c");
}

// RFC 9051 §6.3.6
TEST_F(AccountTest, RenamingInboxMovesItsMessages) {
  Create("INBOX/sub");
  const auto inbox = fixture_.OpenFolder("INBOX");
  fixture_.Add(*inbox, "one");
  fixture_.Add(*inbox, "two", 1, {"kw"});
  EXPECT_EQ(Rename("inbox", "Old/2024"), kOk);
  EXPECT_EQ(Names(), "INBOX+/ INBOX/sub Old/ Old/2024 Sent+ Trash+");
  EXPECT_EQ(SyncWait(inbox->Snapshot())->head.exists, 0u);
  const FolderSnapshot moved = *SyncWait(fixture_.OpenFolder("Old/2024")->Snapshot());
  EXPECT_EQ(moved.head.exists, 2u);
  EXPECT_EQ(moved.head.unseen, 1u);
  EXPECT_EQ(moved.keywords, std::vector<std::string>{"kw"});
  EXPECT_EQ(fixture_.Add(*inbox), 3u);
}

// RFC 9051 §6.3.7
TEST_F(AccountTest, SubscriptionsOutliveTheirFolder) {
  Create("a");
  EXPECT_TRUE(SyncWait(account_->Subscribe("a", true)).ok());
  EXPECT_EQ(Names(), "INBOX+ Sent+ Trash+ a+");
  EXPECT_EQ(Delete("a"), kOk);
  EXPECT_EQ(account_->SubscribedOnly(), std::vector<std::string>{"a"});
  EXPECT_TRUE(SyncWait(account_->Subscribe("later", true)).ok());
  Reopen();
  EXPECT_EQ(account_->SubscribedOnly(), (std::vector<std::string>{"a", "later"}));
  Create("a");
  EXPECT_EQ(Names(), "INBOX+ Sent+ Trash+ a+");
  EXPECT_TRUE(SyncWait(account_->Subscribe("later", false)).ok());
  EXPECT_TRUE(SyncWait(account_->Subscribe("a", false)).ok());
  EXPECT_TRUE(account_->SubscribedOnly().empty());
  EXPECT_EQ(Names(), "INBOX+ Sent+ Trash+ a");
}

TEST_F(AccountTest, AnotherWriterIsSeen) {
  Mailboxes other(fixture_.deps());
  const auto same = *SyncWait(other.OpenAccount(TenantId("t1"), AccountId("acc1")));
  EXPECT_TRUE(SyncWait(same->Create("theirs", "")).ok());
  EXPECT_EQ(Create("ours"), kOk);
  EXPECT_EQ(Names(), "INBOX+ Sent+ Trash+ ours theirs");
  EXPECT_EQ(SyncWait(same->Create("ours", "")).status().code(), absl::StatusCode::kAlreadyExists);
}

// Every kind of change, followed through the rows c/.
TEST_F(AccountTest, AnotherWritersChangesArriveThroughTheLog) {
  Create("a/b");
  Mailboxes other(fixture_.deps());
  const auto same = *SyncWait(other.OpenAccount(TenantId("t1"), AccountId("acc1")));
  ASSERT_TRUE(SyncWait(same->Create("theirs/deep", "")).ok());
  ASSERT_TRUE(SyncWait(same->Rename("a", "moved")).ok());
  ASSERT_TRUE(SyncWait(same->Subscribe("moved/b", true)).ok());
  ASSERT_TRUE(SyncWait(same->Subscribe("later", true)).ok());
  ASSERT_TRUE(SyncWait(same->Delete("Sent")).ok());
  EXPECT_EQ(Create("ours"), kOk);
  EXPECT_EQ(Names(), "INBOX+ Trash+ moved/ moved/b+ ours theirs/ theirs/deep");
  EXPECT_EQ(account_->SubscribedOnly(), (std::vector<std::string>{"Sent", "later"}));
  const std::string patched = Names();
  Reopen();
  EXPECT_EQ(Names(), patched);
}

TEST_F(AccountTest, TheLogOfTreeChangesIsBounded) {
  for (int i = 0; i < 150; ++i) {
    ASSERT_TRUE(SyncWait(account_->Subscribe("x", true)).ok());
    ASSERT_TRUE(SyncWait(account_->Subscribe("x", false)).ok());
  }
  EXPECT_EQ(RowsOf(kTreeChangePrefix).size(), AccountModel::kLogRows);
}

// Earlier versions wrote no rows c/, and one row n/ for each name.
TEST_F(AccountTest, AnAccountOfAnEarlierVersionIsReadAndChanged) {
  Create("a");
  store::CommitRequest old{.partition = AccountPartition(TenantId("t1"), AccountId("acc1"))};
  for (const store::Row& row : RowsOf(kTreeChangePrefix)) old.mutations.push_back({row.key, std::nullopt});
  old.mutations.push_back({NameKey("", "a"), EncodeText(std::string(16, 'x'))});
  old.mutations.push_back({NameKey("", "Sent"), EncodeText(std::string(16, 'y'))});
  ASSERT_TRUE(SyncWait(fixture_.store().Commit(std::move(old))).ok());
  Reopen();
  EXPECT_EQ(Names(), "INBOX+ Sent+ Trash+ a");
  EXPECT_EQ(Rename("a", "b"), kOk);
  EXPECT_EQ(Names(), "INBOX+ Sent+ Trash+ b");
  EXPECT_EQ(RowsOf("n/").size(), 1u);  // that of Sent, which has not changed
  EXPECT_EQ(RowsOf(kTreeChangePrefix).size(), 1u);
  Reopen();
  EXPECT_EQ(Names(), "INBOX+ Sent+ Trash+ b");
}

// A damaged row is an error of that account, and the row is left as it is.
TEST_F(AccountTest, ADamagedFolderRowIsDataLossOfThatAccountOnly) {
  store::CommitRequest damage{.partition = AccountPartition(TenantId("t1"), AccountId("acc1"))};
  const std::string key = RowsOf(kFolderPrefix)[0].key;
  damage.mutations = {{key, "garbage"}};
  ASSERT_TRUE(SyncWait(fixture_.store().Commit(std::move(damage))).ok());
  account_ = nullptr;
  fixture_.Reopen();
  EXPECT_EQ(SyncWait(fixture_.mailboxes().OpenAccount(TenantId("t1"), AccountId("acc1"))).status().code(),
            absl::StatusCode::kDataLoss);
  EXPECT_NE(fixture_.OpenAccount("acc2"), nullptr);
  EXPECT_EQ(RowsOf(kFolderPrefix)[0].value, "garbage");
}

TEST_F(AccountTest, AnUnknownCommitHappensOnce) {
  for (const bool happens : {true, false}) {
    int left = 1;
    fixture_.disk().SetCommitHook([&](const store::CommitRequest& request, bool* apply_anyway) {
      if (!request.partition.id.starts_with("acct/") || left-- <= 0) return absl::OkStatus();
      *apply_anyway = happens;
      return absl::DeadlineExceededError("timed out");
    });
    EXPECT_EQ(Create(absl::StrCat("f", happens)), kOk);
    fixture_.disk().SetCommitHook(nullptr);
  }
  Reopen();
  EXPECT_EQ(Names(), "INBOX+ Sent+ Trash+ f0 f1");
}

TEST_F(AccountTest, ACrashWhileTheAccountIsMadeIsRepaired) {
  for (int step = 0; step < 12; ++step) {
    int left = step;
    fixture_.disk().SetCommitHook([&](const store::CommitRequest&, bool*) {
      return left-- > 0 ? absl::OkStatus() : absl::UnavailableError("crashed");
    });
    const std::string id = absl::StrCat("new", step);
    const bool ok = SyncWait(fixture_.mailboxes().OpenAccount(TenantId("t1"), AccountId(id))).ok();
    fixture_.disk().SetCommitHook(nullptr);
    Reopen();
    const auto account = fixture_.OpenAccount(id);
    EXPECT_EQ(account->List().size(), 3u) << step;
    EXPECT_EQ(SyncWait(fixture_.OpenFolder("INBOX", id)->Snapshot())->head.exists, 0u);
    if (ok) break;
  }
}

TEST_F(AccountTest, UsageCountsEveryFolder) {
  Create("a");
  fixture_.Add(*fixture_.OpenFolder("a"), "12345");
  const auto inbox = fixture_.OpenFolder("INBOX");
  fixture_.Add(*inbox, "123");
  Reopen();
  fixture_.Add(*fixture_.OpenFolder("INBOX"), "1");
  EXPECT_TRUE(SyncWait(fixture_.mailboxes().CountUsage(account_)).ok());
  EXPECT_EQ(account_->usage()->Total().bytes, 9);
  EXPECT_EQ(account_->usage()->Total().messages, 3);
  fixture_.Add(*fixture_.OpenFolder("INBOX"), "12");
  EXPECT_EQ(account_->usage()->Total().bytes, 11);
  SyncWait(fixture_.OpenFolder("INBOX")->Expunge(UidSet({{1, 2}}), true)).status().IgnoreError();
  EXPECT_EQ(account_->usage()->Total().bytes, 7);
  EXPECT_EQ(Delete("a"), kOk);
  EXPECT_EQ(account_->usage()->Total().bytes, 2);
  EXPECT_EQ(account_->usage()->Total().messages, 1);
}

TEST(UsageTest, ReservationsStopAtTheLimit) {
  Usage usage;
  usage.Count(FolderId("f"), {100, 1});
  const Quota quota{150, 0};
  auto first = usage.Reserve({40, 1}, quota);
  EXPECT_TRUE(first.ok());
  EXPECT_FALSE(usage.Reserve({20, 1}, quota).ok());
  {
    const auto moved = std::move(first);
  }
  EXPECT_TRUE(usage.Reserve({50, 1}, quota).ok());
  EXPECT_FALSE(usage.Reserve({51, 1}, quota).ok());
  EXPECT_FALSE(usage.Reserve({1, 1}, Quota{0, 1}).ok());
}

struct NameCase {
  const char* in;
  const char* out;  // null: refused
};

TEST(NamesTest, CanonicalNames) {
  const NameCase cases[] = {{"a", "a"},
                            {"a/", "a"},
                            {"INBOX", "INBOX"},
                            {"inbox", "INBOX"},
                            {"InBox/a", "INBOX/a"},
                            {"a/inbox", "a/inbox"},
                            {"Inboxes", "Inboxes"},
                            {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
                            {"", nullptr},
                            {"/", nullptr},
                            {"/a", nullptr},
                            {"a//b", nullptr},
                            {"a\r", nullptr},
                            {"\xff", nullptr},
                            {"\xc0\x80", nullptr},
                            {"\xed\xa0\x80", nullptr},
                            {"\xf4\x90\x80\x80", nullptr},
                            {"\xc2\x85", nullptr},
                            {"\xe2\x82", nullptr},
                            {"\xf0\x9f\x93\xac", "\xf0\x9f\x93\xac"}};
  for (const NameCase& c : cases) {
    const auto got = CanonicalName(c.in);
    EXPECT_EQ(got.ok(), c.out != nullptr) << c.in;
    if (got.ok() && c.out != nullptr) EXPECT_EQ(*got, c.out);
  }
  EXPECT_FALSE(CanonicalName(std::string(256, 'a')).ok());
  EXPECT_TRUE(CanonicalName(std::string(255, 'a')).ok());
  std::string deep = "a";
  for (int i = 0; i < 31; ++i) deep += "/a";
  EXPECT_TRUE(CanonicalName(deep).ok());
  EXPECT_FALSE(CanonicalName(deep + "/a").ok());
}

// All names go into one answer (LIST), so their length has a bound; taking away is
// never refused.
TEST_F(AccountTest, NamesHaveABoundTogether) {
  fixture_.settings().max_folder_names_bytes = 20'000;
  Reopen();
  const std::string deep = std::string(250, 'x') + "/" + std::string(250, 'y') + "/" + std::string(250, 'z');
  absl::StatusCode code = kOk;
  int made = 0;
  while (made < 100 && (code = Create(absl::StrCat(deep, "/", made))) == kOk) ++made;
  EXPECT_EQ(code, absl::StatusCode::kOutOfRange);
  EXPECT_GT(made, 15);
  EXPECT_EQ(Delete(deep + "/0"), kOk);
  EXPECT_EQ(Create(deep + "/0"), kOk);
}

}  // namespace
}  // namespace posthouse::mailbox
