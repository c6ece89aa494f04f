// The commands of posthousectl. Each noun has a file cmd_<noun>.cc with its table and what its commands do.
// Threads: the main thread; a command runs once.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "services/common/cli/cli.h"

namespace posthouse::ctl {

class Context;

// One command: what is typed, and what runs.
struct Command {
  cli::Command line;  // what is typed, and its help
  absl::Status (*run)(Context& context);
};

// The commands that begin with one noun.
struct Noun {
  std::string name;
  std::string help;  // what it is
  std::vector<Command> commands;
};

// The tables of the cmd_<noun>.cc files.
Noun TenantCommands();
Noun DomainCommands();
Noun AccountCommands();
Noun AliasCommands();
Noun PasswordCommands();
Noun QueueCommands();
Noun SessionsCommands();
Noun BackupCommands();
Noun CheckCommands();
Noun SalvageCommands();
Command TraceCommand();
Command PingCommand();
Command CompletionCommand();

// All of the above, as the parser, the help and the completions know them.
const cli::Program& Program();

// Does what `command` of Program() is for. The status decides on the exit code (run.h).
absl::Status Execute(const cli::Command& command, Context& context);

}  // namespace posthouse::ctl
