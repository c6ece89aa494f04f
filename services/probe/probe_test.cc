#include "services/probe/probe.h"

#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "services/common/async/task.h"
#include "services/common/metrics/metrics.h"
#include "services/common/net/connection.h"
#include "services/common/net/event_loop.h"
#include "services/common/net/tls.h"

namespace posthouse::probe {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// SMTP, IMAP and POP3 of one mailbox, as little as the probe needs.
class MailServer {
 public:
  explicit MailServer(const std::string& folder) : loops_(1) {
    const net::CertificateFiles files{folder + "/tls.crt", folder + "/tls.key"};
    EXPECT_TRUE(net::WriteSelfSigned(files, {"mail.example"}, 30).ok());
    tls_ = *net::TlsServerContext::Create({files});
    smtp_ = Listen(true, [this](net::Connection& c) { return Smtp(c); });
    mx_ = Listen(false, [this](net::Connection& c) { return Smtp(c); });
    imap_ = Listen(true, [this](net::Connection& c) { return Imap(c); });
    pop3_ = Listen(true, [this](net::Connection& c) { return Pop3(c); });
  }
  ~MailServer() { loops_.Stop(); }

  Target smtp() const { return At(*smtp_); }
  Target mx() const { return At(*mx_); }
  Target imap() const { return At(*imap_); }
  Target pop3() const { return At(*pop3_); }
  size_t messages() const {
    absl::MutexLock lock(&mutex_);
    return messages_.size();
  }

  // Faults.
  std::string password = "secret";
  bool open_relay = false;
  bool loses_mail = false;
  bool damages_mail = false;

 private:
  using Serve = std::function<Task<void>(net::Connection&)>;
  static constexpr absl::Duration kLong = absl::Seconds(60);

  static Target At(const net::Listener& listener) { return {"127.0.0.1", absl::StrCat(listener.port())}; }
  std::unique_ptr<net::Listener> Listen(bool tls, Serve serve) {
    net::ListenerOptions options;
    if (tls) options.implicit_tls = tls_;
    auto run = [serve](std::unique_ptr<net::Connection> connection) -> Task<void> {
      return Own(serve, std::move(connection));
    };
    return *net::Listener::Start(loops_, options, run);
  }
  static Task<void> Own(Serve serve, std::unique_ptr<net::Connection> connection) { co_await serve(*connection); }

  static Task<void> Say(net::Connection& c, std::string text) {
    text += "\r\n";
    (void)co_await c.Write(std::move(text), kLong);
  }
  bool GoodLogin(absl::string_view base64) const {
    std::string plain;
    return absl::Base64Unescape(base64, &plain) && absl::EndsWith(plain, absl::StrCat(std::string(1, '\0'), password));
  }
  Task<void> Smtp(net::Connection& c) {
    co_await Say(c, "220 mail.example ESMTP");
    while (true) {
      absl::StatusOr<std::string> line = co_await c.ReadLine(1000, kLong);
      if (!line.ok()) co_return;
      std::string reply = "250 OK";
      if (absl::StartsWith(*line, "EHLO")) reply = "250-mail.example\r\n250 AUTH PLAIN";
      if (absl::StartsWith(*line, "AUTH PLAIN ")) reply = GoodLogin(line->substr(11)) ? "235 OK" : "535 5.7.8 wrong";
      if (absl::StrContains(*line, "@example.com") && !open_relay) reply = "554 5.7.1 no relaying";
      if (*line == "DATA") {
        co_await Say(c, "354 go on");
        std::string message;
        while (true) {
          absl::StatusOr<std::string> text = co_await c.ReadLine(1000, kLong);
          if (!text.ok()) co_return;
          if (*text == ".") break;
          absl::StrAppend(&message, damages_mail && absl::StartsWith(*text, "This") ? "That" : *text, "\r\n");
        }
        absl::MutexLock lock(&mutex_);
        if (!loses_mail) messages_[++last_uid_] = "Received: by mail.example\r\n" + message;
      }
      if (*line == "QUIT") reply = "221 bye";
      co_await Say(c, std::move(reply));
    }
  }
  std::string ImapAnswer(const std::vector<std::string>& words) {
    absl::MutexLock lock(&mutex_);
    const std::string command = words[1] == "UID" ? words[2] : words[1];
    std::string answer;
    if (command == "SEARCH") {
      answer = "* SEARCH";
      for (const auto& [uid, text] : messages_) {
        if (absl::StrContains(text, words[4])) absl::StrAppend(&answer, " ", uid);
      }
    } else if (command == "FETCH") {
      const std::string& text = messages_[std::stoi(words[3])];
      answer = absl::StrCat("* 1 FETCH (UID ", words[3], " BODY[] {", text.size(), "}\r\n", text, ")");
    } else if (command == "EXPUNGE") {
      messages_.erase(std::stoi(words[3]));
      answer = "* 1 EXPUNGE";
    }
    if (command == "AUTHENTICATE" && !GoodLogin(words[3])) return words[0] + " NO [AUTHENTICATIONFAILED] wrong";
    return absl::StrCat(answer, answer.empty() ? "" : "\r\n", words[0], " OK done");
  }
  Task<void> Imap(net::Connection& c) {
    co_await Say(c, "* OK ready");
    while (true) {
      absl::StatusOr<std::string> line = co_await c.ReadLine(1000, kLong);
      if (!line.ok()) co_return;
      std::string answer = ImapAnswer(absl::StrSplit(*line, ' '));
      co_await Say(c, std::move(answer));
    }
  }
  std::string Pop3Answer(const std::vector<std::string>& words) {
    absl::MutexLock lock(&mutex_);
    if (words[0] == "STAT") return absl::StrCat("+OK ", messages_.size(), " 100");
    if (words[0] != "TOP" && words[0] != "RETR") return "+OK";
    auto at = messages_.begin();
    std::advance(at, std::stoi(words[1]) - 1);
    return absl::StrCat("+OK\r\n", at->second, ".");
  }
  Task<void> Pop3(net::Connection& c) {
    co_await Say(c, "+OK ready");
    while (true) {
      absl::StatusOr<std::string> line = co_await c.ReadLine(1000, kLong);
      if (!line.ok()) co_return;
      std::string answer = Pop3Answer(absl::StrSplit(*line, ' '));
      co_await Say(c, std::move(answer));
    }
  }

  mutable absl::Mutex mutex_;
  std::map<int, std::string> messages_ ABSL_GUARDED_BY(mutex_);
  int last_uid_ ABSL_GUARDED_BY(mutex_) = 0;
  net::EventLoops loops_;
  std::shared_ptr<net::TlsServerContext> tls_;
  std::unique_ptr<net::Listener> smtp_, mx_, imap_, pop3_;
};

class ProbeTest : public testing::Test {
 protected:
  ProbeTest() : server_(folder_), loops_(1) {
    std::ofstream(folder_ + "/password") << "secret\n";
    options_.account = "probe@mail.example";
    options_.password_file = folder_ + "/password";
    options_.tls_name = "mail.example";
    options_.tls_ca = folder_ + "/tls.crt";
    options_.submissions = server_.smtp();
    options_.imaps = server_.imap();
    options_.pop3s = server_.pop3();
    options_.no_relay = server_.mx();
  }
  ~ProbeTest() override { loops_.Stop(); }
  std::vector<std::string> Round() {
    const std::vector<StepResult> round = SyncWait(RunRound(loops_.at(0), options_));
    metrics_.Add(round, absl::FromUnixSeconds(1000));
    std::vector<std::string> out;
    for (const StepResult& step : round) out.push_back(absl::StrCat(step.step, step.status.ok() ? "" : " failed"));
    said_.clear();
    for (const StepResult& step : round) absl::StrAppend(&said_, step.status.message(), "\n");
    return out;
  }

  const std::string folder_ = testing::TempDir();
  MailServer server_;
  net::EventLoops loops_;
  Options options_;
  metrics::Registry registry_;
  Metrics metrics_{registry_};
  std::string said_;
};

TEST_F(ProbeTest, AMessageIsSentReadAndDeleted) {
  EXPECT_THAT(Round(), ElementsAre("submit", "imap", "pop3", "delete", "no_relay")) << said_;
  EXPECT_EQ(server_.messages(), 0u);
  const std::string text = registry_.Serialize();
  EXPECT_THAT(text, HasSubstr("posthouse_probe_rounds_total{result=\"ok\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("posthouse_probe_last_round_successful 1\n"));
  EXPECT_THAT(text, HasSubstr("posthouse_probe_last_success_timestamp_seconds 1000\n"));
  EXPECT_THAT(text, HasSubstr("posthouse_probe_step_seconds_count{step=\"pop3\"} 1\n"));
}

TEST_F(ProbeTest, AWrongPasswordFailsTheSubmissionAndTheDeletion) {
  server_.password = "another";
  EXPECT_THAT(Round(), ElementsAre("submit failed", "delete failed", "no_relay"));
  EXPECT_THAT(said_, HasSubstr("AUTH was answered: 535 5.7.8"));
  EXPECT_THAT(said_, testing::Not(HasSubstr("secret")));
  EXPECT_THAT(registry_.Serialize(), HasSubstr("posthouse_probe_step_failures_total{step=\"submit\"} 1\n"));
  EXPECT_THAT(registry_.Serialize(), HasSubstr("posthouse_probe_last_round_successful 0\n"));
}

TEST_F(ProbeTest, AnOpenRelayIsFound) {
  server_.open_relay = true;
  EXPECT_THAT(Round(), ElementsAre("submit", "imap", "pop3", "delete", "no_relay failed"));
  EXPECT_THAT(said_, HasSubstr("RCPT to another domain was answered: 250"));
}

TEST_F(ProbeTest, AMessageThatDoesNotArriveIsFound) {
  server_.loses_mail = true;
  options_.timeout = absl::Milliseconds(1500);
  EXPECT_THAT(Round(), ElementsAre("submit", "imap failed", "delete", "no_relay"));
}

TEST_F(ProbeTest, ADamagedMessageIsFoundAndTheNextRoundDeletesIt) {
  server_.damages_mail = true;
  EXPECT_THAT(Round(), ElementsAre("submit", "imap failed", "delete", "no_relay"));
  EXPECT_THAT(said_, HasSubstr("not the one that was sent"));
  EXPECT_EQ(server_.messages(), 0u);
}

TEST_F(ProbeTest, ACertificateOfAnotherNameIsRefused) {
  options_.tls_name = "other.example";
  EXPECT_EQ(Round()[0], "submit failed");
}

TEST_F(ProbeTest, AServerThatIsAwayIsNamed) {
  options_.submissions = Target{"127.0.0.1", "1"};
  options_.timeout = absl::Seconds(5);
  EXPECT_EQ(Round()[0], "submit failed");
  EXPECT_THAT(said_, HasSubstr("127.0.0.1:1"));
}

TEST(TargetTest, IsAHostAndAPort) {
  EXPECT_EQ(Target::Parse("mail.example:993")->host, "mail.example");
  EXPECT_EQ(Target::Parse("[::1]:993")->host, "::1");
  EXPECT_EQ(Target::Parse("[::1]:993")->port, "993");
  for (const char* bad : {"", "mail.example", ":1", "a:0", "a:65536", "a:x"})
    EXPECT_FALSE(Target::Parse(bad).ok()) << bad;
}

}  // namespace
}  // namespace posthouse::probe
