// completion: scripts that let a shell complete the commands of posthousectl.
#include <ostream>

#include "services/common/cli/completion.h"
#include "tools/posthousectl/command.h"
#include "tools/posthousectl/context.h"

namespace posthouse::ctl {
namespace {

absl::Status Print(Context& context) {
  context.out << cli::Completion(Program(), context.Operand());
  return absl::OkStatus();
}

}  // namespace

Command CompletionCommand() {
  return {{"completion",
           {{"SHELL", cli::Operand::Times::kOnce, cli::Shells()}},
           "Print a script that completes commands and flags in a shell",
           {},
           {"source <(posthousectl completion bash)", "posthousectl completion zsh > ~/.zfunc/_posthousectl",
            "posthousectl completion fish > ~/.config/fish/completions/posthousectl.fish"}},
          Print};
}

}  // namespace posthouse::ctl
