#include "services/routing/dns/message.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/routing/dns/testing/message_writer.h"

namespace posthouse::routing::dns {
namespace {

using Outcome = Answer::Outcome;

Question Ask(const std::string& name, RecordType type) {
  Question question;
  question.id = 7;
  question.name = name;
  question.type = static_cast<uint16_t>(type);
  return question;
}

std::string Message(const std::string& name, RecordType type, const std::vector<ResourceRecord>& answers,
                    const std::vector<ResourceRecord>& authority = {}, AnswerHeader header = {}) {
  return WriteAnswer(Ask(name, type), header, answers, authority);
}

TEST(DnsMessageTest, RecordsAreRead) {
  const absl::StatusOr<Answer> mx =
      ParseAnswer(Message("example.org", RecordType::kMx,
                          {{"example.org", RecordType::kMx, 300, MxData(20, "MX2.Example.ORG")},
                           {"example.org", RecordType::kMx, 100, MxData(10, "mx1.example.org")}}),
                  "Example.org.", RecordType::kMx);
  ASSERT_TRUE(mx.ok()) << mx.status();
  EXPECT_EQ(mx->outcome, Outcome::kRecords);
  EXPECT_EQ(mx->mx, (std::vector<MxRecord>{{20, "mx2.example.org"}, {10, "mx1.example.org"}}));
  EXPECT_EQ(mx->ttl, absl::Seconds(100));
  const absl::StatusOr<Answer> a =
      ParseAnswer(Message("h.example", RecordType::kA, {{"h.example", RecordType::kA, 60, AddressData("192.0.2.1")}}),
                  "h.example", RecordType::kA);
  ASSERT_TRUE(a.ok());
  EXPECT_EQ(absl::StrJoin(a->addresses, " "), "192.0.2.1");
  const absl::StatusOr<Answer> aaaa = ParseAnswer(
      Message("h.example", RecordType::kAaaa, {{"h.example", RecordType::kAaaa, 60, AddressData("2001:db8::1")}}),
      "h.example", RecordType::kAaaa);
  ASSERT_TRUE(aaaa.ok());
  EXPECT_EQ(absl::StrJoin(aaaa->addresses, " "), "2001:db8::1");
  const absl::StatusOr<Answer> txt = ParseAnswer(
      Message("h.example", RecordType::kTxt, {{"h.example", RecordType::kTxt, 60, TxtData(std::string(300, 'x'))}}),
      "h.example", RecordType::kTxt);
  ASSERT_TRUE(txt.ok());
  EXPECT_EQ(txt->texts[0], std::string(300, 'x'));
}

// RFC 7505: the root is a host name of its own.
TEST(DnsMessageTest, TheRootIsAnEmptyName) {
  const auto answer =
      ParseAnswer(Message("null.example", RecordType::kMx, {{"null.example", RecordType::kMx, 60, MxData(0, ".")}}),
                  "null.example", RecordType::kMx);
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->mx, (std::vector<MxRecord>{{0, ""}}));
}

TEST(DnsMessageTest, CnamesInsideTheAnswerAreFollowed) {
  const auto answer = ParseAnswer(Message("www.example", RecordType::kA,
                                          {{"www.example", RecordType::kCname, 30, EncodeName("a.example")},
                                           {"a.example", RecordType::kCname, 90, EncodeName("b.example")},
                                           {"b.example", RecordType::kA, 60, AddressData("192.0.2.7")},
                                           {"evil.example", RecordType::kA, 60, AddressData("192.0.2.66")}}),
                                  "www.example", RecordType::kA);
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(absl::StrJoin(answer->addresses, " "), "192.0.2.7");
  EXPECT_EQ(answer->ttl, absl::Seconds(30));
  const auto open = ParseAnswer(
      Message("www.example", RecordType::kA, {{"www.example", RecordType::kCname, 30, EncodeName("a.example")}}),
      "www.example", RecordType::kA);
  ASSERT_TRUE(open.ok());
  EXPECT_EQ(open->outcome, Outcome::kNoData);
  EXPECT_EQ(open->follow, "a.example");
}

// RFC 2308 §5
TEST(DnsMessageTest, NoIsKnownFromNotKnown) {
  const std::vector<ResourceRecord> soa = {{"example", RecordType::kSoa, 900, SoaData(120)}};
  const auto nx =
      ParseAnswer(Message("no.example", RecordType::kA, {}, soa, {.rcode = 3}), "no.example", RecordType::kA);
  ASSERT_TRUE(nx.ok());
  EXPECT_EQ(nx->outcome, Outcome::kNoSuchName);
  EXPECT_EQ(nx->ttl, absl::Seconds(120));
  const auto none = ParseAnswer(Message("no.example", RecordType::kA, {}, soa), "no.example", RecordType::kA);
  ASSERT_TRUE(none.ok());
  EXPECT_EQ(none->outcome, Outcome::kNoData);
  EXPECT_EQ(none->follow, "");
  const auto bare = ParseAnswer(Message("no.example", RecordType::kA, {}), "no.example", RecordType::kA);
  ASSERT_TRUE(bare.ok());
  EXPECT_EQ(bare->ttl, absl::Seconds(60));
  for (const int rcode : {1, 2, 4, 5, 9}) {
    EXPECT_EQ(ParseAnswer(Message("x.example", RecordType::kA, {}, {}, {.rcode = rcode}), "x.example", RecordType::kA)
                  .status()
                  .code(),
              absl::StatusCode::kUnavailable);
  }
}

TEST(DnsMessageTest, HugeAnswersAreCut) {
  std::vector<ResourceRecord> many;
  for (int i = 0; i < 4000; ++i) {
    many.push_back({"example.org", RecordType::kMx, 60, MxData(10, absl::StrCat("m", i, ".example.org"))});
  }
  const auto answer = ParseAnswer(Message("example.org", RecordType::kMx, many), "example.org", RecordType::kMx);
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->mx.size(), kMaxRecords);
}

TEST(DnsMessageTest, NonsenseIsRefused) {
  const std::string good =
      Message("h.example", RecordType::kA, {{"h.example", RecordType::kA, 60, AddressData("192.0.2.1")}});
  ASSERT_TRUE(ParseAnswer(good, "h.example", RecordType::kA).ok());
  // Cut anywhere, it is no answer.
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(ParseAnswer(good.substr(0, size), "h.example", RecordType::kA).ok()) << size;
  }
  EXPECT_FALSE(ParseAnswer(good, "other.example", RecordType::kA).ok());
  EXPECT_FALSE(ParseAnswer(good, "h.example", RecordType::kMx).ok());
  std::string query = good;
  query[2] = 0;
  EXPECT_FALSE(ParseAnswer(query, "h.example", RecordType::kA).ok());
  // A pointer to itself, and one forwards.
  std::string loop = good;
  loop[12] = '\xC0';
  loop[13] = '\x0C';
  EXPECT_FALSE(ParseAnswer(loop, "h.example", RecordType::kA).ok());
  loop[13] = '\x20';
  EXPECT_FALSE(ParseAnswer(loop, "h.example", RecordType::kA).ok());
  // An A record of five octets, and an MX that ends in its preference.
  EXPECT_FALSE(ParseAnswer(Message("h.example", RecordType::kA, {{"h.example", RecordType::kA, 60, "12345"}}),
                           "h.example", RecordType::kA)
                   .ok());
  EXPECT_FALSE(ParseAnswer(Message("h.example", RecordType::kMx, {{"h.example", RecordType::kMx, 60, "1"}}),
                           "h.example", RecordType::kMx)
                   .ok());
}

TEST(DnsMessageTest, NamesInAnyCaseAndWithOddOctets) {
  std::string message =
      Message("h.example", RecordType::kA, {{"h.example", RecordType::kA, 60, AddressData("192.0.2.1")}});
  message[13] = 'H';  // servers may answer in the case that was asked (or not)
  EXPECT_TRUE(ParseAnswer(message, "h.example", RecordType::kA).ok());
  message[13] = '.';
  EXPECT_FALSE(ParseAnswer(message, "h.example", RecordType::kA).ok());
  const absl::StatusOr<Answer> odd = ParseAnswer(message, "\\046.example", RecordType::kA);
  ASSERT_TRUE(odd.ok()) << odd.status();
  EXPECT_EQ(odd->outcome, Outcome::kNoData);  // the record is another name's
}

}  // namespace
}  // namespace posthouse::routing::dns
