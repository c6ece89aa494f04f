// What routing's answers do to recipients.
#include "services/queue/schedule/resolution.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "services/queue/spool/item_record.h"

namespace posthouse::queue {
namespace {

using Response = routing::v1::ResolveRecipientResponse;
using Result = ResolvedAgain::Result;

const absl::Time kStart = absl::FromUnixSeconds(1700000000);

// An answer that accepts accounts named like their addresses.
Response Accept(const std::vector<std::string>& addresses) {
  Response response;
  response.set_outcome(Response::OUTCOME_ACCEPT);
  for (const std::string& address : addresses) {
    auto* recipient = response.add_recipients();
    recipient->set_address(address);
    recipient->mutable_local()->mutable_account()->set_account_id("account of " + address);
    recipient->mutable_local()->mutable_account()->set_home("m1");
  }
  return response;
}

Response Refuse(Response::Outcome outcome) {
  Response response;
  response.set_outcome(outcome);
  return response;
}

class ResolutionTest : public ::testing::Test {
 protected:
  // A recipient that RCPT TO `original` brought.
  int Recipient(const std::string& address, const std::string& original) {
    auto* recipient = item_.add_recipients();
    recipient->set_state(v1::RECIPIENT_STATE_QUEUED);
    recipient->mutable_recipient()->set_address(address);
    recipient->mutable_recipient()->set_original(original);
    *recipient->mutable_recipient()->mutable_resolved() = Accept({address}).recipients(0);
    return item_.recipients_size() - 1;
  }
  ResolvedAgain Apply(int index, const absl::StatusOr<Response>& answer) {
    return ApplyNewResolution(index, answer, kStart, policy_, &item_, &unsaved_);
  }
  std::string Address(int index) const { return item_.recipients(index).recipient().address(); }
  std::string Account(int index) const {
    return item_.recipients(index).recipient().resolved().local().account().account_id();
  }

  SettlementPolicy policy_;
  v1::Item item_;
  Unsaved unsaved_;
};

TEST_F(ResolutionTest, TheSameAnswerChangesNothing) {
  const int user = Recipient("user@x.example", "user@x.example");
  const Response answer = Accept({"user@x.example"});
  EXPECT_FALSE(MustAskForFinalAddress(item_, user, answer));
  EXPECT_EQ(Apply(user, answer).result, Result::kSame);
  EXPECT_FALSE(unsaved_.any());
}

TEST_F(ResolutionTest, AnotherQuotaOrStoreIsTaken) {
  const int user = Recipient("user@x.example", "alias@x.example");
  Response answer = Accept({"other@x.example", "User@x.example"});
  answer.mutable_recipients(1)->mutable_local()->mutable_account()->set_home("m2");
  EXPECT_FALSE(MustAskForFinalAddress(item_, user, answer));
  EXPECT_EQ(Apply(user, answer).result, Result::kChanged);
  EXPECT_EQ(DestinationOf(item_.recipients(user)).ToString(), "local/m2");
  EXPECT_EQ(item_.recipients_size(), 1);  // who joined the group later gets later mail
  EXPECT_TRUE(unsaved_.changed.contains(user));
}

TEST_F(ResolutionTest, AnAliasWithOtherTargetsLeadsThere) {
  const int user = Recipient("user@x.example", "alias@x.example");
  const Response answer = Accept({"new@x.example", "second@x.example"});
  EXPECT_FALSE(MustAskForFinalAddress(item_, user, answer));
  EXPECT_EQ(Apply(user, answer).result, Result::kChanged);
  EXPECT_EQ(Address(user), "new@x.example");
  ASSERT_EQ(item_.recipients_size(), 2);
  EXPECT_EQ(Address(1), "second@x.example");
  EXPECT_EQ(item_.recipients(1).recipient().original(), "alias@x.example");
  EXPECT_EQ(unsaved_.ledger.accepted, 1);
}

// The message was accepted for the member.
TEST_F(ResolutionTest, AMemberThatLeftTheGroupKeepsTheMessage) {
  const int user = Recipient("user@x.example", "group@x.example");
  const int bob = Recipient("bob@x.example", "group@x.example");
  EXPECT_TRUE(MustAskForFinalAddress(item_, bob, Accept({"user@x.example"})));
  EXPECT_EQ(Apply(bob, Accept({"bob@x.example"})).result, Result::kSame);
  EXPECT_FALSE(MustAskForFinalAddress(item_, user, Accept({"user@x.example"})));
}

TEST_F(ResolutionTest, ADeletedAliasLeavesItsAccountTheMessage) {
  const int user = Recipient("user@x.example", "alias@x.example");
  EXPECT_TRUE(MustAskForFinalAddress(item_, user, Refuse(Response::OUTCOME_NO_SUCH_MAILBOX)));
  EXPECT_EQ(Apply(user, Accept({"user@x.example"})).result, Result::kSame);
}

TEST_F(ResolutionTest, TheSubaddressIsKept) {
  const int user = Recipient("user@x.example", "user+box@x.example");
  item_.mutable_recipients(user)->mutable_recipient()->mutable_resolved()->mutable_local()->set_detail("box");
  EXPECT_EQ(Apply(user, Accept({"user@x.example"})).result, Result::kSame);
}

TEST_F(ResolutionTest, AnAccountThatIsGoneFails) {
  const int user = Recipient("user@x.example", "user@x.example");
  const std::vector<std::pair<Response::Outcome, std::string>> cases = {
      {Response::OUTCOME_NO_SUCH_MAILBOX, "5.1.1"},
      {Response::OUTCOME_RELAY_DENIED, "5.1.1"},  // the domain went
      {Response::OUTCOME_SUSPENDED, "4.2.1"},
  };
  for (const auto& [outcome, status] : cases) {
    EXPECT_FALSE(MustAskForFinalAddress(item_, user, Refuse(outcome)));
    const ResolvedAgain resolved = Apply(user, Refuse(outcome));
    EXPECT_EQ(resolved.result, Result::kRefused);
    EXPECT_EQ(resolved.outcome->status, status);
  }
}

TEST_F(ResolutionTest, AnUnknownAnswerLeavesTheEarlierOne) {
  const int user = Recipient("user@x.example", "alias@x.example");
  for (const absl::StatusOr<Response>& answer : {absl::StatusOr<Response>(absl::UnavailableError("down")),
                                                 absl::StatusOr<Response>(Refuse(Response::OUTCOME_TEMPORARY))}) {
    EXPECT_FALSE(MustAskForFinalAddress(item_, user, answer));
    EXPECT_EQ(Apply(user, answer).result, Result::kUnknown);
    EXPECT_EQ(Account(user), "account of user@x.example");
  }
  EXPECT_FALSE(unsaved_.any());
}

}  // namespace
}  // namespace posthouse::queue
