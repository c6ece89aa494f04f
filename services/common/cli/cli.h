// Command lines of Posthouse's programs. A Program is one table: its flags, and its commands with their flags,
// operands and examples. Parse() reads words by the table, Help() prints it, and completion.h turns it into
// shell completions, so that the three cannot disagree.
//
//   posthousectl [flags] account add ADDRESS [flags]
//
// Flags are `--name VALUE` or `--name=VALUE`, switches are `--name`; "--" ends them. The program's flags may stand
// before or after the command. The last value of a flag counts, unless the flag may be repeated.
// No I/O, no global state; any thread. Nothing here throws: parse.cc is the only user of CLI11.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace posthouse::cli {

struct Flag {
  enum class Kind {
    kSwitch,   // takes no value
    kText,     // takes any value
    kCount,    // takes a whole number from 1 to 4294967295
    kChoice,   // takes one of `choices`, in upper or lower case
    kFile,     // takes the path of a file
    kAddress,  // takes HOST:PORT of a service
  };
  std::string name;      // without "--"
  std::string argument;  // name of the value in the help: "HOST:PORT"; "" for a switch
  std::string help;      // noun phrase or imperative
  Kind kind = Kind::kText;
  std::vector<std::string> choices = {};
  bool repeated = false;
  std::vector<std::string> excludes = {};  // program's flags that may not be given with this one
};

// Makers of the four kinds of flags; `argument` is what help shows for the value ("SIZE").
Flag Switch(std::string name, std::string help);
Flag Text(std::string name, std::string argument, std::string help);
Flag Count(std::string name, std::string argument, std::string help);
Flag Choice(std::string name, std::string argument, std::string help, std::vector<std::string> choices);
Flag File(std::string name, std::string help);

// A word that is no flag: what a command works on.
struct Operand {
  enum class Times { kOnce, kOptional, kOnceOrMore };
  std::string name;  // "ADDRESS"
  Times times = Times::kOnce;
  std::vector<std::string> choices = {};  // "" allows any word
};

struct Command {
  std::string name;  // "ping", or noun and verb: "account add"
  std::vector<Operand> operands;
  std::string help;  // one sentence in the imperative, without a full stop
  std::vector<Flag> flags = {};
  std::vector<std::string> examples = {};  // whole command lines
};

// Commands that begin with the same noun. A group without a noun has commands of one word.
struct Group {
  std::string noun;
  std::string help;  // what the noun is
  std::vector<Command> commands;
};

struct Program {
  std::string name;
  std::string help;  // one sentence
  std::vector<Flag> flags;
  std::vector<Group> groups = {};  // none: the program takes flags alone
  // A flag of the program that is not on the command line is taken from the environment:
  // --some-flag from <prefix>SOME_FLAG, unless that is empty. "": never. One kAddress on the command line turns off
  // all kAddress of the environment: the two together would describe no installation.
  std::string environment_prefix = {};
  std::string footer = {};  // end of the help

  const Command* Find(absl::string_view name) const;  // null: no such command
};

// What the command line says.
class Arguments {
 public:
  // The last value of the flag, or nullopt. A switch that is on has the value "".
  std::optional<std::string> Get(absl::string_view flag) const;
  std::string GetOr(absl::string_view flag, absl::string_view fallback) const;
  std::vector<std::string> GetAll(absl::string_view flag) const;
  uint32_t GetCount(absl::string_view flag, uint32_t fallback) const;  // of a kCount flag
  bool Has(absl::string_view flag) const { return Get(flag).has_value(); }

  // As many as the command's table says.
  const std::vector<std::string>& operands() const { return operands_; }

  void AddFlag(std::string flag, std::string value) { flags_.emplace_back(std::move(flag), std::move(value)); }
  void AddOperand(std::string word) { operands_.push_back(std::move(word)); }

 private:
  std::vector<std::pair<std::string, std::string>> flags_;
  std::vector<std::string> operands_;
};

// What a command line means.
struct Parsed {
  enum class Outcome {
    kRun,      // `command` and `arguments` say what to do
    kHelp,     // help was asked for: print `text` on standard output, exit with 0
    kMistake,  // print `text` on standard error, exit with 2
  };
  Outcome outcome = Outcome::kRun;
  const Command* command = nullptr;  // part of the Program; null when it has no commands
  Arguments arguments;
  std::string text;
};

// The value of an environment variable, or nullopt.
using Environment = std::function<std::optional<std::string>(const std::string&)>;
std::optional<std::string> ProcessEnvironment(const std::string& name);  // getenv(3)

// Reads `words`, which are without the program's name. Every program also has --help, -h and, if it has commands,
// `help [COMMAND]`. A mistake names what is wrong, and the nearest known word for one that is not known.
Parsed Parse(const Program& program, const std::vector<std::string>& words, const Environment& environment);

// "posthousectl account add ADDRESS [FLAGS]"
std::string Usage(const Program& program, const Command* command);
// Help for the program; for one noun; for one command.
std::string Help(const Program& program);
std::string HelpForNoun(const Program& program, const Group& group);
std::string HelpFor(const Program& program, const Command& command);

// POSTHOUSE_SOME_FLAG, or "" when the environment is not asked.
std::string EnvironmentName(const Program& program, const Flag& flag);

}  // namespace posthouse::cli
