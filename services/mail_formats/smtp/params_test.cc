#include "services/mail_formats/smtp/params.h"

#include <gtest/gtest.h>

#include <string>

#include "services/mail_formats/smtp/envelope_proto.h"

namespace posthouse::smtp {
namespace {

// RFC 3461 §4.1
TEST(NotifyTest, TextIsWhatTheParserReads) {
  for (const char* text : {"NEVER", "SUCCESS", "FAILURE", "DELAY", "SUCCESS,FAILURE", "SUCCESS,FAILURE,DELAY"}) {
    const std::optional<Notify> notify = ParseNotify(text);
    ASSERT_TRUE(notify.has_value()) << text;
    EXPECT_EQ(notify->ToString(), text);
  }
  EXPECT_EQ(Notify().ToString(), "");
  EXPECT_EQ((Notify{.never = true, .delay = true}).ToString(), "NEVER");  // it stands alone
  for (const char* text : {"", "SOON", "NEVER,DELAY", "SUCCESS,", ",SUCCESS"}) {
    EXPECT_FALSE(ParseNotify(text).has_value()) << text;
  }
}

// RFC 3461 §4.2, RFC 6533 §3
TEST(OrcptTest, EncodesWhatItParses) {
  struct Case {
    const char* value;  // on the wire
    const char* type;
    std::string address;
    const char* to_ascii_host;  // the value for a server without SMTPUTF8
  };
  const Case cases[] = {
      {"rfc822;user@example.org", "rfc822", "user@example.org", "rfc822;user@example.org"},
      {"rfc822;a+2Bb@example.org", "rfc822", "a+b@example.org", "rfc822;a+2Bb@example.org"},
      {"x-net;a;b", "x-net", "a;b", "x-net;a;b"},
      {"utf-8;п@example.org", "utf-8", "п@example.org", ""},
      {"utf-8;\\x{43F}@example.org", "utf-8", "\\x{43F}@example.org", "utf-8;\\x{43F}@example.org"},
  };
  for (const Case& c : cases) {
    const std::optional<Orcpt> orcpt = ParseOrcpt(c.value);
    ASSERT_TRUE(orcpt.has_value()) << c.value;
    EXPECT_EQ(*orcpt, (Orcpt{c.type, c.address}));
    EXPECT_EQ(Orcpt::FromString(orcpt->ToString()), *orcpt);
    EXPECT_EQ(EncodeOrcpt(*orcpt, true), c.value);
    EXPECT_EQ(EncodeOrcpt(*orcpt, false), c.to_ascii_host);
  }
  for (const char* value : {"", ";a", "rfc822;", "rfc822", "rf c;a", "rfc822;a+0A", "rfc822;a=b", "utf-8;\xff"}) {
    EXPECT_FALSE(ParseOrcpt(value).has_value()) << value;
  }
  // From rows of any age.
  EXPECT_EQ(EncodeOrcpt(Orcpt::FromString("no semicolon"), true), "");
  EXPECT_EQ(EncodeOrcpt(Orcpt::FromString("rfc822 NOTIFY=NEVER;a"), true), "");
}

TEST(EnvelopeProtoTest, EveryParameterComesBack) {
  for (const Body body : {Body::kSevenBit, Body::kEightBitMime, Body::kBinaryMime}) {
    for (const Ret ret : {Ret::kUnset, Ret::kHeaders, Ret::kFull}) {
      MailParameters given;
      given.body = body;
      given.ret = ret;
      given.smtputf8 = ret == Ret::kFull;
      given.envid = "QQ314";
      queue::v1::Envelope envelope;
      ToProto(given, &envelope);
      const MailParameters back = FromProto(envelope);
      EXPECT_EQ(back.body, body);
      EXPECT_EQ(back.ret, ret);
      EXPECT_EQ(back.smtputf8, given.smtputf8);
      EXPECT_EQ(back.envid, "QQ314");
    }
  }
  for (int bits = 0; bits < 8; ++bits) {
    RcptParameters given;
    given.notify = {.success = (bits & 1) != 0, .failure = (bits & 2) != 0, .delay = (bits & 4) != 0};
    given.orcpt = Orcpt{"rfc822", "a+b@example.org"};
    queue::v1::EnvelopeRecipient recipient;
    ToProto(given, &recipient);
    EXPECT_EQ(FromProto(recipient).notify, given.notify);
    EXPECT_EQ(FromProto(recipient).orcpt, given.orcpt);
  }
}

// RFC 3461 §4.1: no other word beside NEVER.
TEST(EnvelopeProtoTest, NeverStandsAlone) {
  queue::v1::EnvelopeRecipient recipient;
  EXPECT_EQ(FromProto(recipient).notify.ToString(), "");
  recipient.add_notify(queue::v1::NOTIFY_SUCCESS);
  recipient.add_notify(queue::v1::NOTIFY_DELAY);
  EXPECT_EQ(FromProto(recipient).notify.ToString(), "SUCCESS,DELAY");
  recipient.add_notify(queue::v1::NOTIFY_NEVER);
  EXPECT_EQ(FromProto(recipient).notify.ToString(), "NEVER");
}

// Rows that an older or newer version wrote.
TEST(EnvelopeProtoTest, UnknownValuesAreNotGiven) {
  queue::v1::Envelope envelope;
  envelope.set_body(static_cast<queue::v1::BodyType>(99));
  envelope.set_ret(static_cast<queue::v1::Ret>(99));
  EXPECT_EQ(FromProto(envelope).body, Body::kSevenBit);
  EXPECT_EQ(FromProto(envelope).ret, Ret::kUnset);
  queue::v1::EnvelopeRecipient recipient;
  recipient.add_notify(queue::v1::NOTIFY_UNSPECIFIED);
  EXPECT_FALSE(FromProto(recipient).notify.given());
}

}  // namespace
}  // namespace posthouse::smtp
