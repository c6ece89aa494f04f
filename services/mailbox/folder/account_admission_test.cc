// Which accounts a store makes and serves: what the directory says, and what it said last.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "services/mailbox/testing/mailbox_fixture.h"

namespace posthouse::mailbox {
namespace {

using Code = absl::StatusCode;

class AdmissionTest : public testing::Test {
 protected:
  Code Open(const std::string& id, uint64_t epoch = 0) {
    return SyncWait(fixture_.mailboxes().OpenAccount(TenantId("t1"), AccountId(id), epoch)).status().code();
  }
  bool HasRows(const std::string& id) {
    store::ReadRequest read;
    read.partition = AccountPartition(TenantId("t1"), AccountId(id));
    read.keys = {AccountKey()};
    const auto found = SyncWait(fixture_.store().Read(std::move(read)));
    return found.ok() && found->values[0].has_value();
  }
  FakeRegistry& directory() { return fixture_.registry(); }

  MailboxFixture fixture_;
};

TEST_F(AdmissionTest, AnAccountThatTheDirectoryDoesNotHaveIsNotMade) {
  directory().Delete("nobody");
  EXPECT_EQ(Open("nobody"), Code::kNotFound);
  directory().MoveTo("other", "elsewhere", 1);
  EXPECT_EQ(Open("elsewhere"), Code::kFailedPrecondition);
  directory().SetAway(true);
  EXPECT_EQ(Open("unknown"), Code::kUnavailable);
  for (const char* id : {"nobody", "elsewhere", "unknown"}) EXPECT_FALSE(HasRows(id)) << id;
  directory().SetAway(false);
  EXPECT_EQ(Open("unknown"), Code::kOk);
  EXPECT_TRUE(HasRows("unknown"));
}

TEST_F(AdmissionTest, ADeletedAccountIsRefusedAndServedAgainAfterAnUndelete) {
  const std::shared_ptr<Folder> inbox = fixture_.OpenFolder("INBOX");
  fixture_.Add(*inbox);
  directory().Delete("acc1");
  EXPECT_EQ(Open("acc1"), Code::kNotFound);
  const std::shared_ptr<Account> account =
      *SyncWait(fixture_.mailboxes().LoadAccount(TenantId("t1"), AccountId("acc1")));
  EXPECT_EQ(account->standing().state, AccountState::kDeleted);
  // A session that was open before.
  EXPECT_EQ(SyncWait(account->Create("new", "")).status().code(), Code::kNotFound);
  fixture_.Reopen();
  EXPECT_EQ(Open("acc1"), Code::kNotFound);
  directory().Undelete("acc1");
  EXPECT_EQ(Open("acc1"), Code::kOk);
  EXPECT_EQ(SyncWait(fixture_.OpenFolder("INBOX")->Snapshot())->head.exists, 1u);
}

TEST_F(AdmissionTest, AMovedAccountIsServedAgainOnlyWhenItsHomeIsHere) {
  EXPECT_EQ(Open("acc1"), Code::kOk);
  directory().MoveTo("other", "acc1", 1);
  EXPECT_EQ(Open("acc1"), Code::kFailedPrecondition);
  EXPECT_EQ(Open("acc1", 1), Code::kFailedPrecondition);
  directory().Undelete("acc1", 2);
  EXPECT_EQ(Open("acc1"), Code::kOk);
}

TEST_F(AdmissionTest, ANewerPlacementThanKnownIsAskedFor) {
  EXPECT_EQ(Open("acc1"), Code::kOk);
  const int asked = directory().asked();
  EXPECT_EQ(Open("acc1"), Code::kOk);
  EXPECT_EQ(directory().asked(), asked);  // nothing has changed
  EXPECT_EQ(Open("acc1", 3), Code::kOk);  // the directory says 0: the caller is wrong
  EXPECT_EQ(directory().asked(), asked + 1);
}

// The directory's own outage must not be one of all mail.
TEST_F(AdmissionTest, WhileTheDirectoryIsAwayKnownAccountsAreServedUnlessTheyChanged) {
  EXPECT_EQ(Open("acc1"), Code::kOk);
  fixture_.Reopen();
  directory().SetAway(true);
  EXPECT_EQ(Open("acc1"), Code::kOk);
  directory().changes().Lost();
  EXPECT_EQ(Open("acc1"), Code::kOk);
  directory().changes().Changed(AccountId("acc1"));
  EXPECT_EQ(Open("acc1"), Code::kUnavailable);
  EXPECT_EQ(Open("acc1", 1), Code::kUnavailable);
  directory().SetAway(false);
  EXPECT_EQ(Open("acc1"), Code::kOk);
}

TEST_F(AdmissionTest, MissedChangesAreAskedForOnce) {
  EXPECT_EQ(Open("acc1"), Code::kOk);
  const int asked = directory().asked();
  directory().changes().Lost();
  EXPECT_EQ(Open("acc1"), Code::kOk);
  EXPECT_EQ(Open("acc1"), Code::kOk);
  EXPECT_EQ(directory().asked(), asked + 1);
}

TEST(AccountChangesTest, AChangeIsOfOneAccountUntilTooManyAreKept) {
  AccountChanges changes;
  using Since = AccountChanges::Since;
  const AccountId a("a");
  const AccountId b("b");
  EXPECT_EQ(changes.Look(a, 0), Since::kMaybe);  // never asked for
  uint64_t now = changes.now();
  EXPECT_EQ(changes.Look(a, now), Since::kNothing);
  changes.Changed(a);
  EXPECT_EQ(changes.Look(a, now), Since::kThis);
  EXPECT_EQ(changes.Look(b, now), Since::kNothing);
  EXPECT_EQ(changes.Look(a, changes.now()), Since::kNothing);
  now = changes.now();
  for (int i = 0; i <= 100'000; ++i) changes.Changed(AccountId(std::to_string(i)));
  EXPECT_EQ(changes.Look(a, now), Since::kMaybe);
}

}  // namespace
}  // namespace posthouse::mailbox
