#include "services/queue/enqueue_request.h"

#include <gtest/gtest.h>

#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace posthouse::queue {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1700000000);

v1::EnqueueRequest::Header Header(int recipients = 2) {
  v1::EnqueueRequest::Header header;
  header.set_idempotency_key("0123456789abcdef");
  header.mutable_envelope()->set_reverse_path("s@example.org");
  for (int i = 0; i < recipients; ++i) {
    auto* recipient = header.mutable_envelope()->add_recipients();
    recipient->set_address(absl::StrCat("r", i, "@example.com"));
    recipient->mutable_resolved()->mutable_remote()->set_domain("example.com");
  }
  return header;
}

TEST(EnqueueRequestTest, WhatBreaksTheContractIsNamed) {
  EXPECT_TRUE(CheckHeader(Header()).ok());
  EXPECT_TRUE(CheckHeader(Header(5000)).ok());
  using H = v1::EnqueueRequest::Header;
  const std::vector<std::pair<std::function<void(H&)>, std::string>> cases = {
      {[](H& h) { h.mutable_envelope()->clear_recipients(); }, "no recipients"},
      {[](H& h) { h = Header(5001); }, "more than 5000 recipients"},
      {[](H& h) { h.set_idempotency_key(std::string(65, 'k')); }, "idempotency_key"},
      {[](H& h) { h.mutable_envelope()->set_reverse_path("a@b\r\nBcc: c@d"); }, "reverse_path has CR"},
      {[](H& h) { h.mutable_envelope()->set_envid(std::string("a\0b", 3)); }, "envid has CR, LF or NUL"},
      {[](H& h) { h.mutable_envelope()->set_client_name(std::string(1001, 'x')); }, "client_name is longer"},
      {[](H& h) { h.mutable_envelope()->mutable_recipients(1)->clear_address(); }, "no address"},
      {[](H& h) { h.mutable_envelope()->mutable_recipients(1)->set_orcpt("rfc822;\n"); }, "ORCPT has CR"},
      {[](H& h) { h.mutable_envelope()->mutable_recipients(0)->mutable_resolved()->mutable_remote()->clear_domain(); },
       "no domain"},
      {[](H& h) {
         h = Header(5000);
         for (auto& r : *h.mutable_envelope()->mutable_recipients()) r.set_original(std::string(500, 'o'));
       },
       "larger than 2 MiB"},
  };
  for (const auto& [change, error] : cases) {
    H header = Header();
    change(header);
    const absl::Status status = CheckHeader(header);
    // What is too large can be divided by the sender; the rest is a defect of the caller.
    const bool too_large = absl::StrContains(error, "5000 recipients") || absl::StrContains(error, "2 MiB");
    EXPECT_EQ(status.code(), too_large ? absl::StatusCode::kOutOfRange : absl::StatusCode::kInvalidArgument) << error;
    EXPECT_TRUE(absl::StrContains(status.message(), error)) << status;
  }
}

TEST(EnqueueRequestTest, TheItemOwesItsRecipientsAtOnceAndUntilItExpires) {
  v1::EnqueueRequest::Header header = Header();
  const auto record = NewItemRecord(&header, kNow, absl::Hours(120));
  EXPECT_EQ(record->idempotency_key, "0123456789abcdef");
  ASSERT_EQ(record->item.recipients_size(), 2);
  EXPECT_EQ(record->item.recipients(1).recipient().address(), "r1@example.com");
  EXPECT_TRUE(IsWaiting(record->item.recipients(1)));
  EXPECT_EQ(record->due(), kNow);
  EXPECT_EQ(FromProto(record->item.expires()), kNow + absl::Hours(120));
}

TEST(EnqueueRequestTest, MessageIds) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"From: a@b\r\nMessage-ID: <1@x>\r\n\r\n", "<1@x>"},
      {"MESSAGE-id:<1@x>\n\n", "<1@x>"},
      {"Message-ID:\r\n <1@x>\r\nTo: c\r\n\r\n", "<1@x>"},
      {"Message-ID: <a\x01\xff@x>\r\n\r\n", "<a?@x>"},
      {"Subject: x\r\n\r\nMessage-ID: <body@x>\r\n", ""},
      {"X-Message-ID: <1@x>\r\n\r\n", ""},
      {"", ""},
  };
  for (const auto& [bytes, id] : cases) EXPECT_EQ(MessageIdOf(bytes), id) << bytes;
  EXPECT_EQ(MessageIdOf("Message-ID: <" + std::string(2000, 'a') + ">\r\n\r\n").size(), 500u);
}

}  // namespace
}  // namespace posthouse::queue
