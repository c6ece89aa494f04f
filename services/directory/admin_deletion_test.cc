// Accounts that are deleted, brought back and erased; domains that go with their addresses.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/directory/testing/admin_fixture.h"

namespace posthouse::directory {
namespace {

class AdminDeletionTest : public AdminFixture {
 protected:
  AdminDeletionTest() { EXPECT_EQ(AddDomain("example.org"), Code::kOk); }

  Code Delete(const std::string& address, bool now = false) {
    v1::DeleteAccountRequest request;
    request.set_address(address);
    request.set_erase_now(now);
    return SyncWait(admin_->DeleteAccount(request)).status().code();
  }
  Code Undelete(const std::string& address) {
    v1::UndeleteAccountRequest request;
    request.set_address(address);
    return SyncWait(admin_->UndeleteAccount(request)).status().code();
  }
  Code DeleteDomain(const std::string& name, bool with_addresses = false) {
    v1::DeleteDomainRequest request;
    request.set_domain(name);
    request.set_with_addresses(with_addresses);
    return SyncWait(admin_->DeleteDomain(request)).status().code();
  }
  Code Report(const std::string& account_id, bool done) {
    v1::ReportErasureRequest request;
    request.set_account_id(account_id);
    if (done) request.mutable_done()->set_messages(7);
    return SyncWait(admin_->ReportErasure(request)).status().code();
  }
  // "bob@example.org kept", in the order of ids.
  std::vector<std::string> Deleted(bool due = false) {
    v1::ListDeletedAccountsRequest request;
    request.set_due_only(due);
    std::vector<std::string> out;
    while (true) {
      const auto response = SyncWait(admin_->ListDeletedAccounts(request));
      EXPECT_TRUE(response.ok()) << response.status();
      if (!response.ok()) return out;
      for (const v1::DeletedAccount& a : response->accounts()) {
        out.push_back(absl::StrCat(a.account().address(), " ", v1::DeletedAccount::State_Name(a.state()).substr(6)));
      }
      if (response->page().next_page_token().empty()) return out;
      *request.mutable_page()->mutable_page_token() = response->page().next_page_token();
    }
  }
  using List = std::vector<std::string>;
};

TEST_F(AdminDeletionTest, AnUndeletedAccountIsAsItWas) {
  const v1::Account bob = *AddAccount("bob@example.org", "secret");
  ASSERT_EQ(Delete("Bob@example.org"), Code::kOk);
  EXPECT_FALSE(Exists("bob@example.org"));
  EXPECT_EQ(Login("bob@example.org", "secret"), Code::kUnauthenticated);
  EXPECT_EQ(Deleted(), List{"bob@example.org KEPT"});
  Open();
  EXPECT_EQ(Deleted(), List{"bob@example.org KEPT"});
  ASSERT_EQ(Undelete("bob@example.org"), Code::kOk);
  EXPECT_EQ(Login("bob@example.org", "secret"), Code::kOk);
  const auto back = SyncWait(admin_->GetAccount([&] {
    v1::GetAccountRequest request;
    request.set_account_id(bob.account_id());
    return request;
  }()));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->account().address(), "bob@example.org");
  EXPECT_GT(back->account().revision(), bob.revision());
  EXPECT_EQ(Deleted(), List{});
  EXPECT_EQ(Undelete("bob@example.org"), Code::kNotFound);
}

TEST_F(AdminDeletionTest, AnAddressThatIsInUseAgainKeepsTheNewAccount) {
  const std::string first = AddAccount("bob@example.org")->account_id();
  ASSERT_EQ(Delete("bob@example.org"), Code::kOk);
  const std::string second = AddAccount("bob@example.org")->account_id();
  EXPECT_NE(first, second);
  EXPECT_EQ(Undelete("bob@example.org"), Code::kAlreadyExists);
  ASSERT_EQ(Delete("bob@example.org"), Code::kOk);
  ASSERT_TRUE(AddAlias("bob@example.org", {"x@example.net"}).ok());
  EXPECT_EQ(Undelete("bob@example.org"), Code::kAlreadyExists);
}

TEST_F(AdminDeletionTest, MailIsErasedOnlyAfterTheGraceTime) {
  const std::string bob = AddAccount("bob@example.org")->account_id();
  EXPECT_EQ(Report(bob, false), Code::kFailedPrecondition);  // not deleted
  EXPECT_EQ(Report(std::string(32, 'a'), false), Code::kNotFound);
  ASSERT_EQ(Delete("bob@example.org"), Code::kOk);
  EXPECT_EQ(Deleted(/*due=*/true), List{});
  EXPECT_EQ(Report(bob, false), Code::kFailedPrecondition);
  EXPECT_EQ(Report(bob, true), Code::kFailedPrecondition);
  later_ = absl::Hours(24 * 7 + 1);
  EXPECT_EQ(Deleted(/*due=*/true), List{"bob@example.org KEPT"});
  later_ = absl::ZeroDuration();
  ASSERT_EQ(Delete("bob@example.org", /*now=*/true), Code::kOk);  // ends the grace time
  EXPECT_EQ(Delete("bob@example.org", /*now=*/true), Code::kNotFound);
  EXPECT_EQ(Deleted(/*due=*/true), List{"bob@example.org KEPT"});
  EXPECT_EQ(Report(bob, false), Code::kOk);
  EXPECT_EQ(Report(bob, false), Code::kOk);
  EXPECT_EQ(Undelete("bob@example.org"), Code::kFailedPrecondition);
  Open();
  EXPECT_EQ(Deleted(/*due=*/true), List{"bob@example.org ERASING"});
  EXPECT_EQ(Report(bob, true), Code::kOk);
  EXPECT_EQ(Report(bob, true), Code::kOk);
  EXPECT_EQ(Report(bob, false), Code::kOk);
  EXPECT_EQ(Deleted(/*due=*/true), List{});
  EXPECT_EQ(Deleted(), List{"bob@example.org ERASED"});
  EXPECT_EQ(Undelete("bob@example.org"), Code::kFailedPrecondition);
}

TEST_F(AdminDeletionTest, ATombstoneGoesWithALaterChangeAfterFourteenDays) {
  const std::string bob = AddAccount("bob@example.org")->account_id();
  ASSERT_EQ(Delete("bob@example.org", /*now=*/true), Code::kOk);
  ASSERT_EQ(Report(bob, false), Code::kOk);
  ASSERT_EQ(Report(bob, true), Code::kOk);
  const auto rows = [this](absl::Duration after) {
    RecordEdit edit;
    repository_->Read([&](const Index& index) {
      ForgetErased(index, TenantId("default"), absl::Now() + after, &edit);
      return 0;
    });
    return edit.mutations.size();
  };
  EXPECT_EQ(rows(absl::Hours(24 * 13)), 0u);
  EXPECT_EQ(rows(absl::Hours(24 * 15)), 1u);
}

// RFC 5321 §4.5.1
TEST_F(AdminDeletionTest, PostmasterGoesAndComesWithItsOnlyTarget) {
  const auto has = [this] {
    return repository_->Read(
        [](const Index& index) { return index.FindAlias(*ParseAddress("postmaster@example.org")).has_value(); });
  };
  ASSERT_TRUE(AddAccount("bob@example.org").ok());
  ASSERT_TRUE(AddAccount("eve@example.org").ok());
  ASSERT_TRUE(AddAlias("postmaster@example.org", {"bob@example.org"}).ok());
  ASSERT_EQ(Delete("eve@example.org"), Code::kOk);
  EXPECT_TRUE(has());
  ASSERT_EQ(Delete("bob@example.org"), Code::kOk);
  EXPECT_FALSE(has());
  ASSERT_EQ(Undelete("bob@example.org"), Code::kOk);
  EXPECT_TRUE(has());
  ASSERT_EQ(Delete("bob@example.org"), Code::kOk);
  EXPECT_EQ(DeleteDomain("example.org"), Code::kOk);
  EXPECT_EQ(Undelete("bob@example.org"), Code::kFailedPrecondition);
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  EXPECT_EQ(Undelete("bob@example.org"), Code::kOk);
  EXPECT_TRUE(has());
}

TEST_F(AdminDeletionTest, APostmasterThatLeadsElsewhereDoesNotKeepTheDomain) {
  ASSERT_TRUE(AddAlias("postmaster@example.org", {"x@example.net"}).ok());
  ASSERT_TRUE(AddAlias("info@example.org", {"x@example.net"}).ok());
  EXPECT_EQ(DeleteDomain("example.org"), Code::kFailedPrecondition);
  v1::DeleteAliasRequest request;
  request.set_address("info@example.org");
  ASSERT_TRUE(SyncWait(admin_->DeleteAlias(request)).ok());
  EXPECT_EQ(DeleteDomain("example.org"), Code::kOk);
}

TEST_F(AdminDeletionTest, ADomainGoesWithAllItsAddresses) {
  ASSERT_EQ(AddDomain("example.com", "example.org"), Code::kOk);
  for (int i = 0; i < 130; ++i) ASSERT_TRUE(AddAccount(absl::StrCat("u", i, "@example.org")).ok());
  for (int i = 0; i < 120; ++i) ASSERT_TRUE(AddAlias(absl::StrCat("a", i, "@example.org"), {"u1@example.org"}).ok());
  ASSERT_TRUE(AddAlias("postmaster@example.org", {"u7@example.org"}).ok());
  EXPECT_EQ(DeleteDomain("example.org"), Code::kFailedPrecondition);
  EXPECT_EQ(DeleteDomain("example.org", /*with_addresses=*/true), Code::kFailedPrecondition);  // example.com
  EXPECT_TRUE(Exists("u1@example.org"));
  ASSERT_EQ(DeleteDomain("example.com"), Code::kOk);
  EXPECT_EQ(DeleteDomain("example.org", /*with_addresses=*/true), Code::kOk);
  EXPECT_EQ(repository_->Read([](const Index& index) { return index.accounts() + index.aliases(); }), 0u);
  EXPECT_EQ(Deleted().size(), 130u);
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  EXPECT_EQ(Undelete("u7@example.org"), Code::kOk);
}

TEST_F(AdminDeletionTest, AnAccountIsNotHiddenByAStatus) {
  v1::UpdateAccountRequest request;
  *request.mutable_account() = *AddAccount("bob@example.org");
  request.mutable_account()->set_status(v1::STATUS_DELETED);
  EXPECT_EQ(SyncWait(admin_->UpdateAccount(request)).status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace posthouse::directory
