// Command: one thing posthousectl does. The table is the manual that --help prints.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "tools/posthousectl/arguments.h"

namespace posthouse::ctl {

class Context;

struct Command {
  std::string name;      // "account add"
  std::string operands;  // "ADDRESS [TARGET...]"
  std::string help;      // one sentence
  std::vector<Flag> flags;
  absl::Status (*run)(Context& context);
};

// All of them, in the order of the help.
const std::vector<Command>& Commands();

// The command that `words` begin with, or null. `*used` is how many words name it.
const Command* FindCommand(const std::vector<std::string>& words, size_t* used);

// Help for everything, or for one command.
std::string Help();
std::string HelpFor(const Command& command);

// Tables of the parts, in cmd_*.cc.
std::vector<Command> DirectoryCommands();
std::vector<Command> QueueCommands();
std::vector<Command> TraceCommands();
std::vector<Command> PingCommands();

}  // namespace posthouse::ctl
