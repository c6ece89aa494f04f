#include "services/ingress/header_editor.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace posthouse::ingress {
namespace {

HeaderEditor::Completion Completion() { return {"Date: D\r\n", "Message-ID: <I>\r\n"}; }

std::string Edit(HeaderEditor editor, const std::string& message, size_t step, uint32_t* received = nullptr) {
  std::string out;
  for (size_t at = 0; at < message.size(); at += step) editor.Feed(absl::string_view(message).substr(at, step), &out);
  editor.Finish(&out);
  if (received != nullptr) *received = editor.received();
  return out;
}

// RFC 6409 §8
TEST(HeaderEditor, CompletesSubmittedMail) {
  struct Case {
    std::string in, out;
  };
  const std::string added = "Date: D\r\nMessage-ID: <I>\r\n";
  const std::vector<Case> cases = {
      {"Subject: x\r\n\r\nbody\r\n", "Subject: x\r\n" + added + "\r\nbody\r\n"},
      {"date: now\r\nMESSAGE-ID: <1>\r\n\r\nDate: body\r\n", "date: now\r\nMESSAGE-ID: <1>\r\n\r\nDate: body\r\n"},
      {"Date : obsolete syntax\r\n\r\n", "Date : obsolete syntax\r\nMessage-ID: <I>\r\n\r\n"},
      {"Date-Foo: x\r\nX-Date: y\r\n\r\n", "Date-Foo: x\r\nX-Date: y\r\n" + added + "\r\n"},
      // Bcc goes, with its folded lines; what looks like it stays.
      {"Bcc: a@x.example,\r\n b@x.example,\r\n\tc@x.example\r\nTo: d@x.example\r\n\r\nBcc: body\r\n",
       "To: d@x.example\r\n" + added + "\r\nBcc: body\r\n"},
      {"Return-Path: <evil@x.example>\r\nTo: a\r\n\r\n", "To: a\r\n" + added + "\r\n"},  // RFC 5321 §4.4
      {"bcc:\r\nBcc-Note: x\r\nResent-Bcc: y\r\n\r\n", "Bcc-Note: x\r\nResent-Bcc: y\r\n" + added + "\r\n"},
      {"To: a\r\n Bcc: folded, no field\r\n\r\n", "To: a\r\n Bcc: folded, no field\r\n" + added + "\r\n"},
      // No body, no header, nothing at all.
      {"Subject: x\r\n", "Subject: x\r\n" + added},
      {"\r\nbody\r\n", added + "\r\nbody\r\n"},
      {"", added},
      // A body without a blank line before it.
      {"Subject: x\r\nhello there\r\nDate: body\r\n", "Subject: x\r\n" + added + "\r\nhello there\r\nDate: body\r\n"},
      {"\xff\xfe: x\r\n", added + "\r\n\xff\xfe: x\r\n"},
      {std::string(300, 'N') + ": v\r\nDate: d\r\n\r\n",
       std::string(300, 'N') + ": v\r\nDate: d\r\nMessage-ID: <I>\r\n\r\n"},
  };
  for (const Case& c : cases) {
    for (const size_t step : {size_t{1}, size_t{2}, size_t{7}, size_t{1000}}) {
      EXPECT_EQ(Edit(HeaderEditor(Completion()), c.in, step), c.out) << "step " << step;
    }
  }
}

TEST(HeaderEditor, ForwardedMailPassesByteForByte) {
  for (const std::string message :
       {"Bcc: a\r\nReceived: x\r\n by y\r\n\r\nReceived: body\r\n", "no header\r\n", "", "\r\n"}) {
    for (const size_t step : {size_t{1}, size_t{3}, size_t{1000}})
      EXPECT_EQ(Edit(HeaderEditor(), message, step), message);
  }
}

// RFC 5321 §6.3
TEST(HeaderEditor, CountsReceivedFields) {
  std::string message;
  for (int i = 0; i < 60; ++i) message += i % 2 == 0 ? "Received: from a\r\n\tby b; date\r\n" : "RECEIVED: x\r\n";
  message += "X-Received: no\r\nSubject: Received: no\r\n\r\nReceived: body\r\n";
  for (const size_t step : {size_t{1}, size_t{11}, message.size()}) {
    uint32_t received = 0;
    Edit(HeaderEditor(), message, step, &received);
    EXPECT_EQ(received, 60u);
  }
}

}  // namespace
}  // namespace posthouse::ingress
