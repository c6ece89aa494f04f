// Names, usage, help and exit codes, without a server: what a person meets first. What the commands do is in
// tests/e2e, against running services.
#include "tools/posthousectl/run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/common/version/version.h"
#include "tools/posthousectl/command.h"
#include "tools/posthousectl/context.h"
#include "tools/posthousectl/secret.h"

namespace posthouse::ctl {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

struct Result {
  int code;
  std::string out, err;
};

Result Ctl(const std::vector<std::string>& words, const std::string& input = "",
           const std::map<std::string, std::string>& environment = {}) {
  std::istringstream in(input);
  std::ostringstream out, err;
  const auto getenv = [&](const std::string& name) -> std::optional<std::string> {
    const auto at = environment.find(name);
    return at == environment.end() ? std::nullopt : std::optional<std::string>(at->second);
  };
  const int code = Run(words, getenv, in, out, err);
  return {code, out.str(), err.str()};
}

std::string FlagNames(const std::vector<cli::Flag>& flags) {
  std::string out;
  for (const cli::Flag& flag : flags) {
    absl::StrAppend(&out, " --", flag.name, flag.argument.empty() ? "" : "=", flag.argument);
  }
  return out;
}

// Scripts use these names: they may grow, and none may change.
TEST(NamesTest, CommandsFlagsAndVariablesStay) {
  const std::map<std::string, std::string> inventory = {
      {"tenant add NAME", " --display-name=TEXT --if-absent --quota=SIZE --quota-messages=N"},
      {"tenant list", ""},
      {"domain add DOMAIN",
       " --if-absent --tenant=NAME --catch-all=ADDRESS --alias-of=DOMAIN --subaddress-separators=CHARS --status=STATUS "
       "--quota=SIZE "
       "--quota-messages=N"},
      {"domain set DOMAIN",
       " --tenant=NAME --catch-all=ADDRESS --alias-of=DOMAIN --subaddress-separators=CHARS --status=STATUS "
       "--quota=SIZE "
       "--quota-messages=N"},
      {"domain show DOMAIN", ""},
      {"domain list", " --tenant=NAME"},
      {"domain delete DOMAIN", " --with-addresses --erase-now"},
      {"account add ADDRESS",
       " --create-domain --tenant=NAME --home=SHARD --account-id=ID --display-name=TEXT --if-absent "
       "--password-file=FILE --password-hash-file=FILE "
       "--generate --no-password --quota=SIZE --quota-messages=N"},
      {"account set ADDRESS",
       " --display-name=TEXT --status=STATUS --home=SHARD --force --quota=SIZE --quota-messages=N"},
      {"account show ADDRESS", ""},
      {"account list", " --domain=DOMAIN --tenant=NAME --deleted"},
      {"account delete ADDRESS", " --erase-now"},
      {"account undelete ADDRESS|ID", ""},
      {"alias add ADDRESS TARGET...", " --display-name=TEXT"},
      {"alias list", " --domain=DOMAIN --tenant=NAME"},
      {"alias delete ADDRESS", ""},
      {"password set ADDRESS", " --password-file=FILE --password-hash-file=FILE --generate --no-password"},
      {"queue list", " --domain=DOMAIN --sender=ADDRESS --limit=N"},
      {"queue show QUEUE-ID", " --header"},
      {"queue retry [QUEUE-ID]", " --domain=DOMAIN --held"},
      {"queue delete QUEUE-ID", " --bounce"},
      {"queue destinations", " --blocked --limit=N"},
      {"queue stats", ""},
      {"sessions list", " --account=ADDRESS|ID --protocol=PROTOCOL --limit=N"},
      {"sessions kick [SESSION-ID]", " --account=ADDRESS|ID --protocol=PROTOCOL --reason=TEXT"},
      {"backup run", ""},
      {"backup list", " --from=DIRECTORY"},
      {"backup verify [BACKUP-ID]", ""},
      {"backup restore DIRECTORY DATA-DIR", " --backup=BACKUP-ID --store=STORE --send-queued"},
      {"check store DIRECTORY", ""},
      {"salvage store DIRECTORY", ""},
      {"trace ID|ADDRESS", " --limit=N"},
      {"ping", " --wait=SECONDS"},
      {"completion bash|zsh|fish", ""},
  };
  std::map<std::string, std::string> found;
  for (const cli::Group& group : Program().groups) {
    for (const cli::Command& command : group.commands) {
      const std::vector<std::string> usage = absl::StrSplit(cli::Usage(Program(), &command), " [FLAGS]");
      found[usage[0].substr(sizeof("posthousectl"))] = FlagNames(command.flags);
    }
  }
  EXPECT_EQ(found, inventory);
  EXPECT_EQ(FlagNames(Program().flags),
            " --server=HOST:PORT --directory=HOST:PORT --routing=HOST:PORT --queue=HOST:PORT --mailbox=HOST:PORT "
            "--edge=HOST:PORT --ca=FILE --cert=FILE --key=FILE --token-file=FILE --timeout=SECONDS --json "
            "--version");
  std::string variables;
  for (const cli::Flag& flag : Program().flags) absl::StrAppend(&variables, cli::EnvironmentName(Program(), flag), " ");
  EXPECT_EQ(variables,
            "POSTHOUSE_SERVER POSTHOUSE_DIRECTORY POSTHOUSE_ROUTING POSTHOUSE_QUEUE POSTHOUSE_MAILBOX POSTHOUSE_EDGE "
            "POSTHOUSE_CA POSTHOUSE_CERT POSTHOUSE_KEY POSTHOUSE_TOKEN_FILE POSTHOUSE_TIMEOUT   ");
}

TEST(NamesTest, AFlagTakesAValueInAllCommandsOrInNone) {  // completion.h
  std::map<std::string, bool> takes;
  const auto check = [&](const std::vector<cli::Flag>& flags) {
    for (const cli::Flag& flag : flags) {
      EXPECT_EQ(takes.emplace(flag.name, flag.argument.empty()).first->second, flag.argument.empty()) << flag.name;
    }
  };
  check(Program().flags);
  for (const cli::Group& group : Program().groups) {
    for (const cli::Command& command : group.commands) check(command.flags);
  }
}

TEST(RunTest, HelpListsEveryCommandAndEachExplainsItself) {
  const Result help = Ctl({"--help"});
  EXPECT_EQ(help.code, 0);
  for (const cli::Group& group : Program().groups) {
    for (const cli::Command& command : group.commands) {
      EXPECT_THAT(help.out, HasSubstr("\n  " + command.name + " "));
      const Result own = Ctl(absl::StrSplit(command.name + " --help", ' '));
      EXPECT_EQ(own.code, 0) << command.name;
      EXPECT_THAT(own.out, StartsWith(command.help + ".\n"));
      for (const cli::Flag& flag : command.flags) EXPECT_THAT(own.out, HasSubstr("\n  --" + flag.name + " "));
      for (const std::string& example : command.examples) EXPECT_THAT(own.out, HasSubstr("\n  " + example + "\n"));
    }
  }
}

TEST(RunTest, TheVersionIsToldWithoutACommand) {
  const Result result = Ctl({"--version"});
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(result.out, absl::StrCat("posthousectl ", kVersion, "\n"));
}

TEST(RunTest, WrongUsageIsTwoAndSaysWhat) {
  const struct {
    std::vector<std::string> words;
    const char* says;
  } kCases[] = {
      {{}, "usage: posthousectl"},
      {{"acount", "add", "a@example.org"}, "unknown command 'acount'; did you mean 'account'?"},
      {{"queue", "list", "--bogus"}, "unknown flag --bogus"},
      {{"queue", "show"}, "missing operand: QUEUE-ID\nusage: posthousectl queue show QUEUE-ID [FLAGS]\n"},
      {{"queue", "retry"},
       "give either a QUEUE-ID, --domain or --held\nusage: posthousectl queue retry [QUEUE-ID] [FLAGS]\n"},
      {{"--server", "h:1", "--queue", "h:2", "ping"}, "--server excludes --queue"},
      {{"account", "add", "a@example.org", "--quota", "much", "--no-password"}, "--quota: \"much\" is not a size"},
      {{"account", "set", "a@example.org", "--status", "gone"}, "--status: 'gone' is not one of active, suspended"},
      {{"--directory", "127.0.0.1:1", "queue", "list"}, "no queue address: use --server or --queue"},
      {{"--queue", "127.0.0.1:1", "sessions", "list"}, "no address of an ingress or a gateway: use --server or --edge"},
      {{"sessions", "kick"}, "give either a SESSION-ID or --account"},
      {{"sessions", "kick", "a-1", "--account", "a@b"}, "give either a SESSION-ID or --account"},
      {{"sessions", "kick", "a-1", "--protocol", "imap"}, "--protocol needs --account"},
      {{"--queue", "127.0.0.1:1", "domain", "list"}, "no directory address: use --server or --directory"},
      {{"--queue", "127.0.0.1:1", "account", "show", "a@b"}, "no directory address: use --server or --directory"},
      {{"completion", "csh"}, "'csh' is not one of bash, zsh, fish"},
  };
  for (const auto& c : kCases) {
    const Result result = Ctl(c.words);
    EXPECT_EQ(result.code, 2) << c.says;
    EXPECT_EQ(result.out, "") << c.says;
    EXPECT_THAT(result.err, HasSubstr(c.says));
  }
}

TEST(RunTest, NoAnswerIsThreeAndNamesThePlace) {
  for (const Result& result : {Ctl({"--server", "127.0.0.1:1", "--timeout", "5", "queue", "list"}),
                               Ctl({"queue", "list"}, "", {{"POSTHOUSE_SERVER", "127.0.0.1:1"}})}) {
    EXPECT_EQ(result.code, 3) << result.err;
    EXPECT_THAT(result.err, HasSubstr("no answer from 127.0.0.1:1"));
  }
}

TEST(RunTest, WithoutAnAddressTheSocketOfTheServiceIsAsked) {
  if (access("/var/lib/posthouse/posthouse.sock", F_OK) == 0) GTEST_SKIP() << "Posthouse is installed here";
  const Result result = Ctl({"--timeout", "5", "queue", "list"});
  EXPECT_EQ(result.code, 3) << result.err;
  EXPECT_THAT(result.err, HasSubstr("no answer from unix:/var/lib/posthouse/posthouse.sock"));
  EXPECT_THAT(result.err, HasSubstr("--server names another"));
}

TEST(RunTest, ASecretThatOthersCanReadIsRefused) {
  const std::string path = std::string(std::getenv("TEST_TMPDIR")) + "/token";
  std::ofstream(path) << "0123456789abcdef0123456789abcdef\n";
  ASSERT_EQ(chmod(path.c_str(), 0644), 0);
  const Result open = Ctl({"--server", "127.0.0.1:1", "--token-file", path, "queue", "list"});
  EXPECT_EQ(open.code, 1);
  EXPECT_THAT(open.err, HasSubstr("chmod 600"));
  ASSERT_EQ(chmod(path.c_str(), 0600), 0);
  EXPECT_EQ(Ctl({"--server", "127.0.0.1:1", "--token-file", path, "queue", "list"}).code, 3);
}

TEST(RunTest, PlaintextLeavesTheMachineForNobody) {
  const Result result = Ctl({"--server", "192.0.2.1:7400", "queue", "list"});
  EXPECT_NE(result.code, 0);
  EXPECT_THAT(result.err, HasSubstr("loopback"));
}

TEST(RunTest, CompletionPrintsTheScriptOfTheShell) {
  EXPECT_THAT(Ctl({"completion", "bash"}).out, HasSubstr("\ncomplete -F _posthousectl posthousectl\n"));
  EXPECT_THAT(Ctl({"completion", "zsh"}).out, StartsWith("#compdef posthousectl\n"));
  EXPECT_THAT(Ctl({"completion", "fish"}).out, HasSubstr("\ncomplete -c posthousectl "));
}

absl::StatusOr<Secret> Read(const std::vector<std::string>& flags, const std::string& input) {
  std::istringstream in(input);
  std::ostringstream prompt;
  cli::Arguments arguments;
  for (const std::string& flag : flags) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(flag, absl::MaxSplits('=', 1));
    arguments.AddFlag(parts.first, parts.second);
  }
  return ReadSecret(arguments, in, prompt);
}

TEST(SecretTest, ComesFromAFileOrStandardInput) {
  EXPECT_EQ(Read({"password-file=-"}, "pass word \r\nmore\n")->text, "pass word ");
  EXPECT_FALSE(Read({"password-file=-"}, "\n").ok());
  EXPECT_FALSE(Read({"password-file=/nonexistent"}, "").ok());
  EXPECT_EQ(Read({"no-password"}, "")->kind, Secret::Kind::kNone);
  EXPECT_FALSE(Read({"no-password", "generate"}, "").ok());
  const std::string path = std::string(std::getenv("TEST_TMPDIR")) + "/hash";
  std::ofstream(path) << "$6$salt$hash\n";
  const auto hash = Read({"password-hash-file=" + path}, "");
  EXPECT_EQ(hash->kind, Secret::Kind::kHash);
  EXPECT_EQ(hash->text, "$6$salt$hash");
}

TEST(SecretTest, GeneratedPasswordsDiffer) {
  const auto a = Read({"generate"}, ""), b = Read({"generate"}, "");
  EXPECT_TRUE(a->generated);
  EXPECT_EQ(a->text.size(), 20u);
  EXPECT_NE(a->text, b->text);
}

}  // namespace
}  // namespace posthouse::ctl
