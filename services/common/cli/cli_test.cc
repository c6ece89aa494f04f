// Command lines: what is understood, what is refused and in which words.
#include "services/common/cli/cli.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "absl/strings/str_split.h"
#include "services/common/cli/completion.h"
#include "services/common/cli/suggest.h"

namespace posthouse::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using Outcome = Parsed::Outcome;

Program Sample() {
  Flag server{.name = "server", .argument = "HOST:PORT", .help = "one process", .kind = Flag::Kind::kAddress};
  server.excludes = {"queue"};
  Flag queue{.name = "queue", .argument = "HOST:PORT", .help = "a shard", .kind = Flag::Kind::kAddress};
  queue.repeated = true;
  return {
      .name = "ctl",
      .help = "Sample program.",
      .flags = {server, queue, Count("timeout", "SECONDS", "of a call"), File("ca", "the authority"),
                Switch("json", "print JSON")},
      .groups =
          {{"user",
            "somebody who logs in",
            {{"user add",
              {{"ADDRESS"}},
              "Add a user",
              {Text("note", "TEXT", "it's free text")},
              {"ctl user add alice@example.org"}},
             {"user set", {{"ADDRESS"}}, "Change a user", {Choice("status", "STATUS", "state", {"active", "frozen"})}},
             {"user list", {}, "List users"}}},
           {"",
            "",
            {{"find", {{"WORD", Operand::Times::kOptional}}, "Find"},
             {"join", {{"TO"}, {"FROM", Operand::Times::kOnceOrMore}}, "Join"},
             {"shell", {{"SHELL", Operand::Times::kOnce, {"bash", "fish"}}}, "Print a script"}}}},
      .environment_prefix = "CTL_"};
}

const Program& P() {
  static const auto* const program = new Program(Sample());
  return *program;
}

Parsed Read(const std::string& line, const std::map<std::string, std::string>& environment = {}) {
  std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
  for (std::string& word : words) {
    if (word == "''") word.clear();
  }
  return Parse(P(), words, [&](const std::string& name) -> std::optional<std::string> {
    const auto at = environment.find(name);
    return at == environment.end() ? std::nullopt : std::optional<std::string>(at->second);
  });
}

// "user add a@x --note=hi": the command, its operands, and its flags in the order of the table.
std::string Understood(const Parsed& parsed) {
  if (parsed.outcome != Outcome::kRun) return parsed.text;
  std::string out = parsed.command == nullptr ? "none" : parsed.command->name;
  for (const std::string& word : parsed.arguments.operands()) out += " " + word;
  for (const char* flag : {"server", "queue", "timeout", "ca", "json", "note", "status"}) {
    for (const std::string& value : parsed.arguments.GetAll(flag)) out += std::string(" --") + flag + "=" + value;
  }
  return out;
}

TEST(ParseTest, WordsBecomeACommandWithItsOperandsAndFlags) {
  const struct {
    const char *line, *understood;
  } kCases[] = {
      {"user add a@x", "user add a@x"},
      // Flags of the program and of the command, in any order, in both forms.
      {"--json user add --note hi a@x --server h:1", "user add a@x --server=h:1 --json= --note=hi"},
      {"user --json add a@x --note=a=b", "user add a@x --json= --note=a=b"},
      // The last value counts for some, every one for others.
      {"user add a@x --note 1 --note=2", "user add a@x --note=1 --note=2"},
      {"find --queue h:1 --queue=h:2", "find --queue=h:1 --queue=h:2"},
      // Values that look like something else.
      {"user add a@x --note --json", "user add a@x --note=--json"},
      {"user add a@x --note -", "user add a@x --note=-"},
      {"user add a@x --note=", "user add a@x --note="},
      {"user add a@x --note ''", "user add a@x --note="},
      {"find [a,b]", "find [a,b]"},
      // Words that are commands elsewhere are operands here.
      {"find user", "find user"},
      {"user add list", "user add list"},
      {"join a b c user", "join a b c user"},
      {"find", "find"},
      {"user set a@x --status FROZEN", "user set a@x --status=FROZEN"},
      // "--" ends the flags.
      {"user add -- -x@y", "user add -x@y"},
      {"join --json -- a --json", "join a --json --json="},
  };
  for (const auto& c : kCases) EXPECT_EQ(Understood(Read(c.line)), c.understood) << c.line;
  EXPECT_EQ(Read("user add a@x --note 1 --note=2").arguments.Get("note"), "2");
  EXPECT_EQ(Read("find --timeout 7").arguments.GetCount("timeout", 5), 7u);
  EXPECT_EQ(Read("find").arguments.GetCount("timeout", 5), 5u);
}

TEST(ParseTest, MistakesAreNamedWithWhatToDo) {
  const struct {
    const char *line, *message;
  } kCases[] = {
      {"usr add a@x", "unknown command 'usr'; did you mean 'user'?"},
      {"user ad a@x", "unknown command 'user ad'; did you mean 'user add'?"},
      {"nonsense here --what", "unknown command 'nonsense'; 'ctl --help' lists the commands"},
      {"user nonsense", "unknown command 'user nonsense'; 'ctl user --help' lists the commands"},
      {"user", "missing command: 'ctl user' takes one of add, set, list"},
      {"user add", "missing operand: ADDRESS\nusage: ctl user add ADDRESS [FLAGS]\n"},
      {"join a", "missing operand: FROM\nusage: ctl join TO FROM...\n"},
      {"user list a b", "unexpected operand: 'a'"},
      {"find a --jsn", "unknown flag --jsn; did you mean --json?"},
      {"user add --notes=x", "unknown flag --notes; did you mean --note?"},
      {"find --nonsense=3", "unknown flag --nonsense; 'ctl find --help' lists the flags"},
      {"user add -x@y", "unknown flag -x@y; write -- in front of operands that begin with -"},
      {"find --timeout", "--timeout needs a value: SECONDS"},
      {"user add a@x --note", "--note needs a value: TEXT"},
      {"find --json=1", "--json takes no value"},
      {"find --timeout 0", "--timeout: '0' is not a whole number from 1"},
      {"find --timeout -1", "--timeout: '-1' is not a whole number from 1"},
      {"find --timeout 1.5", "--timeout: '1.5' is not a whole number from 1"},
      {"find --timeout 99999999999", "--timeout: '99999999999' is not a whole number from 1"},
      {"user set a@x --status cold", "--status: 'cold' is not one of active, frozen"},
      {"shell csh", "SHELL: 'csh' is not one of bash, fish"},
      {"--server h:1 find --queue h:2", "--server excludes --queue: give only one of them"},
      {"find a\x1B[31m b", "unexpected operand: 'b'"},
      {"list\x1B[31m", "unknown command 'list\\033[31m'"},
  };
  for (const auto& c : kCases) {
    const Parsed parsed = Read(c.line);
    EXPECT_EQ(parsed.outcome, Outcome::kMistake) << c.line;
    EXPECT_THAT(parsed.text, testing::StartsWith(std::string("ctl: ") + c.message)) << c.line;
  }
}

TEST(ParseTest, NothingIsAnsweredWithTheHelpAsAMistake) {
  for (const char* line : {"", "--json"}) {
    EXPECT_EQ(Read(line).outcome, Outcome::kMistake);
    EXPECT_EQ(Read(line).text, Help(P()));
  }
}

TEST(ParseTest, HelpIsThereForTheProgramANounAndACommand) {
  for (const char* line : {"--help", "-h", "help", "--json --help"}) EXPECT_EQ(Read(line).text, Help(P())) << line;
  for (const char* line : {"user --help", "help user"}) {
    EXPECT_EQ(Read(line).text, HelpForNoun(P(), P().groups[0])) << line;
  }
  for (const char* line :
       {"user add --help", "user add a@x --note hi -h", "help user add", "user add --nonsense --help"}) {
    EXPECT_EQ(Read(line).outcome, Outcome::kHelp);
    EXPECT_EQ(Read(line).text, HelpFor(P(), *P().Find("user add"))) << line;
  }
}

TEST(ParseTest, TheEnvironmentFillsWhatIsNotOnTheCommandLine) {
  const std::map<std::string, std::string> environment = {
      {"CTL_TIMEOUT", "9"}, {"CTL_QUEUE", "h:1"}, {"CTL_JSON", "1"}, {"CTL_CA", ""}, {"CTL_NOTE", "no"}};
  EXPECT_EQ(Understood(Read("user add a@x", environment)), "user add a@x --queue=h:1 --timeout=9");
  EXPECT_EQ(Understood(Read("find --timeout 7", environment)), "find --queue=h:1 --timeout=7");
  // An address on the command line turns off those of the environment.
  EXPECT_EQ(Understood(Read("find --server h:2", environment)), "find --server=h:2 --timeout=9");
  EXPECT_EQ(Read("find", {{"CTL_TIMEOUT", "x"}}).text,
            "ctl: --timeout: 'x' is not a whole number from 1 (from the environment: CTL_TIMEOUT)\nusage: ctl find "
            "[WORD]\n");
  EXPECT_THAT(
      Read("find", {{"CTL_SERVER", "h:1"}, {"CTL_QUEUE", "h:2"}}).text,
      HasSubstr("--server excludes --queue: give only one of them (from the environment: CTL_SERVER, CTL_QUEUE)"));
}

TEST(ParseTest, AProgramWithoutCommandsTakesFlagsAlone) {
  const Program plain = {.name = "daemon", .help = "Runs.", .flags = {File("config", "configuration")}};
  const auto none = [](const std::string&) { return std::nullopt; };
  EXPECT_EQ(Parse(plain, {}, none).outcome, Outcome::kRun);
  EXPECT_EQ(Parse(plain, {"--config=x"}, none).arguments.Get("config"), "x");
  EXPECT_EQ(Parse(plain, {"--confg", "x"}, none).text, "daemon: unknown flag --confg; did you mean --config?\n");
  EXPECT_EQ(Parse(plain, {"start"}, none).text, "daemon: unexpected operand: 'start'\n");
  EXPECT_EQ(Parse(plain, {"--config"}, none).text, "daemon: --config needs a value: FILE\n");
}

TEST(HelpTest, CommandsStandUnderTheirNounAndFlagsHaveTheirVariable) {
  const std::string help = Help(P());
  EXPECT_THAT(help, HasSubstr("\nusage: ctl [FLAGS] COMMAND ...\n"));
  EXPECT_THAT(help, HasSubstr("\nuser: somebody who logs in\n  user add ADDRESS                    Add a user\n"));
  EXPECT_THAT(help, HasSubstr("\n  join TO FROM...                     Join\n"));
  EXPECT_THAT(help, HasSubstr("\n  shell bash|fish                     Print a script\n"));
  EXPECT_THAT(help, HasSubstr("--queue HOST:PORT           a shard; may be repeated [CTL_QUEUE]\n"));
  EXPECT_THAT(help, Not(HasSubstr("CTL_JSON")));
  const std::string own = HelpFor(P(), *P().Find("user set"));
  EXPECT_THAT(own, HasSubstr("--status STATUS             state: active, frozen\n"));
  EXPECT_THAT(HelpFor(P(), *P().Find("user add")), HasSubstr("\nexamples:\n  ctl user add alice@example.org\n"));
}

TEST(SuggestTest, OnlyWhatIsNearIsSuggested) {
  EXPECT_EQ(Nearest("acount", {"alias", "account"}), "account");
  EXPECT_EQ(Nearest("prot", {"port", "host"}), "port");
  EXPECT_EQ(Nearest("", {"port"}), "");
  EXPECT_EQ(Nearest("xy", {"port"}), "");
  EXPECT_EQ(Nearest("completely", {"port", "host"}), "");
}

// The scripts run in their shells in tools/posthousectl/completion_test.py; this shows their parts.
TEST(CompletionTest, EveryCommandFlagAndFixedValueIsInEachScript) {
  EXPECT_THAT(Shells(), ElementsAre("bash", "zsh", "fish"));
  const std::string bash = Completion(P(), "bash");
  EXPECT_THAT(bash, HasSubstr("\n      --ca|--note|--queue|--server|--status|--timeout) flag=$word ;;\n"));
  EXPECT_THAT(bash, HasSubstr(" in user/add|user/set|user/list|/user|/find|/join|/shell) at="));
  EXPECT_THAT(bash, HasSubstr("\n      *\" --ca\") _ctl_files \"$cur\"; return ;;\n"));
  EXPECT_THAT(bash, HasSubstr("\n      \"user set --status\") words=\"active frozen\" ;;\n"));
  EXPECT_THAT(bash, HasSubstr("\n    words=\"--server --queue --timeout --ca --json --help\"\n"));
  EXPECT_THAT(bash, HasSubstr("\n      \"user add\") words+=\" --note\" ;;\n"));
  EXPECT_THAT(bash, HasSubstr("\n      \"\") words=\"user find join shell\" ;;\n"));
  EXPECT_THAT(bash, HasSubstr("\n      \"shell\") words=\"bash fish\" ;;\n"));
  EXPECT_THAT(bash, HasSubstr("\ncomplete -F _ctl ctl\n"));
  const std::string zsh = Completion(P(), "zsh");
  EXPECT_THAT(zsh, testing::StartsWith("#compdef ctl\n"));
  EXPECT_THAT(zsh, HasSubstr("\n      (\"user add\") list+=('--note:it'\\''s free text') ;;\n"));
  EXPECT_THAT(zsh, HasSubstr("\n      (*\" --ca\") _files; return ;;\n"));
  const std::string fish = Completion(P(), "fish");
  EXPECT_THAT(fish, HasSubstr("\ncomplete -c ctl -n '__ctl_at \"user\"' -a add -d 'Add a user'\n"));
  EXPECT_THAT(fish, HasSubstr("\ncomplete -c ctl -l ca -r -F -d 'the authority'\n"));
  EXPECT_THAT(fish, HasSubstr(" -l status -x -a 'active frozen' -d 'state'\n"));
  for (const std::string& script : {bash, zsh, fish}) EXPECT_THAT(script, Not(HasSubstr("$NAME")));
}

}  // namespace
}  // namespace posthouse::cli
