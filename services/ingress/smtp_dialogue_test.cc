#include "services/ingress/smtp_dialogue.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "posthouse/routing/v1/routing.pb.h"
#include "services/ingress/replies.h"

namespace posthouse::ingress {
namespace {

using Action = SmtpDialogue::Action;
using Outcome = Resolution::Outcome;

std::string Base64(absl::string_view text) { return absl::Base64Escape(text); }
std::string Plain(absl::string_view user, absl::string_view password) {
  return Base64(absl::StrCat(std::string(1, '\0'), user, std::string(1, '\0'), password));
}

class SmtpDialogueTest : public testing::Test {
 protected:
  void Begin(bool tls = false) {
    rules_.policy = std::make_shared<const SmtpPolicy>(policy_);
    dialogue_ = std::make_unique<SmtpDialogue>(rules_, tls);
    std::string out;
    dialogue_->Greet(&out);
    EXPECT_EQ(out, "220 mx.example ESMTP Posthouse\r\n");
  }

  // Says one line, does what the machine asks for, and returns the reply without its
  // text: "250 2.1.0"; the lines of an EHLO reply whole.
  std::string Say(absl::string_view line) {
    if (dialogue_ == nullptr) Begin();
    std::string out;
    last_ = dialogue_->OnLine(line, &out);
    while (last_ == Action::kResolve || last_ == Action::kAuthenticate) {
      if (last_ == Action::kResolve) {
        last_ = dialogue_->OnResolved(Resolve(dialogue_->resolve_address()), &out);
      } else {
        const auto& c = dialogue_->credentials();
        Login login;
        login.address = c.username;
        login.may_send_as = {"user@mx.example", "alias@mx.example"};
        login.account_id = AccountId("user");
        last_ = dialogue_->OnAuthenticated(c.password == "secret" ? absl::OkStatus() : auth_failure_, login, &out);
      }
    }
    return Short(out);
  }

  static std::string Short(const std::string& out) {
    std::vector<std::string> codes;
    for (const absl::string_view line : absl::StrSplit(out, "\r\n", absl::SkipEmpty())) {
      const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
      if (line.size() > 3 && line[3] == '-') continue;
      codes.push_back(words.size() > 1 && absl::StrContains(words[1], ".") && words[1].size() < 8 && words[1][0] < 'A'
                          ? absl::StrCat(words[0], " ", words[1])
                          : std::string(words[0]));
    }
    return absl::StrJoin(codes, ", ");
  }

  // Everybody at mx.example exists but "nobody"; foreign addresses need the right to relay.
  Resolution Resolve(const std::string& address) {
    resolved_.push_back(address);
    Resolution resolution;
    if (absl::StartsWith(address, "nobody@")) {
      resolution.outcome = Outcome::kNoSuchMailbox;
    } else if (absl::StartsWith(address, "later@")) {
      resolution.outcome = Outcome::kTemporary;
    } else if (!absl::EndsWith(address, "@mx.example") && !absl::EqualsIgnoreCase(address, "postmaster") &&
               !dialogue_->may_relay()) {
      resolution.outcome = Outcome::kRelayDenied;
    } else {
      resolution.outcome = Outcome::kAccept;
      resolution.answer = std::make_shared<routing::v1::ResolveRecipientResponse>();
      if (absl::EndsWith(address, "@mx.example")) resolution.places.mailboxes.push_back({.usage = usage_});
      if (absl::StartsWith(address, "small@")) resolution.places.mailboxes[0].max_message_bytes = 1000;
      if (absl::StartsWith(address, "shared@")) resolution.places.mailboxes.push_back({.usage = other_usage_});
      if (absl::StartsWith(address, "forwarded@")) resolution.places.others = true;
      if (absl::StartsWith(address, "list")) resolution.recipients = 60;
      if (absl::StartsWith(address, "everybody@")) resolution.recipients = 10000;
      if (absl::EndsWith(address, "@foreign.example")) return resolution;
      // The mailbox of the address, with or without "+detail"; aliases are those of user.
      const std::string local = address.substr(0, address.find('@'));
      const std::string mailbox = local.substr(0, local.find('+'));
      resolution.account_id = AccountId(mailbox == "alias" || mailbox == "catch-all" ? "user" : mailbox);
      if (absl::StrContains(local, "+")) resolution.detail = local.substr(local.find('+') + 1);
    }
    return resolution;
  }

  std::string Deliver(const smtp::Reply& reply) {
    std::string out;
    last_ = dialogue_->OnMessage(reply, &out);
    return Short(out);
  }
  std::string Chunk(std::optional<smtp::Reply> refusal = std::nullopt) {
    std::string out;
    last_ = dialogue_->OnChunk(refusal, &out);
    return Short(out);
  }
  // A session on a submission port, encrypted and logged in.
  void LogIn() {
    rules_.submission = true;
    Begin(/*tls=*/true);
    Say("EHLO client.example");
    EXPECT_EQ(Say("AUTH PLAIN " + Plain("user@mx.example", "secret")), "235 2.7.0");
  }

  SmtpPolicy policy_ = [] {
    SmtpPolicy policy;
    policy.hostname = "mx.example";
    policy.max_message_bytes = 100000;
    return policy;
  }();
  Rules rules_ = {.starttls = true};
  std::unique_ptr<SmtpDialogue> dialogue_;
  std::optional<MailboxUsage> usage_;        // of every mailbox
  std::optional<MailboxUsage> other_usage_;  // of the second one of shared@
  absl::Status auth_failure_ = absl::UnauthenticatedError("");
  Action last_ = Action::kNone;
  std::vector<std::string> resolved_;
};

// RFC 5321 appendix D.1
TEST_F(SmtpDialogueTest, ATypicalTransaction) {
  EXPECT_EQ(Say("EHLO client.example"), "250");
  EXPECT_EQ(Say("MAIL FROM:<smith@bar.example>"), "250 2.1.0");
  EXPECT_EQ(Say("RCPT TO:<jones@mx.example>"), "250 2.1.5");
  EXPECT_EQ(Say("RCPT TO:<nobody@mx.example>"), "550 5.1.1");
  EXPECT_EQ(Say("RCPT TO:<brown@mx.example>"), "250 2.1.5");
  EXPECT_EQ(Say("DATA"), "354");
  EXPECT_EQ(last_, Action::kReceiveData);
  ASSERT_EQ(dialogue_->envelope().recipients.size(), 2u);
  EXPECT_EQ(dialogue_->envelope().reverse_path, "smith@bar.example");
  EXPECT_EQ(Deliver(smtp::Reply(250, "2.0.0", "ok")), "250 2.0.0");
  EXPECT_EQ(dialogue_->state(), SmtpDialogue::State::kReady);
  EXPECT_TRUE(dialogue_->envelope().recipients.empty());
  EXPECT_EQ(Say("QUIT"), "221 2.0.0");
  EXPECT_EQ(last_, Action::kClose);
}

// RFC 5321 §4.1.4: each command in each state where it does not belong.
TEST_F(SmtpDialogueTest, OutOfOrderIsRefusedAndChangesNothing) {
  struct Case {
    std::vector<std::string> before;
    std::string line, reply;
  };
  const std::vector<std::string> ready = {"EHLO c"}, mail = {"EHLO c", "MAIL FROM:<>"},
                                 rcpt = {"EHLO c", "MAIL FROM:<>", "RCPT TO:<a@mx.example>"};
  for (const Case& c : std::vector<Case>{{{}, "MAIL FROM:<a@b.example>", "503 5.5.1"},
                                         {{}, "RCPT TO:<a@mx.example>", "503 5.5.1"},
                                         {{}, "DATA", "503 5.5.1"},
                                         {ready, "RCPT TO:<a@mx.example>", "503 5.5.1"},
                                         {ready, "DATA", "503 5.5.1"},
                                         {mail, "MAIL FROM:<a@b.example>", "503 5.5.1"},
                                         {mail, "DATA", "503 5.5.1"},
                                         {mail, "STARTTLS", "503 5.5.1"},
                                         {rcpt, "MAIL FROM:<a@b.example>", "503 5.5.1"},
                                         {rcpt, "AUTH PLAIN", "503 5.5.1"}}) {
    Begin();
    for (const std::string& line : c.before) Say(line);
    const SmtpDialogue::State state = dialogue_->state();
    EXPECT_EQ(Say(c.line), c.reply) << c.line;
    EXPECT_EQ(dialogue_->state(), state);
    EXPECT_EQ(last_, Action::kNone);
  }
}

TEST_F(SmtpDialogueTest, EhloAndRsetForgetTheTransaction) {
  for (const char* line : {"RSET", "EHLO again", "HELO again"}) {
    Begin();
    for (const char* before : {"EHLO c", "MAIL FROM:<a@b.example>", "RCPT TO:<a@mx.example>"}) Say(before);
    EXPECT_TRUE(absl::StartsWith(Say(line), "250"));
    EXPECT_EQ(Say("DATA"), "503 5.5.1");
    EXPECT_EQ(Say("MAIL FROM:<>"), "250 2.1.0");
    EXPECT_TRUE(dialogue_->envelope().recipients.empty());
  }
}

TEST_F(SmtpDialogueTest, EhloAnnouncesWhatIsServed) {
  Begin();
  std::string out;
  dialogue_->OnLine("EHLO c", &out);
  EXPECT_EQ(out,
            "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 100000\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n"
            "250-SMTPUTF8\r\n250-CHUNKING\r\n250-DSN\r\n250-STARTTLS\r\n250 HELP\r\n");
  rules_.submission = true;
  Begin(/*tls=*/true);
  out.clear();
  dialogue_->OnLine("EHLO c", &out);
  EXPECT_TRUE(absl::StrContains(out, "\r\n250-AUTH PLAIN LOGIN\r\n"));
  EXPECT_FALSE(absl::StrContains(out, "STARTTLS"));
  out.clear();
  dialogue_->OnLine("HELO c", &out);
  EXPECT_EQ(out, "250 mx.example\r\n");
}

TEST_F(SmtpDialogueTest, CommandsThatAreAlwaysPossible) {
  EXPECT_EQ(Say("NOOP"), "250 2.0.0");
  EXPECT_EQ(Say("VRFY somebody"), "252 2.5.2");  // RFC 5321 §7.3
  EXPECT_EQ(Say("EXPN list"), "502 5.5.1");
  EXPECT_EQ(Say("HELP"), "214 2.0.0");
  EXPECT_EQ(Say("LHLO c"), "502 5.5.1");
  EXPECT_EQ(Say("XYZZY"), "500 5.5.1");
  EXPECT_EQ(Say("RSET"), "250 2.0.0");
  EXPECT_EQ(dialogue_->state(), SmtpDialogue::State::kNew);
  EXPECT_EQ(Say("GET / HTTP/1.1"), "421 4.7.0");
  EXPECT_EQ(last_, Action::kClose);
}

TEST_F(SmtpDialogueTest, LinesOverTheLimitAreRefused) {
  Say("EHLO c");
  EXPECT_EQ(Say("NOOP " + std::string(smtp::kMaxCommandLine, 'x')), "500 5.5.2");
  std::string out;
  EXPECT_EQ(dialogue_->OnLineTooLong(&out), Action::kNone);
  EXPECT_EQ(Short(out), "500 5.5.2");
}

// RFC 5321 §4.5.3.1.10
TEST_F(SmtpDialogueTest, OneRecipientTooManyIsATemporaryFailure) {
  policy_.max_recipients = 1;
  Say("EHLO client.example");
  Say("MAIL FROM:<s@y.example>");
  EXPECT_EQ(Say("RCPT TO:<a@mx.example>"), "250 2.1.5");
  EXPECT_EQ(Say("RCPT TO:<b@mx.example>"), "452 4.5.3");
  EXPECT_EQ(Say("DATA"), "354");
}

// The queue's limit is of addresses after aliases and groups.
TEST_F(SmtpDialogueTest, RecipientsAreCountedAfterAliases) {
  policy_.max_envelope_recipients = 130;
  Say("EHLO c");
  Say("MAIL FROM:<s@y.example>");
  EXPECT_EQ(Say("RCPT TO:<everybody@mx.example>"), "554 5.5.3");  // it will never fit
  EXPECT_EQ(Say("RCPT TO:<list@mx.example>"), "250 2.1.5");
  EXPECT_EQ(Say("RCPT TO:<\"list\"@mx.example>"), "250 2.1.5");  // the same
  EXPECT_EQ(Say("RCPT TO:<list2@mx.example>"), "250 2.1.5");
  EXPECT_EQ(Say("RCPT TO:<list3@mx.example>"), "452 4.5.3");  // sent later
  EXPECT_EQ(Say("RCPT TO:<a@mx.example>"), "250 2.1.5");
  EXPECT_EQ(Say("RSET"), "250 2.0.0");
  Say("MAIL FROM:<s@y.example>");
  EXPECT_EQ(Say("RCPT TO:<list2@mx.example>"), "250 2.1.5");
}

TEST_F(SmtpDialogueTest, AFullMailboxIsToldAtRcpt) {
  struct Case {
    MailboxUsage usage;
    std::string mail, reply;
  };
  for (const Case& c : std::vector<Case>{
           {{.bytes = 500, .limit_bytes = 1000}, "MAIL FROM:<>", "250 2.1.5"},
           {{.bytes = 1000, .limit_bytes = 1000}, "MAIL FROM:<>", "452 4.2.2"},
           {{.bytes = 2000, .limit_bytes = 1000}, "MAIL FROM:<>", "452 4.2.2"},
           {{.bytes = 500, .limit_bytes = 1000}, "MAIL FROM:<> SIZE=500", "250 2.1.5"},
           {{.bytes = 500, .limit_bytes = 1000}, "MAIL FROM:<> SIZE=501", "452 4.2.2"},
           {{.bytes = 0, .limit_bytes = 1000}, "MAIL FROM:<> SIZE=1001", "552 5.2.2"},  // never
           {{.messages = 9, .limit_messages = 10}, "MAIL FROM:<> SIZE=5000", "250 2.1.5"},
           {{.messages = 10, .limit_messages = 10}, "MAIL FROM:<>", "452 4.2.2"},
       }) {
    usage_ = c.usage;
    Begin();
    Say("EHLO c");
    Say(c.mail);
    EXPECT_EQ(Say("RCPT TO:<a@mx.example>"), c.reply) << c.mail << " " << c.usage.bytes;
  }
}

// An address with several recipients is full when each of its mailboxes is.
TEST_F(SmtpDialogueTest, AnAddressWithSeveralRecipientsIsFullWhenAllAre) {
  const MailboxUsage full{.bytes = 1000, .limit_bytes = 1000}, roomy{.bytes = 0, .limit_bytes = 1000};
  const MailboxUsage tiny{.bytes = 0, .limit_bytes = 10};
  struct Case {
    MailboxUsage first, second;
    std::string address, reply;
  };
  for (const Case& c : std::vector<Case>{{full, full, "shared", "452 4.2.2"},
                                         {full, roomy, "shared", "250 2.1.5"},
                                         {roomy, full, "shared", "250 2.1.5"},
                                         {tiny, tiny, "shared", "552 5.2.2"},
                                         {tiny, full, "shared", "452 4.2.2"},  // one may fit later
                                         {full, full, "forwarded", "250 2.1.5"}}) {
    usage_ = c.first;
    other_usage_ = c.second;
    Begin();
    Say("EHLO c");
    Say("MAIL FROM:<s@y.example> SIZE=100");
    EXPECT_EQ(Say(absl::StrCat("RCPT TO:<", c.address, "@mx.example>")), c.reply) << c.first.bytes;
  }
}

// At the end of data there is one reply for all recipients.
TEST_F(SmtpDialogueTest, AMessageThatFitsNobodyIsRefused) {
  const auto mailbox = [](uint64_t used, uint64_t limit) {
    Recipient recipient;
    recipient.places.mailboxes = {{.usage = MailboxUsage{.bytes = used, .limit_bytes = limit}}};
    return recipient;
  };
  const Recipient unlimited, full = mailbox(900, 1000), tiny = mailbox(0, 100), roomy = mailbox(0, 10000);
  // It fits as it is, but not with Return-Path and Delivered-To.
  const Recipient exact = mailbox(0, 220);
  Recipient small;
  small.places.mailboxes = {{.max_message_bytes = 150}};
  struct Case {
    std::vector<Recipient> recipients;
    bool retried;
    int code;  // 0: it is taken
  };
  for (const Case& c : std::vector<Case>{{{unlimited}, true, 0},
                                         {{roomy}, true, 0},
                                         {{full}, true, 452},
                                         {{full}, false, 0},  // the queue tries again
                                         {{tiny}, true, 552},
                                         {{tiny}, false, 552},
                                         {{small}, true, 552},
                                         {{exact}, true, 552},
                                         {{tiny, full}, true, 452},
                                         {{tiny, full, roomy}, true, 0}}) {
    Envelope envelope;
    envelope.recipients = c.recipients;
    const std::optional<Misfit> misfit = FitsNobody({.bytes = 200, .added = 10}, envelope, c.retried);
    EXPECT_EQ(misfit.has_value() ? misfit->reply.code : 0, c.code) << c.recipients.size() << " " << c.retried;
  }
}

TEST_F(SmtpDialogueTest, ARecipientNamedTwiceIsOne) {
  Say("EHLO c");
  Say("MAIL FROM:<>");
  EXPECT_EQ(Say("RCPT TO:<a@mx.example>"), "250 2.1.5");
  EXPECT_EQ(Say("RCPT TO:<\"a\"@mx.example>"), "250 2.1.5");
  EXPECT_EQ(dialogue_->envelope().recipients.size(), 1u);
}

TEST_F(SmtpDialogueTest, DataWithoutAnyRecipient) {
  Say("EHLO c");
  Say("MAIL FROM:<>");
  EXPECT_EQ(Say("RCPT TO:<nobody@mx.example>"), "550 5.1.1");
  EXPECT_EQ(Say("RCPT TO:<later@mx.example>"), "451 4.4.3");
  EXPECT_EQ(Say("DATA"), "554 5.5.1");
  EXPECT_EQ(last_, Action::kNone);
}

// RFC 5321 §4.5.1: routing knows whose it is, also when our name is no mail domain.
TEST_F(SmtpDialogueTest, PostmasterWithoutADomainIsOurs) {
  Say("EHLO c");
  Say("MAIL FROM:<>");
  EXPECT_EQ(Say("RCPT TO:<Postmaster>"), "250 2.1.5");
  EXPECT_EQ(resolved_.back(), "Postmaster");
}

// RFC 1870 §6.1
TEST_F(SmtpDialogueTest, SizeIsCheckedBeforeTheMessage) {
  Say("EHLO c");
  EXPECT_EQ(Say("MAIL FROM:<> SIZE=100001"), "552 5.3.4");
  EXPECT_EQ(Say("MAIL FROM:<> SIZE=100000"), "250 2.1.0");
  EXPECT_EQ(Say("RCPT TO:<small@mx.example>"), "552 5.3.4");
  EXPECT_EQ(Say("RCPT TO:<big@mx.example>"), "250 2.1.5");
}

TEST_F(SmtpDialogueTest, ParametersReachTheEnvelope) {
  Say("EHLO c");
  EXPECT_EQ(Say("MAIL FROM:<я@b.example> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x+2By SIZE=7"), "250 2.1.0");
  EXPECT_EQ(Say("RCPT TO:<ю@mx.example> NOTIFY=NEVER ORCPT=rfc822;o@x.example"), "250 2.1.5");
  const Envelope& e = dialogue_->envelope();
  EXPECT_EQ(e.parameters.body, smtp::Body::kEightBitMime);
  EXPECT_TRUE(e.parameters.smtputf8);
  EXPECT_EQ(e.parameters.ret, smtp::Ret::kHeaders);
  EXPECT_EQ(e.parameters.envid, "x+y");
  EXPECT_EQ(e.parameters.size, 7u);
  EXPECT_TRUE(e.recipients[0].parameters.notify.never);
  EXPECT_EQ(e.recipients[0].parameters.orcpt.ToString(), "rfc822;o@x.example");
  Say("RSET");
  Say("MAIL FROM:<a@b.example>");
  EXPECT_EQ(Say("RCPT TO:<ю@mx.example>"), "553 5.6.7");  // RFC 6531 §3.5
  Say("RSET");
  EXPECT_EQ(Say("MAIL FROM:<> BODY=BINARYMIME"), "555 5.5.4");
}

TEST_F(SmtpDialogueTest, TooManyErrorsEndTheSession) {
  policy_.max_errors = 3;
  Begin();
  EXPECT_EQ(Say("X"), "500 5.5.1");
  EXPECT_EQ(Say("Y"), "500 5.5.1");
  EXPECT_EQ(Say("Z"), "500 5.5.1, 421 4.7.0");
  EXPECT_EQ(last_, Action::kClose);
}

// A list with many dead addresses is delivered to the others in the first session.
TEST_F(SmtpDialogueTest, RefusedRecipientsBesideAnAcceptedOneDoNotEndTheSession) {
  for (const bool accepted_first : {true, false}) {
    Begin();
    Say("EHLO c");
    Say("MAIL FROM:<list@sender.example>");
    if (accepted_first) EXPECT_EQ(Say("RCPT TO:<a@mx.example>"), "250 2.1.5");
    for (int i = 0; i < 30; ++i) EXPECT_EQ(Say("RCPT TO:<nobody@mx.example>"), "550 5.1.1") << i;
    EXPECT_EQ(Say("RCPT TO:<b@mx.example>"), "250 2.1.5");
    for (int i = 0; i < 300; ++i) EXPECT_EQ(Say("RCPT TO:<nobody@mx.example>"), "550 5.1.1") << i;
    EXPECT_EQ(Say("DATA"), "354");
    EXPECT_EQ(Deliver(smtp::Reply(250, "2.0.0", "ok")), "250 2.0.0");
  }
}

TEST_F(SmtpDialogueTest, GuessingOfRecipientsEndsTheSession) {
  const auto guesses = [&](int each) {
    Begin();
    Say("EHLO c");
    for (int said = 1; said < 1000; ++said) {
      if ((said - 1) % each == 0) {
        Say("RSET");
        Say("MAIL FROM:<>");
      }
      if (Say("RCPT TO:<nobody@mx.example>") == "550 5.1.1, 421 4.7.0") return said;
    }
    return 1000;
  };
  EXPECT_EQ(guesses(1000), 40);  // twice max_errors
  EXPECT_EQ(guesses(1), 40);     // also in many transactions
  policy_.max_recipients = 100;
  Begin();
  Say("EHLO c");
  Say("MAIL FROM:<>");
  Say("RCPT TO:<a@mx.example>");
  for (int i = 1; i < 100; ++i) EXPECT_EQ(Say("RCPT TO:<nobody@mx.example>"), "550 5.1.1") << i;
  EXPECT_EQ(Say("RCPT TO:<nobody@mx.example>"), "550 5.1.1, 421 4.7.0");
}

TEST_F(SmtpDialogueTest, AnAcceptedMessageForgivesErrors) {
  policy_.max_errors = 3;
  for (int round = 0; round < 5; ++round) {
    Say("EHLO c");
    Say("XYZZY");
    Say("MAIL FROM:<>");
    Say("RCPT TO:<a@mx.example>");
    Say("DATA");
    EXPECT_EQ(Deliver(smtp::Reply(250, "2.0.0", "ok")), "250 2.0.0");
    EXPECT_EQ(last_, Action::kNone);
  }
}

// ---- CHUNKING (RFC 3030)

TEST_F(SmtpDialogueTest, ChunksMakeAMessage) {
  for (const char* line : {"EHLO c", "MAIL FROM:<>", "RCPT TO:<a@mx.example>"}) Say(line);
  EXPECT_EQ(Say("BDAT 10"), "");
  EXPECT_EQ(last_, Action::kReceiveChunk);
  EXPECT_EQ(dialogue_->chunk().bytes, 10u);
  EXPECT_FALSE(dialogue_->chunk().discard);
  EXPECT_EQ(Chunk(), "250 2.0.0");
  EXPECT_EQ(Say("DATA"), "503 5.5.1");  // RFC 3030 §2: not mixed
  EXPECT_EQ(Say("RCPT TO:<b@mx.example>"), "503 5.5.1");
  EXPECT_EQ(Say("BDAT 0 LAST"), "");
  EXPECT_TRUE(dialogue_->chunk().last);
  EXPECT_EQ(Deliver(smtp::Reply(250, "2.0.0", "ok")), "250 2.0.0");
}

TEST_F(SmtpDialogueTest, ChunksOutOfOrderAreReadAndRefused) {
  Say("EHLO c");
  EXPECT_EQ(Say("BDAT 5 LAST"), "");
  EXPECT_TRUE(dialogue_->chunk().discard);
  EXPECT_EQ(Chunk(), "503 5.5.1");
  Say("MAIL FROM:<>");
  Say("RCPT TO:<nobody@mx.example>");
  Say("BDAT 5 LAST");
  EXPECT_TRUE(dialogue_->chunk().discard);
  EXPECT_EQ(Chunk(), "554 5.5.1");
  EXPECT_EQ(Say("BDAT 100001"), "421 4.5.1");
  EXPECT_EQ(last_, Action::kClose);
}

// Its octets would be read as commands.
TEST_F(SmtpDialogueTest, AChunkOfUnknownSizeEndsTheSession) {
  for (const char* line : {"BDAT", "BDAT x", "BDAT -1", "BDAT 5 FIRST", "BDAT 99999999999999999999999 LAST"}) {
    Begin();
    for (const char* before : {"EHLO c", "MAIL FROM:<>", "RCPT TO:<a@mx.example>"}) Say(before);
    EXPECT_EQ(Say(line), "501 5.5.4, 421 4.5.1") << line;
    EXPECT_EQ(last_, Action::kClose);
  }
}

TEST_F(SmtpDialogueTest, ARefusedChunkEndsTheTransaction) {
  for (const char* line : {"EHLO c", "MAIL FROM:<>", "RCPT TO:<a@mx.example>", "BDAT 10"}) Say(line);
  EXPECT_EQ(Chunk(smtp::Reply(552, "5.3.4", "too large")), "552 5.3.4");
  Say("BDAT 10 LAST");
  EXPECT_TRUE(dialogue_->chunk().discard);
}

// RFC 1870 §6.3: told at the command, as for SIZE.
TEST_F(SmtpDialogueTest, ChunksOverTheLimitAreRefusedAtTheCommand) {
  const auto begin = [&] {
    Begin();
    for (const char* line : {"EHLO c", "MAIL FROM:<>", "RCPT TO:<a@mx.example>"}) Say(line);
  };
  begin();
  EXPECT_EQ(Say("BDAT 99999999999"), "552 5.3.4, 421 4.3.4");
  EXPECT_EQ(last_, Action::kClose);
  begin();
  EXPECT_EQ(Say("BDAT 60000"), "");
  EXPECT_EQ(Chunk(), "250 2.0.0");
  // Together too large: its octets are read and dropped, and the session goes on.
  EXPECT_EQ(Say("BDAT 40001 LAST"), "552 5.3.4");
  EXPECT_EQ(last_, Action::kReceiveChunk);
  EXPECT_TRUE(dialogue_->chunk().discard);
  EXPECT_EQ(Chunk(), "");
  EXPECT_EQ(Say("MAIL FROM:<>"), "250 2.1.0");
  Say("RCPT TO:<a@mx.example>");
  EXPECT_EQ(Say("BDAT 100000 LAST"), "");
  EXPECT_FALSE(dialogue_->chunk().discard);
}

// ---- STARTTLS (RFC 3207)

TEST_F(SmtpDialogueTest, AfterStartTlsNothingIsRemembered) {
  Say("EHLO c");
  EXPECT_EQ(Say("STARTTLS"), "220 2.0.0");
  EXPECT_EQ(last_, Action::kStartTls);
  dialogue_->OnTlsStarted();
  EXPECT_EQ(Say("MAIL FROM:<>"), "503 5.5.1");
  EXPECT_EQ(Say("EHLO c"), "250");
  EXPECT_EQ(Say("STARTTLS"), "503 5.5.1");
}

TEST_F(SmtpDialogueTest, WithoutCertificateThereIsNoStartTls) {
  rules_.starttls = false;
  Say("EHLO c");
  EXPECT_EQ(Say("STARTTLS"), "502 5.5.1");
}

// ---- AUTH (RFC 4954)

TEST_F(SmtpDialogueTest, SubmissionNeedsALogin) {
  rules_.submission = true;
  Begin(/*tls=*/true);
  Say("EHLO c");
  EXPECT_EQ(Say("MAIL FROM:<user@mx.example>"), "530 5.7.0");
  EXPECT_EQ(Say("VRFY user"), "530 5.7.0");
  EXPECT_EQ(Say("NOOP"), "250 2.0.0");
  EXPECT_EQ(Say("AUTH PLAIN " + Plain("user@mx.example", "wrong")), "535 5.7.8");
  EXPECT_EQ(Say("MAIL FROM:<user@mx.example>"), "530 5.7.0");
  EXPECT_EQ(Say("AUTH PLAIN " + Plain("user@mx.example", "secret")), "235 2.7.0");
  EXPECT_EQ(Say("AUTH PLAIN " + Plain("user@mx.example", "secret")), "503 5.5.1");
  EXPECT_EQ(Say("MAIL FROM:<user@mx.example>"), "250 2.1.0");
  EXPECT_EQ(Say("RCPT TO:<x@elsewhere.example>"), "250 2.1.5");
}

TEST_F(SmtpDialogueTest, AuthDialogues) {
  rules_.submission = true;
  struct Case {
    std::vector<std::string> lines;
    std::string replies;
  };
  const std::string nul(1, '\0');
  const std::vector<Case> cases = {
      {{"AUTH PLAIN", Plain("u", "secret")}, "334, 235 2.7.0"},
      {{"AUTH LOGIN", Base64("u"), Base64("secret")}, "334, 334, 235 2.7.0"},
      {{"AUTH LOGIN " + Base64("u"), Base64("secret")}, "334, 235 2.7.0"},
      {{"auth login", Base64("u"), Base64("wrong")}, "334, 334, 535 5.7.8"},
      {{"AUTH PLAIN", "*"}, "334, 501 5.7.0"},
      {{"AUTH LOGIN", Base64("u"), "*"}, "334, 334, 501 5.7.0"},
      {{"AUTH PLAIN not-base64!"}, "501 5.5.2"},
      {{"AUTH PLAIN " + Base64("no nuls")}, "501 5.5.2"},
      {{"AUTH PLAIN " + Base64("a" + nul + "b" + nul + "c" + nul)}, "501 5.5.2"},
      {{"AUTH PLAIN ="}, "501 5.5.2"},
      {{"AUTH PLAIN " + Base64("u" + nul + "U" + nul + "secret")}, "235 2.7.0"},
      {{"AUTH PLAIN " + Base64("other" + nul + "u" + nul + "secret")}, "535 5.7.8"},
      {{"AUTH CRAM-MD5"}, "504 5.5.4"},
      {{"AUTH"}, "501 5.5.4"},
  };
  for (const Case& c : cases) {
    Begin(/*tls=*/true);
    Say("EHLO c");
    std::vector<std::string> replies;
    for (const std::string& line : c.lines) replies.push_back(Say(line));
    EXPECT_EQ(absl::StrJoin(replies, ", "), c.replies) << c.lines[0];
    EXPECT_NE(dialogue_->state(), SmtpDialogue::State::kAuthDialog);
  }
}

TEST_F(SmtpDialogueTest, WhatCannotBeCheckedIsATemporaryFailure) {
  rules_.submission = true;
  struct Case {
    absl::Status status;
    std::string reply;
  };
  for (const Case& c :
       {Case{absl::UnavailableError(""), "454 4.7.0"}, Case{absl::ResourceExhaustedError(""), "454 4.7.0"},
        Case{absl::UnknownError(""), "454 4.7.0"}, Case{absl::PermissionDeniedError(""), "535 5.7.8"}}) {
    auth_failure_ = c.status;
    Begin(/*tls=*/true);
    Say("EHLO c");
    EXPECT_EQ(Say("AUTH PLAIN " + Plain("u", "x")), c.reply);
  }
}

// RFC 4954 §4: no passwords in the clear.
TEST_F(SmtpDialogueTest, AuthNeedsTls) {
  rules_.submission = true;
  Begin();
  Say("EHLO c");
  EXPECT_EQ(Say("AUTH PLAIN " + Plain("u", "secret")), "538 5.7.11");
  policy_.allow_plaintext_auth = true;
  Begin();
  Say("EHLO c");
  EXPECT_EQ(Say("AUTH PLAIN " + Plain("u", "secret")), "235 2.7.0");
  rules_.submission = false;
  Begin(/*tls=*/true);
  Say("EHLO c");
  EXPECT_EQ(Say("AUTH PLAIN " + Plain("u", "secret")), "502 5.5.1");
}

TEST_F(SmtpDialogueTest, UsersSendAsThemselves) {
  LogIn();
  EXPECT_EQ(Say("MAIL FROM:<boss@mx.example>"), "553 5.7.1");
  EXPECT_EQ(Say("MAIL FROM:<User@MX.Example>"), "250 2.1.0");
  Say("RSET");
  EXPECT_EQ(Say("MAIL FROM:<alias@mx.example>"), "250 2.1.0");
  Say("RSET");
  EXPECT_EQ(Say("MAIL FROM:<>"), "250 2.1.0");
  policy_.allow_any_sender = true;
  LogIn();
  EXPECT_EQ(Say("MAIL FROM:<boss@mx.example>"), "250 2.1.0");
}

// RFC 5233: a subaddress is the owner's, under the separators of its domain.
TEST_F(SmtpDialogueTest, UsersSendFromTheirSubaddresses) {
  LogIn();
  EXPECT_EQ(Say("MAIL FROM:<user+lists@mx.example>"), "250 2.1.0");
  EXPECT_EQ(dialogue_->envelope().reverse_path, "user+lists@mx.example");
  for (const char* path : {"<boss+lists@mx.example>", "<user-lists@mx.example>", "<catch-all@mx.example>",
                           "<user+@mx.example>", "<user+x@foreign.example>"}) {
    Say("RSET");
    EXPECT_EQ(Say(absl::StrCat("MAIL FROM:", path)), "553 5.7.1") << path;
  }
  EXPECT_EQ(Say("MAIL FROM:<later@mx.example>"), "553 5.7.1");
  Say("MAIL FROM:<alias+x@mx.example>");
  EXPECT_EQ(dialogue_->envelope().reverse_path, "alias+x@mx.example");
}

// ---- no open relay

// Addresses that scanners try; the first 16 are those of nmap's smtp-open-relay. Never relayed.
TEST_F(SmtpDialogueTest, IsNoOpenRelay) {
  const char* ip = "192.0.2.9";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"<>", "<relaytest@foreign.example>"},
      {"<antispam@foreign.example>", "<relaytest@foreign.example>"},
      {absl::StrCat("<antispam@[", ip, "]>"), "<relaytest@foreign.example>"},
      {"<antispam@mx.example>", "<relaytest@foreign.example>"},
      {absl::StrCat("<antispam@[", ip, "]>"), absl::StrCat("<relaytest%foreign.example@[", ip, "]>")},
      {"<antispam@mx.example>", "<relaytest%foreign.example@other.example>"},
      {absl::StrCat("<antispam@[", ip, "]>"), "<\"relaytest@foreign.example\">"},
      {"<antispam@mx.example>", "<\"relaytest%foreign.example\">"},
      {absl::StrCat("<antispam@[", ip, "]>"), "<relaytest@foreign.example@foreign2.example>"},
      {absl::StrCat("<antispam@[", ip, "]>"), absl::StrCat("<\"relaytest@foreign.example\"@[", ip, "]>")},
      {"<antispam@mx.example>", "<\"relaytest@foreign.example\"@foreign2.example>"},
      {absl::StrCat("<antispam@[", ip, "]>"), absl::StrCat("<@[", ip, "]:relaytest@foreign.example>")},
      {"<antispam@mx.example>", "<@mx.example:relaytest@foreign.example>"},
      {absl::StrCat("<antispam@[", ip, "]>"), "<foreign.example!relaytest>"},
      {absl::StrCat("<antispam@[", ip, "]>"), absl::StrCat("<foreign.example!relaytest@[", ip, "]>")},
      {"<antispam@mx.example>", "<foreign.example!relaytest@foreign2.example>"},
      {"<a@mx.example>", "relaytest@foreign.example"},
      {"<a@mx.example>", "<@mx.example,@foreign.example:relaytest@foreign2.example>"},
  };
  for (const auto& [from, to] : cases) {
    Begin();
    Say("EHLO c");
    EXPECT_EQ(Say("MAIL FROM:" + from), "250 2.1.0") << from;
    const std::string reply = Say("RCPT TO:" + to);
    EXPECT_TRUE(reply == "554 5.7.1" || reply == "553 5.1.3") << to << " got " << reply;
    EXPECT_EQ(Say("DATA").substr(0, 3), reply == "554 5.7.1" ? "554" : "503");
  }
}

TEST_F(SmtpDialogueTest, ATrustedNetworkMayRelay) {
  rules_.trusted_network = true;
  Say("EHLO c");
  Say("MAIL FROM:<a@mx.example>");
  EXPECT_EQ(Say("RCPT TO:<x@foreign.example>"), "250 2.1.5");
}

// ---- refusals

// Each refusal of mail is reported once, with what the operator looks for.
TEST_F(SmtpDialogueTest, EveryRefusalIsReportedWithItsReason) {
  policy_.max_recipients = 100;
  struct Case {
    std::string line;
    Stage stage;
    Reason reason;
    std::string from, to;
  };
  Begin();
  Say("EHLO c");
  for (const Case& c : std::vector<Case>{
           {"MAIL FROM:<broken", Stage::kMail, Reason::kSyntax, "broken", ""},
           {"MAIL FROM:<a@b.example> SIZE=100001", Stage::kMail, Reason::kTooLarge, "a@b.example", ""},
           {"MAIL FROM:<a@b.example> BODY=BINARYMIME", Stage::kMail, Reason::kUnsupported, "a@b.example", ""},
           {"RCPT TO:<early@mx.example>", Stage::kRcpt, Reason::kSequence, "", "early@mx.example"},
           {"MAIL FROM:<s@b.example>", Stage::kSession, Reason::kOther, "", ""},  // accepted
           {"RCPT TO:<nobody@mx.example>", Stage::kRcpt, Reason::kNoSuchMailbox, "s@b.example", "nobody@mx.example"},
           {"RCPT TO:<later@mx.example>", Stage::kRcpt, Reason::kUnavailable, "s@b.example", "later@mx.example"},
           {"RCPT TO:<x@foreign.example>", Stage::kRcpt, Reason::kRelayDenied, "s@b.example", "x@foreign.example"},
           {"RCPT TO:<\xD1\x8E@mx.example>", Stage::kRcpt, Reason::kNeedsSmtpUtf8, "s@b.example",
            "\xD1\x8E@mx.example"},
           {"DATA", Stage::kData, Reason::kNoRecipients, "s@b.example", ""},
       }) {
    Say(c.line);
    const std::vector<Refusal> refusals = dialogue_->TakeRefusals();
    if (c.stage == Stage::kSession) {
      EXPECT_TRUE(refusals.empty()) << c.line;
      continue;
    }
    ASSERT_EQ(refusals.size(), 1u) << c.line;
    EXPECT_STREQ(StageName(refusals[0].stage), StageName(c.stage)) << c.line;
    EXPECT_STREQ(ReasonName(refusals[0].reason), ReasonName(c.reason)) << c.line;
    EXPECT_EQ(refusals[0].from, c.from) << c.line;
    EXPECT_EQ(absl::StrJoin(refusals[0].to, ","), c.to) << c.line;
    EXPECT_FALSE(refusals[0].reply.empty()) << c.line;
  }
}

TEST_F(SmtpDialogueTest, ASessionThatTheServerEndsIsReported) {
  policy_.max_errors = 2;
  Begin();
  Say("X");
  EXPECT_TRUE(dialogue_->TakeRefusals().empty());
  Say("Y");
  const std::vector<Refusal> refusals = dialogue_->TakeRefusals();
  ASSERT_EQ(refusals.size(), 1u);
  EXPECT_EQ(refusals[0].stage, Stage::kSession);
  EXPECT_EQ(refusals[0].reason, Reason::kMaxErrors);
  EXPECT_EQ(refusals[0].reply, "421 4.7.0 mx.example Too many errors");
}

TEST_F(SmtpDialogueTest, ARefusedLoginIsReportedWithItsName) {
  rules_.submission = true;
  Begin(/*tls=*/true);
  Say("EHLO c");
  Say("AUTH PLAIN " + Plain("victim@mx.example", "guess"));
  std::vector<Refusal> refusals = dialogue_->TakeRefusals();
  ASSERT_EQ(refusals.size(), 1u);
  EXPECT_EQ(refusals[0].stage, Stage::kAuth);
  EXPECT_EQ(refusals[0].reason, Reason::kWrongPassword);
  EXPECT_EQ(refusals[0].login, "victim@mx.example");
  Say("MAIL FROM:<user@mx.example>");
  refusals = dialogue_->TakeRefusals();
  ASSERT_EQ(refusals.size(), 1u);
  EXPECT_EQ(refusals[0].reason, Reason::kAuthRequired);
  auth_failure_ = absl::ResourceExhaustedError("too many wrong passwords");
  EXPECT_EQ(Say("AUTH PLAIN " + Plain("victim@mx.example", "guess")), "454 4.7.0");
  refusals = dialogue_->TakeRefusals();
  ASSERT_EQ(refusals.size(), 1u);
  EXPECT_EQ(refusals[0].reason, Reason::kLoginLimit);
  LogIn();
  dialogue_->TakeRefusals();
  Say("MAIL FROM:<boss@mx.example>");
  refusals = dialogue_->TakeRefusals();
  ASSERT_EQ(refusals.size(), 1u);
  EXPECT_EQ(refusals[0].reason, Reason::kNotOwnAddress);
  EXPECT_EQ(refusals[0].from, "boss@mx.example");
}

TEST_F(SmtpDialogueTest, CountsForMetrics) {
  Say("EHLO c");
  Say("NOOP");
  Say("NOOP");
  Say("XYZZY");
  EXPECT_EQ(dialogue_->counts().commands[static_cast<size_t>(smtp::Verb::kNoop)], 2u);
  EXPECT_EQ(dialogue_->counts().commands[static_cast<size_t>(smtp::Verb::kUnknown)], 1u);
  EXPECT_EQ(dialogue_->counts().replies[2], 4u);  // with the greeting
  EXPECT_EQ(dialogue_->counts().replies[5], 1u);
}

}  // namespace
}  // namespace posthouse::ingress
