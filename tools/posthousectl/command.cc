#include "tools/posthousectl/command.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "services/common/version/version.h"
#include "tools/posthousectl/context.h"

namespace posthouse::ctl {
namespace {

const std::vector<Noun>& Nouns() {
  static const auto* const nouns = new std::vector<Noun>{
      TenantCommands(),
      DomainCommands(),
      AccountCommands(),
      AliasCommands(),
      PasswordCommands(),
      SessionsCommands(),
      QueueCommands(),
      BackupCommands(),
      CheckCommands(),
      SalvageCommands(),
      {"", "", {TraceCommand(), PingCommand(), CompletionCommand()}},
  };
  return *nouns;
}

cli::Program MakeProgram() {
  cli::Program program;
  program.name = "posthousectl";
  program.help = absl::StrCat("posthousectl ", kVersion, " administers a Posthouse mail system.");
  program.flags = TargetFlags();
  program.flags.push_back(cli::Count("timeout", "SECONDS", "time limit of each call (default 10)"));
  program.flags.push_back(cli::Switch("json", "print JSON, one object a line"));
  program.flags.push_back(cli::Switch("version", "print the version and exit; without a command"));
  program.environment_prefix = "POSTHOUSE_";
  program.footer =
      "[NAME] is an environment variable that has the same effect as the flag. When the command line has a HOST:PORT\n"
      "flag, posthousectl ignores all HOST:PORT variables.\n"
      "\n"
      "'posthousectl COMMAND --help' explains a command and shows examples.\n"
      "\n"
      "exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 no answer (a later call may succeed)\n";
  for (const Noun& noun : Nouns()) {
    cli::Group group{noun.name, noun.help, {}};
    for (const Command& command : noun.commands) group.commands.push_back(command.line);
    program.groups.push_back(std::move(group));
  }
  return program;
}

}  // namespace

const cli::Program& Program() {
  static const auto* const program = new cli::Program(MakeProgram());
  return *program;
}

absl::Status Execute(const cli::Command& command, Context& context) {
  for (const Noun& noun : Nouns()) {
    for (const Command& known : noun.commands) {
      if (known.line.name == command.name) return known.run(context);
    }
  }
  return absl::InternalError("no such command: " + command.name);
}

}  // namespace posthouse::ctl
