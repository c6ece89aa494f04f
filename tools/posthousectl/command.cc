#include "tools/posthousectl/command.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tools/posthousectl/context.h"

namespace posthouse::ctl {
namespace {

void AppendFlags(const std::vector<Flag>& flags, std::string* out) {
  for (const Flag& flag : flags) {
    std::string left = absl::StrCat("  --", flag.name, flag.argument.empty() ? "" : " ", flag.argument);
    left.resize(std::max<size_t>(left.size() + 1, 28), ' ');
    absl::StrAppend(out, left, flag.help, "\n");
  }
}

}  // namespace

const std::vector<Command>& Commands() {
  static const auto* const all = [] {
    auto* commands = new std::vector<Command>();
    for (const auto& part : {DirectoryCommands(), QueueCommands(), TraceCommands(), PingCommands()}) {
      commands->insert(commands->end(), part.begin(), part.end());
    }
    return commands;
  }();
  return *all;
}

const Command* FindCommand(const std::vector<std::string>& words, size_t* used) {
  for (const size_t count : {2, 1}) {
    if (words.size() < count) continue;
    const std::string name = absl::StrJoin(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(count), " ");
    for (const Command& command : Commands()) {
      if (command.name != name) continue;
      *used = count;
      return &command;
    }
  }
  return nullptr;
}

std::string Help() {
  std::string out = "posthousectl administers Posthouse.\n\n  posthousectl [global flags] <command> ...\n\n";
  for (const Command& command : Commands()) {
    std::string left = absl::StrCat("  ", command.name, command.operands.empty() ? "" : " ", command.operands);
    left.resize(std::max<size_t>(left.size() + 1, 36), ' ');
    absl::StrAppend(&out, left, command.help, "\n");
  }
  out.append("\nGlobal flags (each also from the environment: --queue from POSTHOUSE_QUEUE):\n");
  AppendFlags(GlobalFlags(), &out);
  out.append(
      "\nposthousectl <command> --help has the flags of a command.\n"
      "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 no answer (try again).\n");
  return out;
}

std::string HelpFor(const Command& command) {
  std::string out = absl::StrCat("posthousectl ", command.name, command.operands.empty() ? "" : " ", command.operands,
                                 "\n", command.help, "\n");
  if (!command.flags.empty()) out.append("\n");
  AppendFlags(command.flags, &out);
  return out;
}

}  // namespace posthouse::ctl
