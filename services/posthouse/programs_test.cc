#include "services/posthouse/programs.h"

#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "services/common/version/version.h"

namespace posthouse::programs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string>& Got() {
  static auto* const got = new std::vector<std::string>;
  return *got;
}

int Record(int argc, char** argv) {
  EXPECT_EQ(argv[argc], nullptr);
  Got().assign(argv, argv + argc);
  return 7;
}

struct Result {
  int code = 0;
  std::string out, err;
  std::vector<std::string> got;
};

Result Call(std::vector<std::string> words) {
  Got().clear();
  const std::vector<Program> programs = {{"ingress", "posthouse-ingress", "receives mail", Record},
                                         {"ctl", "posthousectl", "administers", Record}};
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  std::ostringstream out, err;
  const int code = Run(static_cast<int>(argv.size()), argv.data(), programs, out, err);
  return {code, out.str(), err.str(), Got()};
}

TEST(ProgramsTest, TheFirstWordChoosesTheProgramWhichGetsTheRest) {
  const Result result = Call({"/usr/bin/posthouse", "ingress", "--config=a", "help"});
  EXPECT_EQ(result.code, 7);
  EXPECT_THAT(result.got, ElementsAre("posthouse ingress", "--config=a", "help"));
}

TEST(ProgramsTest, ALinkToTheExecutableIsTheProgramOfItsName) {
  EXPECT_THAT(Call({"/usr/bin/posthousectl", "ingress"}).got, ElementsAre("posthousectl", "ingress"));
  EXPECT_THAT(Call({"posthouse-ingress"}).got, ElementsAre("posthouse-ingress"));
}

TEST(ProgramsTest, HelpListsThePrograms) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"posthouse"}, {"posthouse", "--help"}, {"posthouse", "-h"}, {"posthouse", "help"}}) {
    const Result result = Call(words);
    EXPECT_EQ(result.code, 0);
    EXPECT_THAT(result.out, HasSubstr("  ingress  receives mail\n  ctl      administers\n"));
    EXPECT_THAT(result.got, IsEmpty());
  }
  EXPECT_EQ(Call({}).code, 0);  // argc may be 0
}

TEST(ProgramsTest, HelpOfAProgramComesFromTheProgram) {
  EXPECT_THAT(Call({"posthouse", "help", "ctl", "ping"}).got, ElementsAre("posthouse ctl", "ping", "--help"));
}

TEST(ProgramsTest, TheVersionIsPrinted) {
  EXPECT_EQ(Call({"posthouse", "--version"}).out, absl::StrCat("posthouse ", kVersion, "\n"));
}

TEST(ProgramsTest, AnUnknownWordGetsASuggestion) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"posthouse", "ingres"}, {"posthouse", "help", "ingres"}}) {
    const Result result = Call(words);
    EXPECT_EQ(result.code, 2);
    EXPECT_EQ(result.err,
              "posthouse: unknown program \"ingres\"; did you mean ingress?\nposthouse --help lists the programs\n");
  }
  EXPECT_EQ(Call({"posthouse", "zzzzzzzz\x1b"}).err,
            "posthouse: unknown program \"zzzzzzzz\\033\"\nposthouse --help lists the programs\n");
}

}  // namespace
}  // namespace posthouse::programs
