// Shell completions, made from a Program. Each is a script that a shell sources; it knows the commands, the flags
// and the values of flags and operands that have fixed ones, and offers files where a flag takes a file. The script
// runs nothing: it neither starts the program nor asks a server.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/common/cli/cli.h"

namespace posthouse::cli {

// Shells that Completion() knows: bash, zsh, fish.
const std::vector<std::string>& Shells();

// The script for `shell`, which is one of Shells(). Requires that a flag of the same name takes a value in all
// commands or in none, since the scripts skip values without looking at the command.
std::string Completion(const Program& program, absl::string_view shell);

}  // namespace posthouse::cli
