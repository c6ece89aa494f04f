// Processes from the outside: flags, exit codes, signals, what the log says.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace posthouse::runtime {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr char kBinary[] = "services/common/runtime/probe";
constexpr absl::Duration kPatience = absl::Seconds(30);

class Process {
 public:
  explicit Process(std::vector<std::string> args, bool hangs = false) {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    args.insert(args.begin(), kBinary);
    std::vector<char*> argv;
    for (std::string& arg : args) argv.push_back(arg.data());
    argv.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      if (hangs) setenv("PROBE_HANGS", "1", 1);
      dup2(ends[1], STDOUT_FILENO);
      dup2(ends[1], STDERR_FILENO);
      close(ends[0]);
      close(ends[1]);
      execv(kBinary, argv.data());
      _exit(127);
    }
    close(ends[1]);
    out_ = ends[0];
  }
  ~Process() {
    if (!ended_) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(out_);
  }
  void Signal(int number) { kill(pid_, number); }

  // Reads until `text` was said; what was said up to there and not returned before.
  std::string Until(const std::string& text) {
    const absl::Time deadline = absl::Now() + kPatience;
    while (true) {
      const size_t at = said_.find(text);
      if (at != std::string::npos) {
        const size_t end = std::min(said_.find('\n', at), said_.size());
        std::string result = said_.substr(0, end);
        said_.erase(0, end);
        return result;
      }
      if (!More(deadline)) return absl::StrCat("never said ", text, ", but: ", said_);
    }
  }
  // Waits for the end; the exit code.
  int Exit() {
    const absl::Time deadline = absl::Now() + kPatience;
    while (More(deadline)) {
    }
    int status = 0;
    while (waitpid(pid_, &status, WNOHANG) == 0) {
      if (absl::Now() > deadline) return -1;
      absl::SleepFor(absl::Milliseconds(2));
    }
    ended_ = true;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }
  const std::string& said() const { return said_; }

 private:
  bool More(absl::Time deadline) {
    pollfd waits{out_, POLLIN, 0};
    const int64_t left = absl::ToInt64Milliseconds(deadline - absl::Now());
    if (left <= 0 || poll(&waits, 1, static_cast<int>(left)) <= 0) return false;
    char bytes[4096];
    const ssize_t n = read(out_, bytes, sizeof bytes);
    if (n <= 0) return false;
    said_.append(bytes, static_cast<size_t>(n));
    return true;
  }

  pid_t pid_ = 0;
  int out_ = -1;
  bool ended_ = false;
  std::string said_;
};

class RuntimeTest : public testing::Test {
 protected:
  RuntimeTest() : file_(testing::TempDir() + "/" + testing::UnitTest::GetInstance()->current_test_info()->name()) {}
  void Write(const std::string& yaml) { std::ofstream(file_, std::ios::trunc) << "http: {port: 0}\n" << yaml; }
  std::unique_ptr<Process> Start(bool hangs = false) {
    auto process = std::make_unique<Process>(std::vector<std::string>{"--config", file_}, hangs);
    EXPECT_THAT(process->Until("\"event\":\"started\""), HasSubstr("started"));
    return process;
  }
  const std::string file_;
};

TEST_F(RuntimeTest, CheckConfigSaysOkOrWhatIsWrong) {
  struct Case {
    std::string yaml, says;
    int exit;
  };
  for (const Case& c :
       {Case{"", "ok\n", 0}, Case{"ingress: {max_erors: 1}\n", ":2:11: ingress.max_erors: unknown key", 2},
        Case{"log_level: loud\n", ":2:12: log_level: \"loud\"", 2},
        // A check that only the service can make.
        Case{"ingress: {max_recipients: 13}\n", ":2:27: ingress.max_recipients: not 13", 2}}) {
    Write(c.yaml);
    Process process({"--config=" + file_, "--check-config"});
    EXPECT_EQ(process.Exit(), c.exit) << c.yaml;
    EXPECT_THAT(process.said(), HasSubstr(c.says));
    if (c.exit != 0) EXPECT_THAT(process.said(), HasSubstr(file_));
  }
}

// The files may come later: what a start would refuse about them is a warning here.
TEST_F(RuntimeTest, CheckConfigLooksAtTheFilesThatTheConfigurationNames) {
  Write("data_dir: here\nrpc: {certificate_file: /nonexistent/a, private_key_file: b, ca_file: /nonexistent/c}\n");
  Process process({"--config=" + file_, "--check-config"});
  EXPECT_EQ(process.Exit(), 0);
  EXPECT_THAT(process.said(), HasSubstr("warning: data_dir: here is relative to the directory in which"));
  EXPECT_THAT(process.said(), HasSubstr("warning: rpc.private_key_file: b is relative"));
  EXPECT_THAT(process.said(), HasSubstr("warning: rpc: cannot read /nonexistent/a\n"));
  EXPECT_THAT(process.said(), HasSubstr("ok\n"));
}

TEST_F(RuntimeTest, FlagsAreChecked) {
  Process unknown({"--confg", "x"});
  EXPECT_EQ(unknown.Exit(), 2);
  EXPECT_THAT(unknown.said(), HasSubstr("probe: unknown flag --confg; did you mean --config?\n"));
  Process operand({"start"});
  EXPECT_EQ(operand.Exit(), 2);
  EXPECT_THAT(operand.said(), HasSubstr("unexpected operand: 'start'"));
  Process missing({"--config", "/nonexistent/x.yaml"});
  EXPECT_EQ(missing.Exit(), 2);
  Process help({"--help"});
  EXPECT_EQ(help.Exit(), 0);
  for (const char* flag : {"--config FILE", "--check-config", "--version", "--help"}) {
    EXPECT_THAT(help.said(), HasSubstr(flag));
  }
  Process version({"--version"});
  EXPECT_EQ(version.Exit(), 0);
}

TEST_F(RuntimeTest, SigtermDrainsWithinTheTimeOfTheConfig) {
  for (const int signal : {SIGTERM, SIGINT}) {
    Write("drain_timeout: 7s\n");
    const auto process = Start();
    process->Signal(signal);
    EXPECT_THAT(process->Until("probe_drains"), HasSubstr("\"grace\":7"));
    EXPECT_EQ(process->Exit(), 0);
    EXPECT_THAT(process->said(), HasSubstr("\"event\":\"stopped\""));
  }
}

TEST_F(RuntimeTest, TheDrainBeginsAfterTheDelay) {
  Write("drain_delay: 10m\n");
  const auto process = Start();
  process->Signal(SIGTERM);
  process->Until("probe_announces");
  process->Signal(SIGTERM);
  EXPECT_EQ(process->Exit(), 1);  // a second signal does not wait
  EXPECT_THAT(process->said(), Not(HasSubstr("probe_drains")));

  Write("drain_delay: 0.1s\n");
  const auto other = Start();
  other->Signal(SIGTERM);
  other->Until("probe_announces");
  other->Until("probe_drains");
  EXPECT_THAT(other->Until("\"event\":\"stopped\""), HasSubstr("stopped"));
  EXPECT_EQ(other->Exit(), 0);
}

TEST_F(RuntimeTest, ASecondSigtermEndsADrainAtOnceAndSighupDoesNot) {
  Write("drain_timeout: 1h\n");
  const auto process = Start(/*hangs=*/true);
  process->Signal(SIGTERM);
  process->Until("probe_drains");
  process->Signal(SIGHUP);
  EXPECT_THAT(process->Until("reload_ignored"), HasSubstr("\"why\":\"draining\""));
  process->Signal(SIGTERM);
  EXPECT_EQ(process->Exit(), 1);  // -1 when it drains on

  Write("drain_timeout: 2s\n");
  const auto other = Start(/*hangs=*/true);
  other->Signal(SIGTERM);
  other->Until("probe_drains");
  other->Signal(SIGHUP);
  EXPECT_EQ(other->Exit(), 0);  // drained to its end
}

TEST_F(RuntimeTest, SighupReloadsAndKeepsWhatItHasWhenItCannot) {
  Write("");
  const auto process = Start();
  Write("log_level: debug\ningress: {max_errors: 7}\n");
  process->Signal(SIGHUP);
  EXPECT_THAT(process->Until("\"event\":\"reloaded\""), HasSubstr("\"needs_restart\":\"\""));
  // Refused by the loader, by the service's check, by the app.
  for (const std::string bad : {"nonsense: 1\n", "ingress: {max_recipients: 13}\n", "ingress: {max_errors: 13}\n"}) {
    Write(bad);
    process->Signal(SIGHUP);
    EXPECT_THAT(process->Until("reload_failed"), HasSubstr("\"level\":\"error\"")) << bad;
  }
  Write("hostname: a.example\ndrain_timeout: 3s\ningress: {smtp: {port: 99}, max_errors: 8}\n");
  process->Signal(SIGHUP);
  EXPECT_THAT(process->Until("needs_restart\":\"hostname, ingress.smtp.port\""), HasSubstr("\"level\":\"warning\""));
  process->Signal(SIGTERM);
  EXPECT_EQ(process->Exit(), 0);
}

// The classic mistake with a mounted ConfigMap, and worse ones.
TEST_F(RuntimeTest, WhatIsNoFileDoesNotStart) {
  for (const auto& [path, why] : std::vector<std::pair<std::string, std::string>>{
           {testing::TempDir(), "it is a directory; name the file in it"},
           {testing::TempDir() + "/no-such-file", "No such file or directory"},
           {"/dev/zero", "larger than 4194304 bytes"},
           {"/proc/self/mem", "cannot read the configuration"},
       }) {
    for (const bool check : {false, true}) {
      std::vector<std::string> args{"--config", path};
      if (check) args.push_back("--check-config");
      Process process(args);
      EXPECT_EQ(process.Exit(), 2) << path;
      EXPECT_THAT(process.said(), HasSubstr(why));
      EXPECT_EQ(std::count(process.said().begin(), process.said().end(), '\n'), 1) << process.said();
    }
  }
}

TEST_F(RuntimeTest, ADirectoryInThePlaceOfTheFileEndsNoProcess) {
  Write("");
  const auto process = Start();
  std::filesystem::remove(file_);
  std::filesystem::create_directory(file_);
  process->Signal(SIGHUP);
  EXPECT_THAT(process->Until("reload_failed"), HasSubstr("it is a directory"));
  std::filesystem::remove(file_);
  Write("log_level: debug\n");
  process->Signal(SIGHUP);
  EXPECT_THAT(process->Until("\"event\":\"reloaded\""), HasSubstr("reloaded"));
  process->Signal(SIGTERM);
  EXPECT_EQ(process->Exit(), 0);
}

TEST_F(RuntimeTest, AChangedFileIsLoadedWithoutASignal) {
  Write("drain_timeout: 1h\n");
  const auto process = Start(/*hangs=*/true);
  Write("drain_timeout: 10ms\n");
  EXPECT_THAT(process->Until("\"event\":\"reloaded\""), HasSubstr("\"why\":\"file\",\"needs_restart\":\"\""));
  process->Signal(SIGTERM);
  EXPECT_EQ(process->Exit(), 0);  // within the new time
}

}  // namespace
}  // namespace posthouse::runtime
