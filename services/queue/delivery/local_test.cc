// The mailbox's answers as outcomes, and the fields that a message gets at its final delivery.
#include "services/queue/delivery/local.h"

#include <gtest/gtest.h>

#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/async/task.h"

namespace posthouse::queue {
namespace {

namespace mv1 = posthouse::mailbox::v1;
using Kind = Outcome::Kind;

DeliveryAttempt Message(std::vector<std::string> recipients, const std::string& reverse_path = "s@example.org") {
  static v1::Envelope envelope;  // of the message that Message() made last
  envelope.set_reverse_path(reverse_path);
  DeliveryAttempt t(envelope);
  t.destination = Destination::Local(Home("m1"));
  for (size_t i = 0; i < recipients.size(); ++i) {
    t.targets.push_back({static_cast<int>(i), {}});
    t.targets.back().recipient.set_address(recipients[i]);
  }
  return t;
}

// RFC 5321 §4.4; a copy for several recipients does not disclose them to each other.
TEST(LocalDeliveryTest, FieldsOnTop) {
  EXPECT_EQ(DeliveryFields(Message({"a@x.example"})), "Return-Path: <s@example.org>\r\nDelivered-To: a@x.example\r\n");
  EXPECT_EQ(DeliveryFields(Message({"a@x.example", "b@x.example"}, "")), "Return-Path: <>\r\n");
}

// RFC 5321 §4.4: the field of the final delivery is the only one.
TEST(LocalDeliveryTest, ReturnPathsOfStrangersAreRemoved) {
  const auto removed = [](std::string message) {
    RemoveReturnPaths(&message);
    return message;
  };
  EXPECT_EQ(removed("Return-Path: <evil@x.example>\r\nTo: a\r\n\r\nbody\r\n"), "To: a\r\n\r\nbody\r\n");
  EXPECT_EQ(
      removed("To: a\r\nRETURN-path :\r\n <evil@x.example>\r\n\t(folded)\r\nSubject: x\r\nReturn-Path:y\r\n\r\nb"),
      "To: a\r\nSubject: x\r\n\r\nb");
  for (const char* as_it_is : {"To: a\r\n\r\nReturn-Path: body\r\n", "no header\r\nReturn-Path: x\r\n\r\n",
                               "X-Return-Path: a\r\nTo: b\r\n Return-Path: folded\r\n\r\n", "",
                               "\r\nReturn-Path: x\r\n", "Return-Path: cut in the mid"}) {
    EXPECT_EQ(removed(as_it_is), as_it_is);
  }
}

// Unknown outcomes are temporary.
TEST(LocalDeliveryTest, AnswersOfTheMailbox) {
  const std::vector<std::tuple<int, Kind, std::string>> cases = {
      {mv1::DeliveryOutcome::KIND_STORED, Kind::kDelivered, "2.0.0"},
      {mv1::DeliveryOutcome::KIND_OVER_QUOTA, Kind::kTemporary, "4.2.2"},
      {mv1::DeliveryOutcome::KIND_NEVER_FITS, Kind::kPermanent, "5.2.2"},
      {mv1::DeliveryOutcome::KIND_NO_ACCOUNT, Kind::kTemporary, "4.2.1"},  // routing says what became of it
      {mv1::DeliveryOutcome::KIND_NOT_HERE, Kind::kTemporary, "4.2.1"},
      {mv1::DeliveryOutcome::KIND_TOO_LARGE, Kind::kPermanent, "5.3.4"},
      {mv1::DeliveryOutcome::KIND_UNSPECIFIED, Kind::kTemporary, "4.3.0"},
      {5, Kind::kTemporary, "4.3.0"},   // reserved
      {99, Kind::kTemporary, "4.3.0"},  // of a newer mailbox
  };
  for (const auto& [kind, outcome, status] : cases) {
    mv1::DeliveryOutcome answer;
    answer.set_kind(static_cast<mv1::DeliveryOutcome::Kind>(kind));
    const Outcome got = OutcomeForDelivered(answer);
    EXPECT_EQ(got.kind, outcome) << kind;
    EXPECT_EQ(got.status, status) << kind;
  }
}

TEST(LocalDeliveryTest, AFailedCallBouncesNobody) {
  for (int code = 1; code <= 16; ++code) {
    const DeliveryResult result = ResultForFailedCall(Message({"a@x.example", "b@x.example"}),
                                                      absl::Status(static_cast<absl::StatusCode>(code), "x"));
    ASSERT_EQ(result.outcomes.size(), 2u);
    EXPECT_EQ(result.outcomes[1].kind, Kind::kTemporary) << code;
    EXPECT_NE(result.reachability, Reachability::kSuccess) << code;
  }
  EXPECT_EQ(ResultForFailedCall(Message({"a@x"}), absl::UnavailableError("down")).reachability,
            Reachability::kUnreachable);
  EXPECT_EQ(ResultForFailedCall(Message({"a@x"}), absl::InternalError("odd")).reachability, Reachability::kNeutral);
}

TEST(LocalDeliveryTest, AHomeThatIsNotConfiguredIsTemporary) {
  const std::unique_ptr<Delivery> local = NewLocalDelivery(std::make_shared<rpc::LivePeers>(rpc::Channels()));
  const DeliveryResult result = SyncWait(local->Deliver(Message({"a@x.example"})));
  ASSERT_EQ(result.outcomes.size(), 1u);
  EXPECT_EQ(result.outcomes[0].kind, Kind::kTemporary);
  EXPECT_EQ(result.outcomes[0].status, "4.3.5");
}

// Any text of a peer can be stored in a row and read back.
TEST(DeliveryTextTest, PeersTextIsCutAndMadeUtf8) {
  EXPECT_EQ(CutText("plain"), "plain");
  EXPECT_EQ(CutText("h\xe9llo"), "h?llo");
  EXPECT_EQ(CutText("\xc3\xb6\xc3\xb6", 3), "\xc3\xb6...");
  EXPECT_EQ(CutText(std::string(600, 'x')).size(), 503u);
  EXPECT_EQ(CutText(std::string(600, '\x80')), "...");  // no character begins anywhere
}

}  // namespace
}  // namespace posthouse::queue
