#include "services/common/cli/cli.h"

#include <algorithm>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace posthouse::cli {
namespace {

// Starts with `left`, and puts `help` into a column of its own.
void AppendRow(absl::string_view left, size_t column, absl::string_view help, std::string* out) {
  std::string row = absl::StrCat("  ", left);
  row.resize(std::max(row.size() + 2, column), ' ');
  absl::StrAppend(out, row, help, "\n");
}

void AppendFlags(const Program& program, const std::vector<Flag>& flags, std::string* out) {
  for (const Flag& flag : flags) {
    std::string help = flag.help;
    if (!flag.choices.empty()) absl::StrAppend(&help, ": ", absl::StrJoin(flag.choices, ", "));
    if (flag.repeated) help.append("; may be repeated");
    const bool of_program = &flags == &program.flags;
    const std::string variable = of_program ? EnvironmentName(program, flag) : "";
    if (!variable.empty()) absl::StrAppend(&help, " [", variable, "]");
    AppendRow(absl::StrCat("--", flag.name, flag.argument.empty() ? "" : " ", flag.argument), 30, help, out);
  }
}

// "account add ADDRESS"
std::string Synopsis(const Command& command) {
  std::string out = command.name;
  for (const Operand& operand : command.operands) {
    const std::string name = operand.choices.empty() ? operand.name : absl::StrJoin(operand.choices, "|");
    if (!out.empty()) out.push_back(' ');
    switch (operand.times) {
      case Operand::Times::kOnce:
        out.append(name);
        break;
      case Operand::Times::kOptional:
        absl::StrAppend(&out, "[", name, "]");
        break;
      case Operand::Times::kOnceOrMore:
        absl::StrAppend(&out, name, "...");
        break;
    }
  }
  return out;
}

void AppendCommands(const Group& group, std::string* out) {
  for (const Command& command : group.commands) AppendRow(Synopsis(command), 38, command.help, out);
}

}  // namespace

Flag Switch(std::string name, std::string help) {
  return {.name = std::move(name), .argument = {}, .help = std::move(help), .kind = Flag::Kind::kSwitch};
}

Flag Text(std::string name, std::string argument, std::string help) {
  return {.name = std::move(name), .argument = std::move(argument), .help = std::move(help)};
}

Flag Count(std::string name, std::string argument, std::string help) {
  return {
      .name = std::move(name), .argument = std::move(argument), .help = std::move(help), .kind = Flag::Kind::kCount};
}

Flag Choice(std::string name, std::string argument, std::string help, std::vector<std::string> choices) {
  return {.name = std::move(name),
          .argument = std::move(argument),
          .help = std::move(help),
          .kind = Flag::Kind::kChoice,
          .choices = std::move(choices)};
}

Flag File(std::string name, std::string help) {
  return {.name = std::move(name), .argument = "FILE", .help = std::move(help), .kind = Flag::Kind::kFile};
}

const Command* Program::Find(absl::string_view wanted) const {
  for (const Group& group : groups) {
    for (const Command& command : group.commands) {
      if (command.name == wanted) return &command;
    }
  }
  return nullptr;
}

std::optional<std::string> Arguments::Get(absl::string_view flag) const {
  for (auto it = flags_.rbegin(); it != flags_.rend(); ++it) {
    if (it->first == flag) return it->second;
  }
  return std::nullopt;
}

std::string Arguments::GetOr(absl::string_view flag, absl::string_view fallback) const {
  return Get(flag).value_or(std::string(fallback));
}

std::vector<std::string> Arguments::GetAll(absl::string_view flag) const {
  std::vector<std::string> values;
  for (const auto& [name, value] : flags_) {
    if (name == flag) values.push_back(value);
  }
  return values;
}

uint32_t Arguments::GetCount(absl::string_view flag, uint32_t fallback) const {
  uint32_t count = fallback;
  if (const auto text = Get(flag); text.has_value() && !absl::SimpleAtoi(*text, &count)) return fallback;
  return count;
}

std::optional<std::string> ProcessEnvironment(const std::string& name) {
  const char* const value = std::getenv(name.c_str());
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

std::string EnvironmentName(const Program& program, const Flag& flag) {
  if (program.environment_prefix.empty() || flag.kind == Flag::Kind::kSwitch) return {};
  return absl::StrCat(program.environment_prefix, absl::AsciiStrToUpper(absl::StrReplaceAll(flag.name, {{"-", "_"}})));
}

std::string Usage(const Program& program, const Command* command) {
  if (command != nullptr) {
    return absl::StrCat(program.name, " ", Synopsis(*command), command->flags.empty() ? "" : " [FLAGS]");
  }
  return absl::StrCat(program.name, " [FLAGS]", program.groups.empty() ? "" : " COMMAND ...");
}

std::string Help(const Program& program) {
  std::string out = absl::StrCat(program.help, "\n\nusage: ", Usage(program, nullptr), "\n");
  for (const Group& group : program.groups) {
    out.push_back('\n');
    if (!group.noun.empty()) absl::StrAppend(&out, group.noun, ": ", group.help, "\n");
    AppendCommands(group, &out);
  }
  out.append(program.groups.empty() ? "\n" : "\nflags, before or after the command:\n");
  AppendFlags(program, program.flags, &out);
  AppendRow("--help", 30, program.groups.empty() ? "print this text" : "print this text, or the help of a command",
            &out);
  if (!program.footer.empty()) absl::StrAppend(&out, "\n", program.footer);
  return out;
}

std::string HelpForNoun(const Program& program, const Group& group) {
  std::string out = absl::StrCat(program.name, " ", group.noun, ": ", group.help, "\n\n");
  AppendCommands(group, &out);
  absl::StrAppend(&out, "\n'", program.name, " ", group.noun, " COMMAND --help' explains a command.\n");
  return out;
}

std::string HelpFor(const Program& program, const Command& command) {
  std::string out = absl::StrCat(command.help, ".\n\nusage: ", Usage(program, &command), "\n");
  if (!command.flags.empty()) out.append("\nflags:\n");
  AppendFlags(program, command.flags, &out);
  if (!command.examples.empty()) out.append("\nexamples:\n");
  for (const std::string& example : command.examples) absl::StrAppend(&out, "  ", example, "\n");
  if (!program.flags.empty()) {
    absl::StrAppend(&out, "\n'", program.name, " --help' explains the flags that all commands take:\n  ");
    absl::StrAppend(
        &out, absl::StrJoin(program.flags, " ", [](std::string* o, const Flag& f) { o->append("--" + f.name); }), "\n");
  }
  return out;
}

}  // namespace posthouse::cli
