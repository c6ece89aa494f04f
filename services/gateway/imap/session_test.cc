// Transcripts of whole sessions over loopback, against mail in memory.
#include "services/gateway/imap/session.h"

#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "services/common/metrics/metrics.h"
#include "services/common/net/connection.h"
#include "services/gateway/testing/fake_backend.h"
#include "services/gateway/testing/transcript.h"

namespace posthouse::gateway {
namespace {

constexpr char kMessage[] = "From: ann@a.example\r\nSubject: Hello\r\nTo: joe@a.example\r\n\r\nBody line\r\n";

Task<void> Serve(ImapShared* shared, std::unique_ptr<net::Connection> connection) {
  ImapSession session(*shared, std::move(connection));
  co_await session.Run();
}

class SessionTest : public testing::Test {
 protected:
  // Called before the first Connect() to change settings.
  void Start() {
    LoginOptions options;
    options.failure_delay = absl::ZeroDuration();
    options.max_sessions_per_account = 3;
    logins_ = std::make_unique<Logins>(fake_, metrics_, options);
    watch_ = std::make_unique<ChangeWatcher>(fake_, loops_.at(0), absl::Milliseconds(1), absl::Milliseconds(5));
    shared_ = std::make_unique<ImapShared>(fake_, *logins_, metrics_, *watch_, nullptr, settings_);
    ImapShared* const shared = shared_.get();
    listener_ = *net::Listener::Start(loops_, net::ListenerOptions(), [shared](std::unique_ptr<net::Connection> c) {
      return Serve(shared, std::move(c));
    });
  }
  SessionTest() : metrics_(registry_), loops_(2) {
    settings_.allow_plaintext_auth = true;
    settings_.hostname = "mail.a.example";
    settings_.poll_interval = absl::Hours(1);
  }
  ~SessionTest() override {
    if (listener_ != nullptr) {
      shared_->draining = true;
      SyncWait(listener_->Drain(absl::Seconds(20)));
      watch_->Stop();
    }
  }
  std::unique_ptr<Transcript> Connect() {
    if (listener_ == nullptr) Start();
    auto client = std::make_unique<Transcript>(listener_->port());
    client->Play("S: * OK [CAPABILITY IMAP4rev1 *] mail.a.example Posthouse ready");
    return client;
  }
  std::unique_ptr<Transcript> LogIn() {
    auto client = Connect();
    client->Play("C: l LOGIN joe@a.example secret\nS: l OK [CAPABILITY IMAP4rev1 * UIDPLUS *] Logged in");
    return client;
  }
  std::unique_ptr<Transcript> Select(absl::string_view command = "SELECT INBOX") {
    auto client = LogIn();
    client->Send(absl::StrCat("s ", command, "\r\n"));
    std::string line;
    do {
      line = client->Line();
    } while (line.substr(0, 2) == "* ");
    EXPECT_TRUE(LineMatches("s OK *", line)) << line;
    return client;
  }

  metrics::Registry registry_;
  Metrics metrics_;
  net::EventLoops loops_;
  FakeBackend fake_;
  ImapSettings settings_;
  std::unique_ptr<Logins> logins_;
  std::unique_ptr<ChangeWatcher> watch_;
  std::unique_ptr<ImapShared> shared_;
  std::unique_ptr<net::Listener> listener_;
};

// ---- before login

TEST_F(SessionTest, WithoutTlsThePasswordIsNotAskedFor) {
  settings_.allow_plaintext_auth = false;
  auto client = std::unique_ptr<Transcript>();
  Start();
  client = std::make_unique<Transcript>(listener_->port());
  client->Play(R"(
    S: * OK [CAPABILITY IMAP4rev1 * LOGINDISABLED] *
    C: a LOGIN joe@a.example secret
    S: a NO [PRIVACYREQUIRED] *
    C: b AUTHENTICATE PLAIN AGpvZQBz
    S: b NO [PRIVACYREQUIRED] *
    C: c STARTTLS
    S: c BAD TLS is not configured
  )");
  EXPECT_EQ(fake_.calls("Authenticate"), 0);
}

TEST_F(SessionTest, CommandsOutOfStateAreBadAndChangeNothing) {
  Connect()->Play(R"(
    C: a SELECT INBOX
    S: a BAD Log in first
    C: b FETCH 1 FLAGS
    S: b BAD Log in first
    C: c FROBNICATE
    S: c BAD unknown command
    C: d NOOP
    S: d OK *
    C: (
    S: \* BAD *
    C: e LOGIN joe@a.example secret
    S: e OK *
    C: f LOGIN joe@a.example secret
    S: f BAD Already logged in
    C: g FETCH 1 FLAGS
    S: g BAD No mailbox is selected
    C: h LOGOUT
    S: * BYE *
    S: h OK *
    S: <closed>
  )");
}

TEST_F(SessionTest, SaslInAllForms) {
  const std::string plain = absl::Base64Escape(absl::string_view("\0joe@a.example\0secret", 21));
  Connect()->Play(absl::StrCat("C: a AUTHENTICATE PLAIN ", plain, "\nS: a OK [CAPABILITY *] *"));
  Connect()->Play(absl::StrCat("C: a AUTHENTICATE PLAIN\nS: + \nC: ", plain, "\nS: a OK [CAPABILITY *] *"));
  Connect()->Play(absl::StrCat("C: a AUTHENTICATE LOGIN\nS: + VXNlcm5hbWU6\nC: ", absl::Base64Escape("joe@a.example"),
                               "\nS: + UGFzc3dvcmQ6\nC: ", absl::Base64Escape("secret"), "\nS: a OK *"));
}

// Quirk: SASL aborted by "*" or junk, and the session goes on.
TEST_F(SessionTest, SaslAbortedByJunk) {
  Connect()->Play(R"(
    C: a AUTHENTICATE PLAIN
    S: + 
    C: *
    S: a BAD Authentication cancelled
    C: b AUTHENTICATE PLAIN
    S: + 
    C: !!! junk
    S: b BAD *
    C: c AUTHENTICATE CRAM-MD5
    S: c NO *
    C: d LOGIN joe@a.example secret
    S: d OK *
  )");
}

TEST_F(SessionTest, LoginFailuresAreToldApart) {
  fake_.Fail("Authenticate", absl::UnavailableError("down"));
  auto client = Connect();
  client->Play(R"(
    C: a LOGIN joe@a.example secret
    S: a NO [UNAVAILABLE] *
    C: b LOGIN joe@a.example wrong
    S: b NO [AUTHENTICATIONFAILED] *
  )");
  fake_.Fail("Authenticate", absl::ResourceExhaustedError("busy"));
  fake_.Fail("Authenticate", absl::PermissionDeniedError("suspended"));
  client->Play(R"(
    C: c LOGIN joe@a.example secret
    S: c NO [LIMIT] *
    C: d LOGIN joe@a.example secret
    S: d NO [AUTHORIZATIONFAILED] *
    C: e LOGIN joe@a.example wrong
    S: * BYE Too many failed logins
    S: e NO [AUTHENTICATIONFAILED] *
    S: <closed>
  )");
}

TEST_F(SessionTest, SessionsPerAccountAreLimited) {
  auto one = LogIn();
  auto two = LogIn();
  auto three = LogIn();
  Connect()->Play("C: a LOGIN joe@a.example secret\nS: a NO [LIMIT] *");
  one->Play("C: a LOGOUT\nS: * BYE *\nS: a OK *\nS: <closed>");
  EXPECT_EQ(logins_->SessionsOf("acc1") <= 3, true);
}

TEST_F(SessionTest, TooManyErrorsBeforeLogin) {
  auto client = Connect();
  for (int i = 0; i < 9; ++i) client->Play("C: a FROB\nS: a BAD *");
  client->Play("C: a FROB\nS: a BAD *\nS: * BYE Too many errors\nS: <closed>");
}

// Errors count in a row: clients that try extensions now and then are not cut off.
TEST_F(SessionTest, ErrorsInARowEndTheSession) {
  auto client = LogIn();
  for (int i = 0; i < 3; ++i) {
    for (int k = 0; k < 40; ++k) client->Play("C: a XLIST\nS: a BAD *");
    client->Play("C: b NOOP\nS: b OK *");
  }
  for (int k = 0; k < 49; ++k) client->Play("C: a XLIST\nS: a BAD *");
  client->Play("C: a XLIST\nS: a BAD *\nS: * BYE Too many errors\nS: <closed>");
}

TEST_F(SessionTest, StrangersCannotSendMessages) {
  auto client = Connect();
  client->Play("C: a APPEND INBOX {5+}\nC: hello\nS: a BAD Log in first\nC: b APPEND INBOX {5}\nS: b BAD *");
  client->Play("C: c APPEND INBOX {1000000+}\nS: * BYE Message refused\nS: c BAD *\nS: <closed>");
}

TEST_F(SessionTest, TooSlowToLogIn) {
  settings_.login_timeout = absl::Milliseconds(50);
  Connect()->Play("S: * BYE Too slow to log in\nS: <closed>");
}

// ---- lines and literals

TEST_F(SessionTest, EmptyLinesAndLiterals) {
  Connect()->Play(R"(
    C:
    C:
    C: a LOGIN {13}
    S: + OK
    C~ joe@a.example 
    C: {6+}
    C: secret
    S: a OK *
    C: b NOOP
    S: b OK *
  )");
}

TEST_F(SessionTest, LongLinesAndLargeLiteralsAreBounded) {
  settings_.max_line_bytes = 8192;
  auto client = LogIn();
  client->Send(absl::StrCat("a ", std::string(100000, 'x'), "\r\n"));
  client->Play("S: a BAD command too long");
  client->Play("C: b SELECT {100000}\nS: b BAD literal too large");
  client->Send(absl::StrCat("c SELECT {100000+}\r\n", std::string(100000, 'y'), "\r\n"));
  client->Play("S: c BAD literal too large\nC: d NOOP\nS: d OK *");
  client->Send(absl::string_view("e NO\0OP\r\n", 9));
  client->Play("S: e BAD NUL is not allowed\nC: f NOOP\nS: f OK *");
}

TEST_F(SessionTest, PipelinedCommandsAnswerInOrder) {
  auto client = LogIn();
  client->Send("1 NOOP\r\n2 SELECT INBOX\r\n3 FETCH 1:* FLAGS\r\n4 LIST \"\" INBOX\r\n5 LOGOUT\r\n");
  std::string tags;
  for (std::string line = client->Line(); line != "<closed>" && line != "<nothing>"; line = client->Line()) {
    if (line[0] != '*') tags += line[0];
  }
  EXPECT_EQ(tags, "12345");
}

// ---- capabilities and small commands

TEST_F(SessionTest, SmallCommands) {
  LogIn()->Play(R"(
    C: a CAPABILITY
    S: * CAPABILITY IMAP4rev1 * IDLE * CONDSTORE * APPENDLIMIT=104857600
    S: a OK *
    C: b ID ("name" "test" "version" NIL)
    S: * ID ("name" "Posthouse" *)
    S: b OK *
    C: c ID NIL
    S: * ID (*)
    S: c OK *
    C: d NAMESPACE
    S: * NAMESPACE (("" "/")) NIL NIL
    S: d OK *
    C: e ENABLE CONDSTORE X-FOO
    S: * ENABLED CONDSTORE
    S: e OK *
    C: f ENABLE X-FOO
    S: * ENABLED
    S: f OK *
  )");
}

// ---- folders

TEST_F(SessionTest, FoldersComeAndGo) {
  LogIn()->Play(R"(
    C: a CREATE Work/
    S: a OK *
    C: b CREATE Work
    S: b NO [ALREADYEXISTS] *
    C: c CREATE "Entw&APw-rfe" (USE (\Drafts))
    S: c OK *
    C: d LIST "" *
    S: * LIST (\HasNoChildren \Drafts) "/" "Entw&APw-rfe"
    S: * LIST (\HasNoChildren) "/" "INBOX"
    S: * LIST (\HasNoChildren \Sent) "/" "Sent"
    S: * LIST (\HasNoChildren \Trash) "/" "Trash"
    S: * LIST (\HasNoChildren) "/" "Work"
    S: d OK *
    C: e RENAME Work Play
    S: e OK *
    C: f DELETE Work
    S: f NO [NONEXISTENT] *
    C: g DELETE Play
    S: g OK *
    C: h DELETE inbox
    S: h NO [CANNOT] *
    C: i CREATE ""
    S: i NO [CANNOT] *
    C: j CREATE x (USE (\All))
    S: j NO [USEATTR] *
    C: k CREATE &bogus
    S: k NO [CANNOT] *
    C: l LIST "" ""
    S: * LIST (\Noselect) "/" ""
    S: l OK *
  )");
}

TEST_F(SessionTest, TheSelectedMailboxIsKnownByItsIdWhenDeleted) {
  auto client = Select("SELECT Trash");
  client->Play(R"(
    C: a RENAME Trash Bin
    S: a OK *
    C: b CREATE Trash
    S: b OK *
    C: c DELETE Trash
    S: c OK *
    C: d FETCH 1:* UID
    S: d OK *
    C: e DELETE Bin
    S: e OK *
    C: f FETCH 1:* UID
    S: f BAD No mailbox is selected
    C: g NOOP
    S: g OK *
  )");
}

TEST_F(SessionTest, StatusAndListStatus) {
  fake_.Deliver("INBOX", kMessage);
  fake_.Deliver("INBOX", kMessage, 1);
  LogIn()->Play(R"(
    C: a STATUS inbox (MESSAGES UNSEEN UIDNEXT UIDVALIDITY RECENT SIZE HIGHESTMODSEQ)
    S: * STATUS "INBOX" (MESSAGES 2 RECENT 0 UIDNEXT 3 UIDVALIDITY 7 UNSEEN 1 SIZE 138 HIGHESTMODSEQ 3)
    S: a OK *
    C: b STATUS Nope (MESSAGES)
    S: b NO [NONEXISTENT] *
    C: c LIST "" INBOX RETURN (STATUS (MESSAGES))
    S: * LIST (\HasNoChildren) "/" "INBOX"
    S: * STATUS "INBOX" (MESSAGES 2)
    S: c OK *
    C: d SUBSCRIBE Sent
    S: d OK *
    C: e LSUB "" *
    S: * LSUB (\Sent) "/" "Sent"
    S: e OK *
  )");
}

// ---- selecting

TEST_F(SessionTest, Select) {
  fake_.Deliver("INBOX", kMessage, 1);
  fake_.Deliver("INBOX", kMessage);
  LogIn()->Play(R"(
    C: a SELECT inbox
    S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft)
    S: * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft \\*)] *
    S: * 2 EXISTS
    S: * 0 RECENT
    S: * OK [UNSEEN 2] *
    S: * OK [UIDVALIDITY 7] *
    S: * OK [UIDNEXT 3] *
    S: * OK [HIGHESTMODSEQ 3] *
    S: a OK [READ-WRITE] *
    C: b EXAMINE Sent
    S: * OK [CLOSED] *
    S: * FLAGS *
    S: * OK [PERMANENTFLAGS ()] *
    S: * 0 EXISTS
    S: * 0 RECENT
    S: * OK [UIDVALIDITY 7] *
    S: * OK [UIDNEXT 1] *
    S: * OK [HIGHESTMODSEQ 1] *
    S: b OK [READ-ONLY] *
    C: c STORE 1 FLAGS (\Seen)
    S: c NO [CANNOT] *
    C: d SELECT Nope
    S: * OK [CLOSED] *
    S: d NO [NONEXISTENT] *
    C: e FETCH 1 FLAGS
    S: e BAD No mailbox is selected
    C: f FETCH 1:* FLAGS
    S: f BAD *
  )");
}

TEST_F(SessionTest, CloseExpungesAndUnselectDoesNot) {
  fake_.Deliver("INBOX", kMessage, 8);
  Select()->Play("C: a UNSELECT\nS: a OK *");
  EXPECT_NE(fake_.message("INBOX", 1), "");
  Select("EXAMINE INBOX")->Play("C: a CLOSE\nS: a OK *");
  EXPECT_NE(fake_.message("INBOX", 1), "");
  Select()->Play("C: a CLOSE\nS: a OK *\nC: b NOOP\nS: b OK *");
  EXPECT_EQ(fake_.message("INBOX", 1), "");
}

// ---- fetching

TEST_F(SessionTest, FetchItems) {
  fake_.Deliver("INBOX", kMessage);
  Select()->Play(R"(
    C: a FETCH 1 (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY)
    S: * 1 FETCH (UID 1 FLAGS () INTERNALDATE "01-Jan-1970 00:00:00 +0000" RFC822.SIZE 69 ENVELOPE (NIL) BODYSTRUCTURE ("TEXT" "PLAIN" NIL) BODY ("TEXT" "PLAIN"))
    S: a OK *
    C: b UID FETCH 1 FLAGS
    S: * 1 FETCH (UID 1 FLAGS ())
    S: b OK *
    C: c FETCH 1 (BODY.PEEK[HEADER.FIELDS (Subject)] BODY.PEEK[2])
    S: * 1 FETCH (BODY[HEADER.FIELDS (Subject)] {18}
    S: Subject: Hello
    S:
    S:  BODY[2] NIL)
    S: c OK *
    C: d FETCH 1 BODY.PEEK[]<5.3>
    S: * 1 FETCH (BODY[]<5> {3}
    S:  an)
    S: d OK *
    C: e UID FETCH 99 FLAGS
    S: e OK *
    C: f FETCH 2 FLAGS
    S: f BAD *
    C: g FETCH 1 MODSEQ
    S: * OK [HIGHESTMODSEQ 2] *
    S: * 1 FETCH (MODSEQ (2))
    S: g OK *
  )");
}

TEST_F(SessionTest, FetchWithoutPeekSetsSeenOnce) {
  fake_.Deliver("INBOX", kMessage);
  auto client = Select();
  client->Play(R"(
    C: a FETCH 1 BODY[TEXT]
    S: * 1 FETCH (FLAGS (\Seen) BODY[TEXT] {11}
    S: Body line
    S: )
    S: a OK *
    C: b NOOP
    S: b OK *
  )");
  // Not in a mailbox opened read-only.
  fake_.Deliver("INBOX", kMessage);
  Select("EXAMINE INBOX")->Play(R"(
    C: a FETCH 2 RFC822.TEXT
    S: * 2 FETCH (RFC822.TEXT {11}
    S: Body line
    S: )
    S: a OK *
    C: b FETCH 2 FLAGS
    S: * 2 FETCH (FLAGS ())
    S: b OK *
  )");
}

TEST_F(SessionTest, LargeBodiesArriveWhole) {
  std::string body = "Subject: big\r\n\r\n";
  for (int i = 0; i < 40000; ++i) absl::StrAppend(&body, "line ", i, "\r\n");
  fake_.Deliver("INBOX", body);
  fake_.Deliver("INBOX", kMessage);
  auto client = Select();
  client->Play("C: a UID FETCH 1:2 (BODY.PEEK[])");
  ASSERT_EQ(client->Line(), absl::StrCat("* 1 FETCH (UID 1 BODY[] {", body.size(), "}"));
  EXPECT_EQ(client->Bytes(body.size()), body);
  client->Play("S: )\nS: * 2 FETCH (UID 2 BODY[] {69}");
  EXPECT_EQ(client->Bytes(69), kMessage);
  client->Play("S: )\nS: a OK *");
}

TEST_F(SessionTest, ManySmallRows) {
  for (int i = 0; i < 3000; ++i) fake_.Deliver("INBOX", "x");
  auto client = Select();
  client->Send("a FETCH 1:* FLAGS\r\n");
  for (int i = 1; i <= 3000; ++i) ASSERT_EQ(client->Line(), absl::StrCat("* ", i, " FETCH (FLAGS ())"));
  client->Play("S: a OK *");
}

// A literal that was begun cannot be taken back: the connection ends.
TEST_F(SessionTest, AFetchThatBreaksInsideALiteralClosesTheConnection) {
  fake_.Deliver("INBOX", std::string(12000, 'x'));
  auto client = Select();
  fake_.Fail("FetchEnd", absl::UnavailableError("gone"));
  client->Play("C: a FETCH 1 BODY.PEEK[]\nS: * 1 FETCH (BODY[] {12000}");
  EXPECT_EQ(client->Bytes(100000).size(), 10000u);
  EXPECT_TRUE(client->Closed());
}

TEST_F(SessionTest, AFetchThatFailsBetweenMessagesIsANo) {
  fake_.Deliver("INBOX", kMessage);
  fake_.Deliver("INBOX", kMessage);
  auto client = Select();
  fake_.Fail("FetchEnd", absl::UnavailableError("gone"));
  client->Play("C: a FETCH 1:2 FLAGS\nS: * 1 FETCH (FLAGS ())\nS: a NO [UNAVAILABLE] *\nC: b NOOP\nS: b OK *");
}

// RFC 5530 §3: others expunged it, and EXPUNGE may not be sent now.
TEST_F(SessionTest, AFetchOfWhatIsGoneSaysSo) {
  for (int i = 0; i < 3; ++i) fake_.Deliver("INBOX", kMessage);
  fake_.set_hints(false);
  auto client = Select();
  fake_.Remove("INBOX", 2);
  client->Play(R"(
    C: a FETCH 1:3 (UID)
    S: * 1 FETCH (UID 1)
    S: * 3 FETCH (UID 3)
    S: a OK [EXPUNGEISSUED] *
    C: b FETCH 2 BODY.PEEK[TEXT]
    S: b OK [EXPUNGEISSUED] *
    C: c NOOP
    S: * 2 EXPUNGE
    S: c OK *
  )");
}

// ---- storing

TEST_F(SessionTest, Store) {
  fake_.Deliver("INBOX", kMessage);
  fake_.Deliver("INBOX", kMessage);
  auto client = Select();
  client->Play(R"(
    C: a STORE 1 +FLAGS (\Flagged $Label)
    S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft $Label)
    S: * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft $Label \\*)] *
    S: * 1 FETCH (FLAGS (\Flagged $Label))
    S: a OK *
    C: b UID STORE 1:2 FLAGS.SILENT (\Seen)
    S: b OK *
    C: c UID STORE 2 -FLAGS \Seen
    S: * 2 FETCH (UID 2 FLAGS ())
    S: c OK *
    C: d NOOP
    S: d OK *
    C: e UID STORE 99 +FLAGS (\Seen)
    S: e OK *
    C: f STORE 3 +FLAGS (\Seen)
    S: f BAD *
  )");
  EXPECT_EQ(fake_.calls("StoreFlags"), 3);
}

// RFC 7162 §3.1.3
TEST_F(SessionTest, ConditionalStore) {
  fake_.Deliver("INBOX", kMessage);
  fake_.Deliver("INBOX", kMessage);
  auto client = Select("SELECT INBOX (CONDSTORE)");
  fake_.SetFlags("INBOX", 2, 4);
  client->Play(R"(
    C: a UID STORE 1:2 (UNCHANGEDSINCE 3) +FLAGS.SILENT (\Seen)
    S: * 1 FETCH (UID 1 MODSEQ (5))
    S: * 2 FETCH (FLAGS (\Flagged) MODSEQ (4))
    S: a OK [MODIFIED 2] *
    C: b UID FETCH 1:* (FLAGS) (CHANGEDSINCE 4)
    S: * 1 FETCH (UID 1 FLAGS (\Seen) MODSEQ (5))
    S: b OK *
  )");
}

// RFC 9051 §6.4.6: .SILENT must not hide what somebody else changed.
TEST_F(SessionTest, SilentStoreTellsWhatOthersChanged) {
  fake_.Deliver("INBOX", kMessage);
  fake_.Deliver("INBOX", kMessage);
  fake_.set_hints(false);
  auto client = Select("SELECT INBOX (CONDSTORE)");
  fake_.SetFlags("INBOX", 1, 4);
  client->Play(R"(
    C: a STORE 1 +FLAGS.SILENT (\Seen)
    S: * 1 FETCH (FLAGS (\Flagged \Seen) MODSEQ (5))
    S: a OK *
    C: b NOOP
    S: b OK *
    C: c STORE 2 +FLAGS.SILENT (\Seen)
    S: * 2 FETCH (MODSEQ (6))
    S: c OK *
  )");
}

// A STORE that finds its flag set by somebody else must not take that change for its own.
TEST_F(SessionTest, AStoreThatChangesNothingHidesNothing) {
  for (int i = 0; i < 3; ++i) fake_.Deliver("INBOX", kMessage);
  fake_.set_hints(false);
  auto one = Select();
  auto two = Select();
  two->Play("C: a STORE 1:2 +FLAGS.SILENT (\\Flagged)\nS: a OK *");
  one->Send("b STORE 1 +FLAGS.SILENT (\\Flagged)\r\nc FETCH 3 FLAGS\r\nd NOOP\r\n");
  std::string told;
  std::string line;
  do {
    line = one->Line();
    absl::StrAppend(&told, line, "\n");
  } while (line[0] == '*' || line[0] == 'b' || line[0] == 'c');
  EXPECT_NE(told.find("* 1 FETCH (FLAGS (\\Flagged))\n"), std::string::npos) << told;
  EXPECT_NE(told.find("* 2 FETCH (FLAGS (\\Flagged))\n"), std::string::npos) << told;
}

// ---- QRESYNC (RFC 7162 §3.2)

TEST_F(SessionTest, QresyncMustBeEnabledFirst) {
  Select()->Play(R"(
    C: a SELECT INBOX (QRESYNC (7 1))
    S: a BAD *
    C: b UID FETCH 1:* FLAGS (CHANGEDSINCE 1 VANISHED)
    S: b BAD *
    C: c ENABLE QRESYNC CONDSTORE QRESYNC
    S: * ENABLED QRESYNC CONDSTORE
    S: * OK [HIGHESTMODSEQ 1] *
    S: c OK *
    C: d FETCH 1:* FLAGS (CHANGEDSINCE 1 VANISHED)
    S: d BAD *
  )");
}

TEST_F(SessionTest, QresyncTellsWhatChangedMeanwhile) {
  for (int i = 0; i < 6; ++i) fake_.Deliver("INBOX", kMessage);  // modseq 2 to 7
  fake_.Remove("INBOX", 2);                                      // 8
  fake_.SetFlags("INBOX", 4, 1);                                 // 9
  fake_.Remove("INBOX", 5);                                      // 10
  const std::string head = R"(
    S: * FLAGS *
    S: * OK [PERM*
    S: * 4 EXISTS
    S: * 0 RECENT
    S: * OK [UNSEEN 1] *
    S: * OK [UIDVALIDITY 7] *
    S: * OK [UIDNEXT 7] *
    S: * OK [HIGHESTMODSEQ 10] *)";
  auto client = LogIn();
  client->Play("C: e ENABLE QRESYNC\nS: * ENABLED QRESYNC\nS: e OK *");
  client->Play(absl::StrCat("C: a SELECT INBOX (QRESYNC (7 7))", head, R"(
    S: * VANISHED (EARLIER) 2,5
    S: * 3 FETCH (UID 4 FLAGS (\Seen) MODSEQ (9))
    S: a OK [READ-WRITE] *)"));
  // Only of the UIDs the client knows.
  client->Play(absl::StrCat("C: b SELECT INBOX (QRESYNC (7 7 1:3))\nS: * OK [CLOSED] *", head, R"(
    S: * VANISHED (EARLIER) 2
    S: b OK [READ-WRITE] *)"));
  client->Play(
      "C: x SELECT Sent (QRESYNC (7 0))\nS: * OK [CLOSED] *\nS: * FLAGS *\nS: * OK [PERM*\nS: * 0 EXISTS\n"
      "S: * 0 RECENT\nS: * OK [UIDV*\nS: * OK [UIDNEXT 1] *\nS: * OK [HIGH*\nS: x OK *\nC: y SELECT INBOX");
  while (client->Line().substr(0, 2) != "y ") {
  }
  // Another UIDVALIDITY: a plain SELECT.
  client->Play(absl::StrCat("C: c SELECT INBOX (QRESYNC (8 7))\nS: * OK [CLOSED] *", head, "\nS: c OK *"));
  client->Play(R"(
    C: d UID FETCH 1:5 (FLAGS) (CHANGEDSINCE 8 VANISHED)
    S: * VANISHED (EARLIER) 5
    S: * 3 FETCH (UID 4 FLAGS (\Seen) MODSEQ (9))
    S: d OK *
  )");
  // The log does not reach back: all that is not here.
  fake_.ForgetChanges("INBOX");
  client->Play(absl::StrCat("C: f SELECT INBOX (QRESYNC (7 9 1:9))\nS: * OK [CLOSED] *", head, R"(
    S: * VANISHED (EARLIER) 2,5
    S: f OK *)"));
}

TEST_F(SessionTest, VanishedKnowsOfTheLastMessage) {
  for (int i = 0; i < 3; ++i) fake_.Deliver("INBOX", kMessage);  // modseq 2 to 4
  fake_.Remove("INBOX", 3);
  auto client = LogIn();
  client->Play("C: e ENABLE QRESYNC\nS: * ENABLED QRESYNC\nS: e OK *\nC: s SELECT INBOX");
  while (client->Line().substr(0, 2) != "s ") {
  }
  client->Play(R"(
    C: a UID FETCH 1:* (FLAGS) (CHANGEDSINCE 2 VANISHED)
    S: * VANISHED (EARLIER) 3
    S: * 2 FETCH (UID 2 FLAGS () MODSEQ (3))
    S: a OK *
    C: b UID FETCH 9:* (FLAGS) (CHANGEDSINCE 1 VANISHED)
    S: * VANISHED (EARLIER) 3
    S: * 2 FETCH (UID 2 FLAGS () MODSEQ (3))
    S: b OK *
  )");
}

TEST_F(SessionTest, QresyncSaysVanishedForExpunge) {
  for (int i = 0; i < 4; ++i) fake_.Deliver("INBOX", kMessage, i < 2 ? 8 : 0);
  auto client = LogIn();
  client->Play("C: e ENABLE QRESYNC\nS: * ENABLED QRESYNC\nS: e OK *\nC: s SELECT INBOX");
  while (client->Line().substr(0, 2) != "s ") {
  }
  fake_.set_hints(false);
  fake_.SetFlags("INBOX", 3, 1);  // must be told before the client learns of a higher number
  client->Play(R"(
    C: a EXPUNGE
    S: * VANISHED 1:2
    S: * 1 FETCH (UID 3 FLAGS (\Seen) MODSEQ (6))
    S: a OK [HIGHESTMODSEQ 7] *
    C: b UID MOVE 4 Trash
    S: * OK [COPYUID 7 4 1] *
    S: * VANISHED 4
    S: b OK *
    C: c UID STORE 3 +FLAGS.SILENT (\Flagged)
    S: * 1 FETCH (UID 3 MODSEQ (9))
    S: c OK *
  )");
}

// ---- searching

TEST_F(SessionTest, Search) {
  for (int i = 0; i < 5; ++i) fake_.Deliver("INBOX", i == 3 ? "Subject: other\r\n\r\n" : kMessage, i == 0 ? 1 : 0);
  fake_.Remove("INBOX", 2);
  Select()->Play(R"(
    C: a SEARCH UNSEEN SUBJECT Hello
    S: * SEARCH 2 4
    S: a OK *
    C: b UID SEARCH UNSEEN SUBJECT Hello
    S: * SEARCH 3 5
    S: b OK *
    C: c SEARCH SUBJECT nothing
    S: * SEARCH
    S: c OK *
    C: d UID SEARCH RETURN (MIN MAX COUNT ALL) 1:*
    S: * ESEARCH (TAG "d") UID MIN 1 MAX 5 ALL 1,3:5 COUNT 4
    S: d OK *
    C: e SEARCH RETURN (COUNT) SUBJECT nothing
    S: * ESEARCH (TAG "e") COUNT 0
    S: e OK *
    C: f SEARCH CHARSET KOI8-R TEXT x
    S: f NO [BADCHARSET (US-ASCII UTF-8)] *
    C: g SEARCH 9
    S: g BAD *
    C: h SEARCH RETURN (SAVE) UNSEEN
    S: h OK *
    C: i FETCH $ UID
    S: * 2 FETCH (UID 3)
    S: * 3 FETCH (UID 4)
    S: * 4 FETCH (UID 5)
    S: i OK *
    C: j SEARCH MODSEQ 1
    S: * OK [HIGHESTMODSEQ *] *
    S: * SEARCH 1 2 3 4 (MODSEQ 6)
    S: j OK *
    C: k SEARCH OR UID 3 NOT 1:3
    S: * SEARCH 2 4
    S: k OK *
  )");
}

// RFC 4731 §3.2
TEST_F(SessionTest, SearchTellsTheModseqOfWhatItReports) {
  for (int i = 0; i < 4; ++i) fake_.Deliver("INBOX", kMessage);  // modseq 2 to 5
  fake_.SetFlags("INBOX", 2, 1);                                 // 6
  Select("SELECT INBOX (CONDSTORE)")->Play(R"(
    C: a SEARCH RETURN (MIN) MODSEQ 1
    S: * ESEARCH (TAG "a") MIN 1 MODSEQ 2
    S: a OK *
    C: b SEARCH RETURN (MIN MAX) MODSEQ 1
    S: * ESEARCH (TAG "b") MIN 1 MAX 4 MODSEQ 5
    S: b OK *
    C: c SEARCH RETURN (MIN COUNT) MODSEQ 1
    S: * ESEARCH (TAG "c") MIN 1 COUNT 4 MODSEQ 6
    S: c OK *
  )");
}

// "n:*" is never out of range; a number alone is.
TEST_F(SessionTest, RangesToTheEnd) {
  auto client = Select();
  client->Play(R"(
    C: a FETCH 1:* (FLAGS)
    S: a OK *
    C: b SEARCH 1:* NOT DELETED
    S: * SEARCH
    S: b OK *
    C: c FETCH 1 (FLAGS)
    S: c BAD *
    C: d SEARCH 1:2
    S: d BAD *
  )");
}

// ---- appending

TEST_F(SessionTest, AppendWithAllKindsOfLiterals) {
  auto client = Select();
  client->Play(R"(
    C: a APPEND INBOX (\Seen $X) "17-Jul-1996 02:44:25 -0700" {5}
    S: + *
    C: hello
    S: * 1 EXISTS
    S: * 1 RECENT
    S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft $X)
    S: * OK [PERMANENTFLAGS *
    S: a OK [APPENDUID 7 1] *
    C: b APPEND INBOX {5+}
    C: hello
    S: * 2 EXISTS
    S: * 2 RECENT
    S: b OK [APPENDUID 7 2] *
    C: c APPEND {4+}
    C: Sent {2+}
    C: hi
    S: c OK [APPENDUID 7 1] *
    C: d FETCH 1 (FLAGS INTERNALDATE BODY.PEEK[])
    S: * 1 FETCH (FLAGS (\Seen $X \Recent) INTERNALDATE "17-Jul-1996 02:44:25 -0700" BODY[] {5}
    S: hello)
    S: d OK *
  )");
}

TEST_F(SessionTest, LargeMessagesAreStreamed) {
  std::string message = "Subject: x\r\n\r\n";
  while (message.size() < 3000000) message += "0123456789abcdef0123456789abcdef\r\n";
  auto client = LogIn();
  client->Send(absl::StrCat("a APPEND Sent {", message.size(), "+}\r\n", message, "\r\nb NOOP\r\n"));
  client->Play("S: a OK [APPENDUID 7 1] *\nS: b OK *");
  EXPECT_TRUE(fake_.message("Sent", 1) == message);
  EXPECT_GT(fake_.calls("AppendWrite"), 5);
}

TEST_F(SessionTest, AppendRefused) {
  settings_.max_append_bytes = 100;
  auto client = LogIn();
  client->Play(R"(
    C: a APPEND Nope {5}
    S: a NO [TRYCREATE] *
    C: b APPEND Nope {5+}
    C: hello
    S: b NO [TRYCREATE] *
    C: c APPEND INBOX {101}
    S: c NO [TOOBIG] *
    C: d APPEND INBOX (\Bogus) {5+}
    C: hello
    S: d BAD *
    C: e APPEND INBOX {0+}
    C:
    S: e BAD *
    C: f APPEND INBOX {5+}
    C: hello junk
    S: f BAD *
    C: g NOOP
    S: g OK *
  )");
  client->Send(absl::string_view("h APPEND INBOX {5+}\r\nhe\0lo\r\n", 28));
  client->Play("S: h BAD NUL is not allowed");
  fake_.Fail("Append", absl::ResourceExhaustedError("full"));
  client->Play("C: i APPEND INBOX {5+}\nC: hello\nS: i NO [OVERQUOTA] *");
  fake_.Fail("AppendWrite", absl::UnavailableError("down"));
  client->Play(
      "C: j APPEND INBOX {5+}\nC: hello\nS: j NO [UNAVAILABLE] *\nC: k STATUS INBOX (MESSAGES)\nS: * STATUS \"INBOX\" "
      "(MESSAGES 0)\nS: k OK *");
}

// A message that fails half way is still read to its end.
TEST_F(SessionTest, AppendThatFailsHalfWayKeepsTheConnection) {
  auto client = LogIn();
  fake_.Fail("AppendWrite", absl::ResourceExhaustedError("full"), 1);
  const std::string message(1000000, 'm');
  client->Send(absl::StrCat("a APPEND Sent {", message.size(), "+}\r\n", message, "\r\n"));
  client->Play("S: a NO [OVERQUOTA] *\nC: b NOOP\nS: b OK *");
  EXPECT_EQ(fake_.message("Sent", 1), "");
}

TEST_F(SessionTest, AnAppendCutOffStoresNothing) {
  auto client = LogIn();
  client->Send("a APPEND Sent {1000+}\r\nhalf");
  client.reset();
  auto again = LogIn();
  again->Play("C: a STATUS Sent (MESSAGES)\nS: * STATUS \"Sent\" (MESSAGES 0)\nS: a OK *");
}

// ---- copying, moving, expunging

TEST_F(SessionTest, CopyAndMove) {
  for (int i = 0; i < 4; ++i) fake_.Deliver("INBOX", kMessage);
  Select()->Play(R"(
    C: a COPY 1:2 Sent
    S: a OK [COPYUID 7 1:2 1:2] *
    C: b UID MOVE 2,4 Trash
    S: * OK [COPYUID 7 2,4 1:2] *
    S: * 4 EXPUNGE
    S: * 2 EXPUNGE
    S: b OK *
    C: c UID MOVE 2 Trash
    S: c OK *
    C: d UID COPY 99 Sent
    S: d OK *
    C: e COPY 1 Nope
    S: e NO [TRYCREATE] *
    C: f FETCH 1:* UID
    S: * 1 FETCH (UID 1)
    S: * 2 FETCH (UID 3)
    S: f OK *
    C: g COPY 3 Sent
    S: g BAD *
  )");
}

TEST_F(SessionTest, Expunge) {
  for (int i = 0; i < 5; ++i) fake_.Deliver("INBOX", kMessage, i == 1 || i >= 3 ? 8 : 0);
  Select()->Play(R"(
    C: a UID EXPUNGE 4:9
    S: * 5 EXPUNGE
    S: * 4 EXPUNGE
    S: a OK *
    C: b EXPUNGE
    S: * 2 EXPUNGE
    S: b OK *
    C: c EXPUNGE
    S: c OK *
    C: d FETCH 1:* UID
    S: * 1 FETCH (UID 1)
    S: * 2 FETCH (UID 3)
    S: d OK *
  )");
}

// ---- what others do

TEST_F(SessionTest, NoopTellsWhatOthersDid) {
  for (int i = 0; i < 3; ++i) fake_.Deliver("INBOX", kMessage);
  fake_.set_hints(false);
  auto client = Select();
  fake_.Deliver("INBOX", kMessage);
  fake_.SetFlags("INBOX", 1, 1);
  fake_.Remove("INBOX", 2);
  client->Play(R"(
    C: a NOOP
    S: * 2 EXPUNGE
    S: * 3 EXISTS
    S: * 1 RECENT
    S: * 1 FETCH (FLAGS (\Seen))
    S: a OK *
    C: b NOOP
    S: b OK *
    C: c FETCH 3 (UID FLAGS)
    S: * 3 FETCH (UID 4 FLAGS (\Recent))
    S: c OK *
  )");
}

// RFC 9051 §7.5.1
TEST_F(SessionTest, NoExpungeDuringCommandsThatCount) {
  for (int i = 0; i < 3; ++i) fake_.Deliver("INBOX", kMessage);
  fake_.set_hints(false);
  auto client = Select();
  fake_.Remove("INBOX", 1);
  // UID FETCH with "*" looks, but must not renumber before its own answers.
  client->Play(R"(
    C: a UID FETCH 3:* UID
    S: * 3 FETCH (UID 3)
    S: * 1 EXPUNGE
    S: a OK *
  )");
  fake_.Remove("INBOX", 2);
  fake_.set_hints(true);
  fake_.SetFlags("INBOX", 3, 1);  // its hint makes the next command look
  client->Play(R"(
    C: c STORE 2 +FLAGS (\Flagged)
  )");
  // Whether the hint arrived in time or not, no EXPUNGE comes before the tagged OK.
  std::string line;
  while ((line = client->Line()).substr(0, 2) == "* ") EXPECT_FALSE(LineMatches("*EXPUNGE", line)) << line;
  EXPECT_TRUE(LineMatches("c OK *", line)) << line;
  client->Send("d NOOP\r\n");
  bool expunged = false;
  while ((line = client->Line()).substr(0, 2) == "* ") expunged = expunged || line == "* 1 EXPUNGE";
  EXPECT_TRUE(expunged);
}

// Quirk: UID FETCH n:* shows mail that others put there, without a NOOP before.
TEST_F(SessionTest, UidFetchToTheEndShowsNewMail) {
  fake_.Deliver("INBOX", kMessage);
  fake_.set_hints(false);
  auto client = Select();
  fake_.Deliver("INBOX", kMessage);
  client->Play(R"(
    C: a UID FETCH 2:* UID
    S: * 2 EXISTS
    S: * 1 RECENT
    S: * 2 FETCH (UID 2)
    S: a OK *
  )");
}

TEST_F(SessionTest, ALogThatDoesNotReachBackIsReadInFull) {
  for (int i = 0; i < 3; ++i) fake_.Deliver("INBOX", kMessage);
  fake_.set_hints(false);
  auto client = Select();
  fake_.Remove("INBOX", 2);
  fake_.Deliver("INBOX", kMessage);
  fake_.SetFlags("INBOX", 3, 1);
  fake_.ForgetChanges("INBOX");
  client->Play(R"(
    C: a NOOP
    S: * 2 EXPUNGE
    S: * 3 EXISTS
    S: * 1 RECENT
    S: * 2 FETCH (FLAGS (\Seen))
    S: a OK *
  )");
}

TEST_F(SessionTest, ADeletedMailboxEndsTheSession) {
  fake_.Deliver("Trash", kMessage);
  auto client = Select("SELECT Trash");
  fake_.RemoveFolder("Trash");
  client->Play("C: a NOOP\nS: * BYE The selected mailbox was deleted\nS: a OK *\nS: <closed>");
}

TEST_F(SessionTest, ATemporaryFailureLosesNothing) {
  fake_.set_hints(false);
  auto client = Select();
  fake_.Deliver("INBOX", kMessage);
  fake_.Fail("GetChanges", absl::UnavailableError("down"));
  // Not only NOOP looks again.
  client->Play("C: a NOOP\nS: a OK *\nC: b CAPABILITY\nS: * CAPA*\nS: * 1 EXISTS\nS: * 1 RECENT\nS: b OK *");
  fake_.Fail("ListFolders", absl::DeadlineExceededError("slow"));
  client->Play("C: c LIST \"\" *\nS: c NO [UNAVAILABLE] *");
}

// ---- IDLE

TEST_F(SessionTest, IdleIsWokenByHints) {
  auto client = Select();
  client->Play("C: a IDLE\nS: + idling");
  fake_.Deliver("INBOX", kMessage);
  client->Play("S: * 1 EXISTS\nS: * 1 RECENT");
  fake_.SetFlags("INBOX", 1, 4);
  client->Play(R"(S: * 1 FETCH (FLAGS (\Flagged \Recent)))");
  fake_.Remove("INBOX", 1);
  client->Play("S: * 1 EXPUNGE\nC: DONE\nS: a OK *");
}

// Quirk (iOS 18): commands pipelined behind DONE.
TEST_F(SessionTest, CommandsBehindDone) {
  auto client = Select();
  client->Play("C: a IDLE\nS: + idling");
  client->Send("DONE\r\nb NOOP\r\nc IDLE\r\ndone\r\nd NOOP\r\n");
  client->Play("S: a OK *\nS: b OK *\nS: + idling\nS: c OK *\nS: d OK *");
}

TEST_F(SessionTest, IdleSeesWhatHappenedJustBefore) {
  fake_.set_hints(false);
  auto client = Select();
  fake_.Deliver("INBOX", kMessage);
  client->Play("C: a IDLE\nS: + idling\nS: * 1 EXISTS\nS: * 1 RECENT\nC: DONE\nS: a OK *");
}

TEST_F(SessionTest, ALostHintCostsOnePollInterval) {
  settings_.poll_interval = absl::Milliseconds(20);
  fake_.set_hints(false);
  auto client = Select();
  client->Play("C: a IDLE\nS: + idling");
  fake_.Deliver("INBOX", kMessage);
  client->Play("S: * 1 EXISTS\nS: * 1 RECENT\nC: DONE\nS: a OK *");
}

TEST_F(SessionTest, ABrokenHintStreamIsReopenedAndNothingIsMissed) {
  auto client = Select();
  client->Play("C: a IDLE\nS: + idling");
  fake_.BreakWatch();
  fake_.Deliver("INBOX", kMessage);
  client->Play("S: * 1 EXISTS\nS: * 1 RECENT\nC: DONE\nS: a OK *");
}

TEST_F(SessionTest, IdleWithoutMailboxAndWithJunk) {
  LogIn()->Play(
      "C: a IDLE\nS: + idling\nC: DONE\nS: a OK *\nC: b IDLE\nS: + idling\nC: x NOOP\nS: b BAD Expected DONE");
}

TEST_F(SessionTest, IdleForTooLong) {
  settings_.idle_timeout = absl::Milliseconds(50);
  auto client = LogIn();
  client->Play("C: a IDLE\nS: + idling\nS: * BYE Idle for too long\nS: <closed>");
}

TEST_F(SessionTest, DrainingSaysBye) {
  auto idling = Select();
  idling->Play("C: a IDLE\nS: + idling");
  auto waiting = LogIn();
  shared_->draining = true;
  SyncWait(listener_->Drain(absl::Seconds(20)));
  idling->Play("S: a OK *\nS: * BYE Server is shutting down\nS: <closed>");
  waiting->Play("S: * BYE Server is shutting down\nS: <closed>");
}

TEST_F(SessionTest, MetricsCountWhatHappened) {
  auto client = LogIn();
  client->Play("C: a LOGOUT\nS: * BYE *\nS: a OK *\nS: <closed>");
  SyncWait(listener_->Drain(absl::Seconds(20)));
  const std::string text = registry_.Serialize();
  EXPECT_NE(text.find("posthouse_gateway_logins_total{protocol=\"imap\",result=\"ok\"} 1"), std::string::npos) << text;
  EXPECT_NE(text.find("posthouse_gateway_sessions{protocol=\"imap\"} 0"), std::string::npos) << text;
  EXPECT_NE(text.find("posthouse_gateway_command_seconds_count{command=\"logout\",protocol=\"imap\"} 1"),
            std::string::npos);
}

}  // namespace
}  // namespace posthouse::gateway
