// Usage, help and exit codes, without a server: what a person meets first. What the
// commands do is in tests/e2e, against running services.
#include "tools/posthousectl/run.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "tools/posthousectl/command.h"
#include "tools/posthousectl/secret.h"

namespace posthouse::ctl {
namespace {

struct Result {
  int code;
  std::string out, err;
};

Result Ctl(const std::vector<std::string>& words, const std::string& input = "") {
  std::istringstream in(input);
  std::ostringstream out, err;
  const int code = Run(words, [](const std::string&) { return std::nullopt; }, in, out, err);
  return {code, out.str(), err.str()};
}

TEST(RunTest, HelpListsEveryCommandAndEachExplainsItself) {
  const Result help = Ctl({"--help"});
  EXPECT_EQ(help.code, 0);
  for (const Command& command : Commands()) {
    EXPECT_NE(help.out.find("  " + command.name + " "), std::string::npos) << command.name;
    std::vector<std::string> words;
    std::istringstream split(command.name + " --help");
    for (std::string word; split >> word;) words.push_back(word);
    const Result own = Ctl(words);
    EXPECT_EQ(own.code, 0) << command.name;
    for (const Flag& flag : command.flags) EXPECT_NE(own.out.find("--" + flag.name), std::string::npos) << flag.name;
  }
}

TEST(RunTest, WrongUsageIsTwoAndSaysWhat) {
  EXPECT_EQ(Ctl({}).code, 2);
  EXPECT_EQ(Ctl({"nonsense", "here"}).code, 2);
  EXPECT_NE(Ctl({"nonsense", "here"}).err.find("no command \"nonsense here\""), std::string::npos);
  EXPECT_NE(Ctl({"queue", "list", "--bogus"}).err.find("unknown flag --bogus"), std::string::npos);
  EXPECT_EQ(Ctl({"queue", "show"}).code, 2);
  EXPECT_NE(Ctl({"--server", "h:1", "--queue", "h:2", "ping"}).err.find("give one kind"), std::string::npos);
  EXPECT_EQ(Ctl({"account", "add", "a@example.org", "--quota", "much", "--no-password"}).code, 2);
  EXPECT_NE(Ctl({"--directory", "127.0.0.1:1", "queue", "list"}).err.find("where is the queue?"), std::string::npos);
}

TEST(RunTest, NoAnswerIsThreeAndNamesThePlace) {
  const Result result = Ctl({"--server", "127.0.0.1:1", "--timeout", "5", "queue", "list"});
  EXPECT_EQ(result.code, 3) << result.err;
  EXPECT_NE(result.err.find("no answer from 127.0.0.1:1"), std::string::npos) << result.err;
}

TEST(RunTest, PlaintextLeavesTheMachineForNobody) {
  const Result result = Ctl({"--server", "192.0.2.1:7400", "queue", "list"});
  EXPECT_NE(result.code, 0);
  EXPECT_NE(result.err.find("loopback"), std::string::npos) << result.err;
}

absl::StatusOr<Secret> Read(const std::vector<std::string>& words, const std::string& input) {
  std::istringstream in(input);
  std::ostringstream prompt;
  return ReadSecret(*Arguments::Parse(words, SecretFlags()), in, prompt);
}

TEST(SecretTest, ComesFromAFileOrStandardInput) {
  EXPECT_EQ(Read({"--password-file", "-"}, "pass word \r\nmore\n")->text, "pass word ");
  EXPECT_FALSE(Read({"--password-file", "-"}, "\n").ok());
  EXPECT_FALSE(Read({"--password-file", "/nonexistent"}, "").ok());
  EXPECT_EQ(Read({"--no-password"}, "")->kind, Secret::Kind::kNone);
  EXPECT_FALSE(Read({"--no-password", "--generate"}, "").ok());
  const std::string path = std::string(std::getenv("TEST_TMPDIR")) + "/hash";
  std::ofstream(path) << "$6$salt$hash\n";
  const auto hash = Read({"--password-hash-file", path}, "");
  EXPECT_EQ(hash->kind, Secret::Kind::kHash);
  EXPECT_EQ(hash->text, "$6$salt$hash");
}

TEST(SecretTest, MadePasswordsDiffer) {
  const auto a = Read({"--generate"}, ""), b = Read({"--generate"}, "");
  EXPECT_TRUE(a->generated);
  EXPECT_EQ(a->text.size(), 20u);
  EXPECT_NE(a->text, b->text);
}

}  // namespace
}  // namespace posthouse::ctl
