// Run: one call of posthousectl, from its words to its exit code.
#pragma once

#include <functional>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

namespace posthouse::ctl {

// 0 done, 1 refused or failed, 2 wrong usage, 3 no answer: trying again may help.
// `words` are without the program's name.
int Run(const std::vector<std::string>& words,
        const std::function<std::optional<std::string>(const std::string&)>& getenv, std::istream& in,
        std::ostream& out, std::ostream& err);

}  // namespace posthouse::ctl
