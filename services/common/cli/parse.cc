// Parse() with CLI11. Its exceptions end in Tree::Read; no other source includes it, as it is 9,400 lines of header.
#include <CLI/CLI.hpp>

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/common/cli/cli.h"
#include "services/common/cli/suggest.h"

namespace posthouse::cli {
namespace {

std::string Quoted(absl::string_view word) { return absl::StrCat("'", absl::Utf8SafeCEscape(word), "'"); }

std::string CheckCount(const std::string& text) {
  uint32_t count = 0;
  return absl::SimpleAtoi(text, &count) && count > 0 ? "" : Quoted(text) + " is not a whole number from 1";
}

void Restrict(CLI::Option* option, const std::vector<std::string>& choices) {
  if (choices.empty()) return;
  option->check([&choices](const std::string& text) {
    const bool known = std::any_of(choices.begin(), choices.end(),
                                   [&](const std::string& choice) { return absl::EqualsIgnoreCase(choice, text); });
    return known ? "" : absl::StrCat(Quoted(text), " is not one of ", absl::StrJoin(choices, ", "));
  });
}

CLI::Option* AddFlag(const Flag& flag, CLI::App& app) {
  const std::string name = "--" + flag.name;
  if (flag.kind == Flag::Kind::kSwitch) return app.add_flag(name)->disable_flag_override();
  CLI::Option* const option = app.add_option(name);
  if (flag.repeated) {
    option->take_all();
  } else {
    option->take_last();
  }
  if (flag.kind == Flag::Kind::kCount) option->check(CheckCount);
  Restrict(option, flag.choices);
  return option;
}

CLI::Option* AddOperand(const Operand& operand, CLI::App& app) {
  CLI::Option* const option = app.add_option(operand.name)->required(operand.times != Operand::Times::kOptional);
  if (operand.times == Operand::Times::kOnceOrMore) option->take_all()->allow_extra_args();
  Restrict(option, operand.choices);
  return option;
}

using FlagOptions = std::vector<std::pair<const Flag*, CLI::Option*>>;

FlagOptions AddFlags(const std::vector<Flag>& flags, CLI::App& app) {
  FlagOptions options;
  for (const Flag& flag : flags) options.emplace_back(&flag, AddFlag(flag, app));
  return options;
}

void Take(const FlagOptions& options, Arguments* arguments) {
  for (const auto& [flag, option] : options) {
    for (const std::string& value : option->results()) {
      arguments->AddFlag(flag->name, flag->kind == Flag::Kind::kSwitch ? "" : value);
    }
  }
}

// A Program as CLI11 knows it. Reads one command line.
class Tree {
 public:
  explicit Tree(const Program& program) : program_(program) {
    root_.fallthrough();  // the program's flags may also stand behind the command
    flags_ = AddFlags(program.flags, root_);
    for (const auto& [flag, option] : flags_) {
      for (const auto& [other, other_option] : flags_) {
        const auto& excluded = flag->excludes;
        if (std::count(excluded.begin(), excluded.end(), other->name) != 0) option->excludes(other_option);
      }
    }
    if (!program.groups.empty()) root_.require_subcommand(1);
    for (const Group& group : program.groups) AddGroup(group);
  }

  // `note` is put behind the message of a mistake.
  Parsed Read(std::vector<std::string> words, const std::string& note) {
    std::reverse(words.begin(), words.end());  // as CLI11 takes them
    try {
      root_.parse(std::move(words));
    } catch (const CLI::CallForHelp&) {
      return {.outcome = Parsed::Outcome::kHelp, .text = HelpHere()};
    } catch (const CLI::Error& error) {
      return {.outcome = Parsed::Outcome::kMistake, .text = Explain(error, note)};
    }
    Parsed parsed;
    Take(flags_, &parsed.arguments);
    if (const Leaf* const leaf = SelectedLeaf()) {
      parsed.command = leaf->command;
      Take(leaf->flags, &parsed.arguments);
      for (const CLI::Option* operand : leaf->operands) {
        for (const std::string& word : operand->results()) parsed.arguments.AddOperand(word);
      }
    }
    return parsed;
  }

 private:
  struct Leaf {
    CLI::App* app;
    const Command* command;
    FlagOptions flags;
    std::vector<CLI::Option*> operands;
  };

  void AddGroup(const Group& group) {
    CLI::App* parent = &root_;
    if (!group.noun.empty()) parent = root_.add_subcommand(group.noun)->require_subcommand(1);
    for (const Command& command : group.commands) {
      const size_t verb = group.noun.empty() ? 0 : group.noun.size() + 1;
      CLI::App* const app = parent->add_subcommand(command.name.substr(verb));
      Leaf leaf{app, &command, AddFlags(command.flags, *app), {}};
      for (const Operand& operand : command.operands) leaf.operands.push_back(AddOperand(operand, *app));
      leaves_.push_back(std::move(leaf));
    }
  }

  // The innermost of the subcommands that the words name, or the root.
  const CLI::App* Selected() const {
    const CLI::App* app = &root_;
    while (!app->get_subcommands().empty()) app = app->get_subcommands().front();
    return app;
  }

  const Leaf* SelectedLeaf() const {
    const CLI::App* const app = Selected();
    const auto at = std::find_if(leaves_.begin(), leaves_.end(), [&](const Leaf& leaf) { return leaf.app == app; });
    return at == leaves_.end() ? nullptr : &*at;
  }

  const Group* SelectedNoun() const {
    const auto at = std::find_if(program_.groups.begin(), program_.groups.end(), [&](const Group& group) {
      return !group.noun.empty() && group.noun == Selected()->get_name();
    });
    return at == program_.groups.end() ? nullptr : &*at;
  }

  std::string HelpHere() const {
    if (const Leaf* const leaf = SelectedLeaf()) return HelpFor(program_, *leaf->command);
    if (const Group* const noun = SelectedNoun()) return HelpForNoun(program_, *noun);
    return Help(program_);
  }

  // The words after `posthousectl` in the help that applies here: "", " account", " account add".
  std::string Here() const {
    if (const Leaf* const leaf = SelectedLeaf()) return " " + leaf->command->name;
    const Group* const noun = SelectedNoun();
    return noun == nullptr ? "" : " " + noun->noun;
  }

  // The words that may follow: nouns and commands, or the verbs of a noun.
  std::vector<std::string> NextWords() const {
    std::vector<std::string> words;
    for (const CLI::App* app : Selected()->get_subcommands([](const CLI::App*) { return true; })) {
      words.push_back(app->get_name());
    }
    return words;
  }

  std::string Explain(const CLI::Error& error, const std::string& note) const {
    const Leaf* const leaf = SelectedLeaf();
    const std::string message = Message(error, leaf);
    if (message.empty()) return Help(program_);
    std::string out = absl::StrCat(program_.name, ": ", message, note, "\n");
    if (leaf != nullptr) absl::StrAppend(&out, "usage: ", Usage(program_, leaf->command), "\n");
    return out;
  }

  // "" when there is no command at all.
  std::string Message(const CLI::Error& error, const Leaf* leaf) const {
    // CLI11 looks for what is missing before it looks at what is too much, which says more.
    const bool required = dynamic_cast<const CLI::RequiredError*>(&error) != nullptr;
    if (required || dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
      for (const std::string& word : root_.remaining(/*recurse=*/true)) {
        if (word != "--") return Unexpected(word, leaf);
      }
    }
    if (required && leaf == nullptr) {
      if (SelectedNoun() == nullptr) return "";
      return absl::StrCat("missing command: '", program_.name, Here(), "' takes one of ",
                          absl::StrJoin(NextWords(), ", "));
    }
    const std::string what = error.what();
    if (required) return absl::StrCat("missing operand: ", what.substr(0, what.find(' ')));
    if (dynamic_cast<const CLI::ExcludesError*>(&error) != nullptr) return what + ": give only one of them";
    if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) == nullptr) return what;
    // "--queue: 1 required ..." when its value is missing; "json was given ..." when it has one and is a switch.
    const std::string name = what.substr(0, what.find_first_of(": "));
    if (!absl::StartsWith(name, "--")) return absl::StrCat("--", name, " takes no value");
    for (const FlagOptions* options : {&flags_, leaf == nullptr ? &flags_ : &leaf->flags}) {
      for (const auto& [flag, option] : *options) {
        if ("--" + flag->name == name) return absl::StrCat(name, " needs a value: ", flag->argument);
      }
    }
    return what;
  }

  std::string Unexpected(const std::string& word, const Leaf* leaf) const {
    const bool flag = absl::StartsWith(word, "-");
    const bool command = !flag && leaf == nullptr && !leaves_.empty();
    if (!flag && !command) return absl::StrCat("unexpected operand: ", Quoted(word));
    std::string out, known;
    if (flag) {
      std::vector<std::string> names = {"--help"};
      for (const FlagOptions* options : {&flags_, leaf == nullptr ? &flags_ : &leaf->flags}) {
        for (const auto& [other, option] : *options) names.push_back("--" + other->name);
      }
      const std::string name = word.substr(0, word.find('='));
      out = absl::StrCat("unknown flag ", absl::Utf8SafeCEscape(name));
      known = Nearest(name, names);
      if (!absl::StartsWith(word, "--")) {
        return out + "; write -- in front of operands that begin with -";
      }
    } else {
      const std::string before = Here().empty() ? "" : Here().substr(1) + " ";
      out = absl::StrCat("unknown command ", Quoted(before + word));
      known = Nearest(word, NextWords());
      if (!known.empty()) known = absl::StrCat("'", before, known, "'");
    }
    if (!known.empty()) return absl::StrCat(out, "; did you mean ", known, "?");
    return absl::StrCat(out, "; '", program_.name, Here(), " --help' lists the ", flag ? "flags" : "commands");
  }

  const Program& program_;
  CLI::App root_;
  FlagOptions flags_;
  std::vector<Leaf> leaves_;
};

// CLI11 takes the word behind `--name=` as the value; here that is the empty value.
std::vector<std::string> SplitEmptyValues(const std::vector<std::string>& words) {
  std::vector<std::string> out;
  for (auto word = words.begin(); word != words.end(); ++word) {
    if (*word == "--") {
      out.insert(out.end(), word, words.end());
      break;
    }
    const bool empty_value = absl::StartsWith(*word, "--") && word->find('=') == word->size() - 1;
    out.push_back(empty_value ? word->substr(0, word->size() - 1) : *word);
    if (empty_value) out.emplace_back();
  }
  return out;
}

}  // namespace

Parsed Parse(const Program& program, const std::vector<std::string>& words, const Environment& environment) {
  std::vector<std::string> line = SplitEmptyValues(words);
  if (!line.empty() && line[0] == "help" && !program.groups.empty()) {
    line.erase(line.begin());
    line.emplace_back("--help");
  }
  Parsed parsed = Tree(program).Read(line, "");
  if (parsed.outcome != Parsed::Outcome::kRun) return parsed;
  const auto on_line = [&](const Flag& flag) { return parsed.arguments.Has(flag.name); };
  const bool placed = std::any_of(program.flags.begin(), program.flags.end(),
                                  [&](const Flag& flag) { return flag.kind == Flag::Kind::kAddress && on_line(flag); });
  std::vector<std::string> variables;
  for (const Flag& flag : program.flags) {
    const std::string variable = EnvironmentName(program, flag);
    if (variable.empty() || on_line(flag) || (placed && flag.kind == Flag::Kind::kAddress)) continue;
    const std::optional<std::string> value = environment(variable);
    if (!value.has_value() || value->empty()) continue;
    line.insert(line.begin(), absl::StrCat("--", flag.name, "=", *value));
    variables.push_back(variable);
  }
  if (variables.empty()) return parsed;
  // Once more, so that what the environment says passes the same checks.
  return Tree(program).Read(line, absl::StrCat(" (from the environment: ", absl::StrJoin(variables, ", "), ")"));
}

}  // namespace posthouse::cli
