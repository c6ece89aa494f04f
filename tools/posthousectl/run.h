// Run: one call of posthousectl, from its words to its exit code.
// Threads: the main thread.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "services/common/cli/cli.h"

namespace posthouse::ctl {

// Returns 0 when it is done, 1 when it was refused or failed, 2 for wrong usage, 3 when a service did not answer and
// a later call may succeed. `words` are without the program's name.
int Run(const std::vector<std::string>& words, const cli::Environment& environment, std::istream& in, std::ostream& out,
        std::ostream& err);

}  // namespace posthouse::ctl
