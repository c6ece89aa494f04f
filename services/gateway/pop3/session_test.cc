// The session over real sockets, with a mailbox of data behind it.
#include "services/gateway/pop3/session.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "posthouse/directory/v1/directory.pb.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/async/task.h"
#include "services/common/metrics/metrics.h"
#include "services/common/net/connection.h"
#include "services/common/net/event_loop.h"
#include "services/gateway/backend.h"
#include "services/gateway/logins.h"
#include "services/gateway/metrics.h"

namespace posthouse::gateway::pop3 {
namespace {

constexpr absl::Duration kLong = absl::Seconds(30);

class DataStream final : public FetchStream {
 public:
  DataStream(std::vector<mail::FetchResponse> responses, absl::Status end)
      : responses_(std::move(responses)), end_(std::move(end)) {}
  Task<absl::StatusOr<std::optional<mail::FetchResponse>>> Read() override {
    if (at_ < responses_.size()) co_return std::optional<mail::FetchResponse>(responses_[at_++]);
    if (!end_.ok()) co_return end_;
    co_return std::optional<mail::FetchResponse>();
  }

 private:
  std::vector<mail::FetchResponse> responses_;
  const absl::Status end_;
  size_t at_ = 0;
};

// One account "u" with password "p" and an INBOX of strings.
class DataBackend final : public Backend {
 public:
  std::map<uint32_t, std::string> messages;
  size_t piece_bytes = 5;
  absl::Status expunge_status, fetch_end;
  std::vector<std::string> log;

  Task<absl::StatusOr<directory::v1::AuthenticateResponse>> Authenticate(
      rpc::TraceContext, directory::v1::AuthenticateRequest request) override {
    if (request.username() != "u" || request.password() != "p") co_return absl::UnauthenticatedError("no");
    directory::v1::AuthenticateResponse response;
    response.mutable_account()->set_account_id("account-u");
    response.set_address("u@x.example");
    co_return response;
  }
  Answer<mail::GetFolderResponse> GetFolder(Trace, mail::GetFolderRequest request) override {
    if (request.name() != "INBOX") co_return absl::NotFoundError("");
    mail::GetFolderResponse response;
    response.mutable_folder()->set_folder_id("f");
    response.mutable_folder()->mutable_state()->set_uid_validity(7);
    co_return response;
  }
  std::unique_ptr<FetchStream> Fetch(Trace, mail::FetchRequest request) override {
    std::vector<mail::FetchResponse> out;
    for (const auto& [uid, bytes] : messages) {
      if (uid < request.uids(0).first() || uid > request.uids(0).last()) continue;
      mail::FetchResponse rows;
      rows.mutable_rows()->add_uid(uid);
      if (request.size()) rows.mutable_rows()->add_size_bytes(bytes.size());
      out.push_back(rows);
      if (request.sections_size() == 0) continue;
      std::string data = bytes;
      if (request.sections(0).kind() == mail::Section::KIND_HEADER) data = bytes.substr(0, bytes.find("\r\n\r\n") + 4);
      for (size_t at = 0; at == 0 || at < data.size(); at += piece_bytes) {
        mail::FetchResponse piece;
        mail::SectionPiece* p = piece.add_pieces();
        p->set_uid(uid);
        p->set_total_bytes(data.size());
        p->set_data(data.substr(at, piece_bytes));
        p->set_last(at + piece_bytes >= data.size());
        out.push_back(piece);
      }
      // A failing stream stops somewhere before its last piece.
      if (!fetch_end.ok()) out.pop_back();
    }
    return std::make_unique<DataStream>(std::move(out), request.sections_size() > 0 ? fetch_end : absl::OkStatus());
  }
  Answer<mail::ExpungeResponse> Expunge(Trace, mail::ExpungeRequest request) override {
    std::string what = request.even_undeleted() ? "expunge" : "expunge-deleted";
    for (const auto& range : request.uids()) absl::StrAppend(&what, " ", range.first(), "-", range.last());
    log.push_back(what);
    if (!expunge_status.ok()) co_return expunge_status;
    co_return mail::ExpungeResponse();
  }
  Answer<mail::StoreFlagsResponse> StoreFlags(Trace, mail::StoreFlagsRequest request) override {
    std::string what = "seen";
    for (const auto& range : request.uids()) absl::StrAppend(&what, " ", range.first(), "-", range.last());
    if (request.mode() == mail::StoreFlagsRequest::MODE_ADD && request.flags() == mail::FLAG_SEEN) log.push_back(what);
    co_return mail::StoreFlagsResponse();
  }

  // What POP3 does not use.
  template <typename T>
  static Answer<T> No() {
    co_return absl::UnimplementedError("not for POP3");
  }
  Answer<mail::ListFoldersResponse> ListFolders(Trace, mail::ListFoldersRequest) override {
    return No<mail::ListFoldersResponse>();
  }
  Answer<mail::CreateFolderResponse> CreateFolder(Trace, mail::CreateFolderRequest) override {
    return No<mail::CreateFolderResponse>();
  }
  Answer<mail::DeleteFolderResponse> DeleteFolder(Trace, mail::DeleteFolderRequest) override {
    return No<mail::DeleteFolderResponse>();
  }
  Answer<mail::RenameFolderResponse> RenameFolder(Trace, mail::RenameFolderRequest) override {
    return No<mail::RenameFolderResponse>();
  }
  Answer<mail::SubscribeResponse> Subscribe(Trace, mail::SubscribeRequest) override {
    return No<mail::SubscribeResponse>();
  }
  Answer<mail::ListUidsResponse> ListUids(Trace, mail::ListUidsRequest) override {
    return No<mail::ListUidsResponse>();
  }
  Answer<mail::SearchResponse> Search(Trace, mail::SearchRequest) override { return No<mail::SearchResponse>(); }
  Answer<mail::CopyResponse> Copy(Trace, mail::CopyRequest) override { return No<mail::CopyResponse>(); }
  Answer<mail::GetChangesResponse> GetChanges(Trace, mail::GetChangesRequest) override {
    return No<mail::GetChangesResponse>();
  }
  Answer<mail::GetUsageResponse> GetUsage(Trace, mail::GetUsageRequest) override {
    return No<mail::GetUsageResponse>();
  }
  std::unique_ptr<AppendStream> Append(Trace, const AccountRef&) override { return nullptr; }
  std::unique_ptr<WatchStream> Watch(const std::string&) override { return nullptr; }
  std::string ShardOf(const std::string& home) const override { return home; }
};

LoginOptions QuickLogins() {
  LoginOptions options;
  options.failure_delay = absl::ZeroDuration();
  return options;
}

class SessionTest : public testing::Test {
 public:
  void SetUp() override {
    config_.allow_plaintext_auth = true;
    backend_.messages = {{10, "A: b\r\n\r\none\r\n"}, {20, "A: c\r\n\r\n.dot\r\n.\r\nlast"}};
  }
  void TearDown() override {
    clients_.clear();
    Drain();
    loops_.Stop();
  }
  // Every session has ended when this returns.
  void Drain() {
    if (listener_ == nullptr) return;
    SyncWait([](SessionTest* t) -> Task<void> {
      co_await SwitchTo(t->loops_.at(0));
      co_await t->listener_->Drain(kLong);
    }(this));
  }

  // Connects one more client; the index of it.
  size_t Connect() {
    if (listener_ == nullptr) {
      auto config = std::make_shared<const Config>(config_);
      listener_ = *net::Listener::Start(loops_, {}, [this, config](std::unique_ptr<net::Connection> c) {
        return ServePop3(std::move(c), config, services_);
      });
    }
    clients_.push_back(*SyncWait(DoConnect(this)));
    return clients_.size() - 1;
  }
  static Task<absl::StatusOr<std::unique_ptr<net::Connection>>> DoConnect(SessionTest* t) {
    co_await SwitchTo(t->loops_.at(0));
    co_return co_await net::Connect(t->loops_.at(0), {"127.0.0.1", t->listener_->port()}, "", kLong);
  }

  void Send(std::string bytes, size_t client = 0) { SyncWait(DoSend(this, client, std::move(bytes))); }
  static Task<void> DoSend(SessionTest* t, size_t client, std::string bytes) {
    co_await SwitchTo(t->loops_.at(0));
    EXPECT_TRUE((co_await t->clients_[client]->Write(std::move(bytes), kLong)).ok());
  }
  bool TrySend(std::string bytes) {
    return SyncWait([](SessionTest* t, std::string b) -> Task<bool> {
      co_await SwitchTo(t->loops_.at(0));
      co_return (co_await t->clients_[0]->Write(std::move(b), kLong)).ok();
    }(this, std::move(bytes)));
  }
  // "(closed)" when the server hung up.
  std::string Line(size_t client = 0) { return SyncWait(DoLine(this, client)); }
  static Task<std::string> DoLine(SessionTest* t, size_t client) {
    co_await SwitchTo(t->loops_.at(0));
    auto line = co_await t->clients_[client]->ReadLine(100000, kLong);
    co_return line.ok() ? *line : "(closed)";
  }
  std::string Say(const std::string& command, size_t client = 0) {
    Send(command + "\r\n", client);
    return Line(client);
  }
  // The lines of a multi-line answer, "|" between; with its first line.
  std::string SayLong(const std::string& command) {
    std::string out = Say(command);
    while (true) {
      const std::string line = Line();
      absl::StrAppend(&out, "|", line);
      if (line == "." || line == "(closed)") return out;
    }
  }
  void LogIn() {
    Connect();
    EXPECT_EQ(Line(), "+OK POP3 ready");
    EXPECT_EQ(Say("USER u").substr(0, 3), "+OK");
    EXPECT_EQ(Say("PASS p"), "+OK 2 messages");
  }

  net::EventLoops loops_{1};
  metrics::Registry registry_;
  Metrics metrics_{registry_};
  DataBackend backend_;
  Logins logins_{backend_, metrics_, QuickLogins()};
  DropLocks locks_;
  Services services_{backend_, logins_, metrics_, locks_};
  Config config_;
  std::unique_ptr<net::Listener> listener_;
  std::vector<std::unique_ptr<net::Connection>> clients_;
};

TEST_F(SessionTest, ReadsAMaildrop) {
  LogIn();
  EXPECT_EQ(Say("STAT"), "+OK 2 34");
  EXPECT_EQ(SayLong("UIDL"), "+OK 2 messages|1 7.10|2 7.20|.");
  EXPECT_EQ(SayLong("RETR 1"), "+OK 13 octets|A: b||one|.");
  EXPECT_EQ(SayLong("RETR 2"), "+OK 21 octets|A: c||..dot|..|last|.");
  EXPECT_EQ(SayLong("TOP 2 1"), "+OK|A: c||..dot|.");
  EXPECT_EQ(SayLong("TOP 2 0"), "+OK|A: c||.");
  EXPECT_EQ(Say("QUIT"), "+OK bye");
  EXPECT_EQ(Line(), "(closed)");
  EXPECT_EQ(backend_.log, std::vector<std::string>{"seen 10-20"});
}

// RFC 2449 §6.6
TEST_F(SessionTest, PipelinedCommandsAreAnsweredInOrder) {
  Connect();
  Send("USER u\r\nPASS p\r\nSTAT\r\nRETR 1\r\nDELE 1\r\nNOOP\r\nQUIT\r\n");
  std::string all;
  for (std::string line = Line(); line != "(closed)"; line = Line()) absl::StrAppend(&all, line, "|");
  EXPECT_EQ(
      all,
      "+OK POP3 ready|+OK now the password|+OK 2 messages|+OK 2 34|+OK 13 octets|A: b||one|.|+OK marked|+OK|+OK bye|");
  EXPECT_EQ(backend_.log, std::vector<std::string>{"expunge 10-10"});
}

// RFC 1939 §6: only QUIT deletes.
TEST_F(SessionTest, NothingIsDeletedWithoutQuit) {
  LogIn();
  EXPECT_EQ(Say("DELE 1"), "+OK marked");
  clients_[0]->Close();
  // The session has ended when its lock is free again.
  Connect();
  Line(1);
  while (true) {
    Say("USER u", 1);
    if (Say("PASS p", 1) == "+OK 2 messages") break;
  }
  EXPECT_TRUE(backend_.log.empty());
}

TEST_F(SessionTest, QuitSaysWhetherTheDeletionIsDurable) {
  backend_.expunge_status = absl::UnavailableError("mailbox is away");
  LogIn();
  Say("DELE 2");
  EXPECT_EQ(Say("QUIT").substr(0, 15), "-ERR [SYS/TEMP]");
}

TEST_F(SessionTest, TheMaildropIsExclusive) {
  LogIn();
  const size_t second = Connect();
  Line(second);
  Say("USER u", second);
  EXPECT_EQ(Say("PASS p", second), "-ERR [IN-USE] another session has this maildrop");
  EXPECT_EQ(Say("QUIT"), "+OK bye");
  EXPECT_EQ(Line(), "(closed)");
  Say("USER u", second);
  EXPECT_EQ(Say("PASS p", second), "+OK 2 messages");
}

TEST_F(SessionTest, WrongPasswords) {
  config_.max_login_failures = 2;
  Connect();
  Line();
  Say("USER u");
  EXPECT_EQ(Say("PASS wrong"), "-ERR [AUTH] wrong name or password");
  Say("USER nobody");
  EXPECT_EQ(Say("PASS p"), "-ERR [AUTH] wrong name or password");
  EXPECT_EQ(Line(), "(closed)");
}

// Commands that are allowed before login do not keep a stranger's connection open.
TEST_F(SessionTest, TooSlowToLogIn) {
  config_.login_timeout = absl::Milliseconds(300);
  Connect();
  Line();
  const absl::Time start = absl::Now();
  std::string line;
  do {
    if (!TrySend("CAPA\r\n")) break;
    line = Line();
  } while (line != "(closed)" && absl::Now() - start < absl::Seconds(20));
  EXPECT_LT(absl::Now() - start, absl::Seconds(20));
}

TEST_F(SessionTest, AMessageThatIsGoneMeanwhile) {
  LogIn();
  backend_.messages.erase(10);
  EXPECT_EQ(Say("RETR 1"), "-ERR this message was removed meanwhile");
  EXPECT_EQ(Say("NOOP"), "+OK");
}

// The client must not take a part for the whole.
TEST_F(SessionTest, ABodyCutShortHasNoTerminator) {
  backend_.fetch_end = absl::UnavailableError("mailbox died");
  backend_.piece_bytes = 50000;
  backend_.messages[20] = "A: c\r\n\r\n";
  for (int i = 0; i < 20000; ++i) backend_.messages[20] += "0123456789\r\n";
  LogIn();
  const std::string got = SayLong("RETR 2");
  EXPECT_EQ(got.substr(0, 40), "+OK 240008 octets|A: c||0123456789|01234");
  EXPECT_EQ(got.substr(got.size() - 9), "|(closed)");
}

TEST_F(SessionTest, LongListsAndLinesAreBounded) {
  backend_.messages.clear();
  for (uint32_t uid = 1; uid <= 20000; ++uid) backend_.messages[uid] = "x";
  Connect();
  Line();
  EXPECT_EQ(Say("USER " + std::string(20000, 'x')), "-ERR line too long");
  Say("USER u");
  EXPECT_EQ(Say("PASS p"), "+OK 20000 messages");
  const std::string uidl = SayLong("UIDL");
  EXPECT_EQ(uidl.substr(uidl.size() - 16), "|20000 7.20000|.");
}

// RFC 2595 §4
TEST_F(SessionTest, Stls) {
  const std::string base = absl::StrCat(getenv("TEST_TMPDIR"), "/pop3");
  const net::CertificateFiles files{base + ".crt", base + ".key"};
  ASSERT_TRUE(net::WriteSelfSigned(files, {"pop.example"}, 10).ok());
  config_.tls = *net::TlsServerContext::Create({files});
  config_.allow_plaintext_auth = false;
  Connect();
  Line();
  EXPECT_EQ(Say("USER u").substr(0, 4), "-ERR");
  // What was sent in the clear behind STLS is thrown away.
  Send("STLS\r\nUSER injected\r\n");
  EXPECT_EQ(Line(), "+OK begin TLS");
  const absl::Status handshake = SyncWait([](SessionTest* t) -> Task<absl::Status> {
    co_await SwitchTo(t->loops_.at(0));
    auto context = *net::TlsClientContext::Create(net::VerifyPeer::kNone, "");
    co_return co_await t->clients_[0]->StartTlsClient(context, "pop.example", kLong);
  }(this));
  ASSERT_TRUE(handshake.ok()) << handshake;
  EXPECT_EQ(Say("PASS p"), "-ERR USER first");
  EXPECT_EQ(Say("USER u").substr(0, 3), "+OK");
  EXPECT_EQ(Say("PASS p"), "+OK 2 messages");
}

TEST_F(SessionTest, CommandsAreCountedByName) {
  LogIn();
  Say("STAT");
  Say("FROB");
  const std::string text = registry_.Serialize();
  const auto count = [&text](absl::string_view command) {
    return text.find(absl::StrCat("posthouse_gateway_command_seconds_count{command=\"", command,
                                  "\",protocol=\"pop3\"} 1")) != std::string::npos;
  };
  EXPECT_TRUE(count("stat") && count("user") && count("pass") && count("other")) << text;
}

TEST_F(SessionTest, SessionsAreCounted) {
  LogIn();
  EXPECT_EQ(metrics_.Sessions("pop3").Value(), 1);
  Drain();
  EXPECT_EQ(Line(), "(closed)");
  EXPECT_EQ(metrics_.Sessions("pop3").Value(), 0);
}

}  // namespace
}  // namespace posthouse::gateway::pop3
