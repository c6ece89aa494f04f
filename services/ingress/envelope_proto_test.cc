#include "services/ingress/envelope_proto.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "posthouse/routing/v1/routing.pb.h"
#include "services/mail_formats/smtp/envelope_proto.h"

namespace posthouse::ingress {
namespace {

using Answer = routing::v1::ResolveRecipientResponse;

void AddMailbox(Answer* answer, const std::string& address, const std::string& account,
                const std::string& detail = "") {
  routing::v1::Recipient* recipient = answer->add_recipients();
  recipient->set_address(address);
  recipient->mutable_local()->mutable_account()->set_account_id(account);
  recipient->mutable_local()->set_detail(detail);
}

class EnvelopeProtoTest : public testing::Test {
 protected:
  // A RCPT TO of `original` that leads to `answer`.
  smtp::RcptParameters& Rcpt(const std::string& original, const Answer& answer) {
    Recipient recipient;
    recipient.original = original;
    recipient.answer = std::make_shared<Answer>(answer);
    envelope_.recipients.push_back(recipient);
    return envelope_.recipients.back().parameters;
  }
  smtp::RcptParameters& Mailbox(const std::string& original, const std::string& account,
                                const std::string& detail = "") {
    Answer answer;
    AddMailbox(&answer, original, account, detail);
    return Rcpt(original, answer);
  }
  smtp::RcptParameters& Foreign(const std::string& address) {
    Answer answer;
    answer.add_recipients()->set_address(address);
    answer.mutable_recipients(0)->mutable_remote()->set_domain("far.example");
    return Rcpt(address, answer);
  }
  std::vector<std::string> Addresses() {
    std::vector<std::string> addresses;
    const queue::v1::Envelope envelope = ToProto(envelope_, {});
    for (const auto& recipient : envelope.recipients()) addresses.push_back(recipient.original());
    return addresses;
  }
  using List = std::vector<std::string>;

  Envelope envelope_;
};

TEST_F(EnvelopeProtoTest, OneMailboxIsOneDelivery) {
  Mailbox("alice@mx.example", "A");
  Mailbox("Alice@MX.example", "A");  // a spelling
  Mailbox("alias@mx.example", "A");  // an alias
  Answer group;
  AddMailbox(&group, "alice@mx.example", "A");
  AddMailbox(&group, "bob@mx.example", "B");
  Rcpt("group@mx.example", group);
  Mailbox("bob@mx.example", "B");
  EXPECT_EQ(Addresses(), (List{"alice@mx.example", "group@mx.example"}));
}

TEST_F(EnvelopeProtoTest, ADetailIsAPlaceOfItsOwn) {
  Mailbox("alice@mx.example", "A");
  Mailbox("alice+lists@mx.example", "A", "lists");
  Mailbox("ALICE+lists@mx.example", "A", "lists");
  EXPECT_EQ(Addresses(), (List{"alice@mx.example", "alice+lists@mx.example"}));
}

// RFC 5321 §2.4
TEST_F(EnvelopeProtoTest, OnlyTheDomainOfAForeignAddressHasNoCase) {
  Foreign("x@far.example");
  Foreign("x@FAR.example");
  Foreign("X@far.example");
  EXPECT_EQ(Addresses(), (List{"x@far.example", "X@far.example"}));
}

// RFC 3461 §4.1: what is not given means failure and delay.
TEST_F(EnvelopeProtoTest, TheFirstNamesTheDeliveryAndEachGetsTheReportsItAskedFor) {
  struct Case {
    smtp::Notify first, second, both;
  };
  const smtp::Notify unset, never = {.never = true}, success = {.success = true}, failure = {.failure = true};
  for (const Case& c : std::vector<Case>{{unset, unset, unset},
                                         {never, never, never},
                                         {never, unset, unset},
                                         {success, never, success},
                                         {success, failure, {.success = true, .failure = true}},
                                         {unset, success, {.success = true, .failure = true, .delay = true}}}) {
    envelope_ = Envelope();
    smtp::RcptParameters& first = Mailbox("alice@mx.example", "A");
    first.notify = c.first;
    first.orcpt = smtp::Orcpt::FromString("rfc822;first@client.example");
    smtp::RcptParameters& second = Mailbox("alias@mx.example", "A");
    second.notify = c.second;
    second.orcpt = smtp::Orcpt::FromString("rfc822;second@client.example");
    const queue::v1::Envelope out = ToProto(envelope_, {});
    ASSERT_EQ(out.recipients_size(), 1);
    EXPECT_EQ(out.recipients(0).orcpt(), "rfc822;first@client.example");
    queue::v1::EnvelopeRecipient expected;
    smtp::RcptParameters both;
    both.notify = c.both;
    smtp::ToProto(both, &expected);
    EXPECT_EQ(std::vector<int>(out.recipients(0).notify().begin(), out.recipients(0).notify().end()),
              std::vector<int>(expected.notify().begin(), expected.notify().end()))
        << c.first.ToString() << " and " << c.second.ToString();
  }
}

}  // namespace
}  // namespace posthouse::ingress
