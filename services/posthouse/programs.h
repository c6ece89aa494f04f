// Programs: what one executable can be. The first word chooses, or the name under which the executable is called:
//
//   posthouse ingress --config FILE      posthouse-ingress --config FILE (a link to posthouse)
//   posthouse ctl ping                   posthousectl ping (likewise)
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

namespace posthouse::programs {

struct Program {
  std::string word;  // "ingress"
  std::string name;  // of a link to the executable: "posthouse-ingress"
  std::string help;  // one line
  // main() of the program. argv[0] is what was typed for it: "posthouse ingress".
  int (*run)(int argc, char** argv);
};

// Runs the program that the command line names, and returns its exit code. `--help`, no word at all, and `--version`
// print on `out`; `help WORD` asks the program for its help. 2, with a suggestion on `err`: the word is unknown.
int Run(int argc, char** argv, const std::vector<Program>& programs, std::ostream& out, std::ostream& err);

}  // namespace posthouse::programs
