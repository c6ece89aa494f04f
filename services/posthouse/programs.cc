#include "services/posthouse/programs.h"

#include <algorithm>
#include <ostream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/common/cli/suggest.h"
#include "services/common/version/version.h"

namespace posthouse::programs {
namespace {

constexpr int kDone = 0, kUsage = 2;

std::string Help(const std::vector<Program>& programs) {
  size_t width = 0;
  for (const Program& program : programs) width = std::max(width, program.word.size());
  std::string text = absl::StrCat("posthouse ", kVersion,
                                  ", a mail system. The first word says which of its programs runs.\n\n"
                                  "usage: posthouse PROGRAM [FLAGS]\n\nprograms:\n");
  for (const Program& program : programs) {
    absl::StrAppend(&text, "  ", program.word, std::string(width - program.word.size() + 2, ' '), program.help, "\n");
  }
  absl::StrAppend(&text,
                  "\nposthouse help PROGRAM    print the help of a program\n"
                  "posthouse --version       print the version and exit\n");
  return text;
}

int Unknown(const std::string& word, const std::vector<Program>& programs, std::ostream& err) {
  std::vector<std::string> known = {"help"};
  for (const Program& program : programs) known.push_back(program.word);
  const std::string nearest = cli::Nearest(word, known);
  err << "posthouse: unknown program " << absl::StrCat("\"", absl::Utf8SafeCEscape(word), "\"");
  if (!nearest.empty()) err << "; did you mean " << nearest << "?";
  err << "\nposthouse --help lists the programs\n";
  return kUsage;
}

// With `name` for argv[0], and `rest`.
int Start(const Program& program, const std::string& name, std::vector<std::string> rest) {
  rest.insert(rest.begin(), name);
  std::vector<char*> argv;
  for (std::string& word : rest) argv.push_back(word.data());
  argv.push_back(nullptr);  // as main() has it
  return program.run(static_cast<int>(rest.size()), argv.data());
}

}  // namespace

int Run(int argc, char** argv, const std::vector<Program>& programs, std::ostream& out, std::ostream& err) {
  const std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  const absl::string_view called = argc > 0 ? argv[0] : "";
  const absl::string_view base = called.substr(called.rfind('/') + 1);  // npos + 1 is 0
  for (const Program& program : programs) {
    if (base == program.name) return Start(program, program.name, words);
  }
  if (words.empty() || words[0] == "--help" || words[0] == "-h" || (words[0] == "help" && words.size() == 1)) {
    out << Help(programs);
    return kDone;
  }
  if (words[0] == "--version") {
    out << "posthouse " << kVersion << "\n";
    return kDone;
  }
  const bool help = words[0] == "help";
  const std::string& word = help ? words[1] : words[0];
  for (const Program& program : programs) {
    if (word != program.word) continue;
    std::vector<std::string> rest(words.begin() + (help ? 2 : 1), words.end());
    if (help) rest.push_back("--help");
    return Start(program, absl::StrCat("posthouse ", word), std::move(rest));
  }
  return Unknown(word, programs, err);
}

}  // namespace posthouse::programs
