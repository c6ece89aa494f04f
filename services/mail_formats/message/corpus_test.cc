// The corpora: every message parses into what Python's email package sees (a
// golden list for those in the repository), and no byte is lost between parts.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/mail_formats/message/parser.h"
#include "services/mail_formats/message/part_table.h"
#include "services/mail_formats/message/search.h"
#include "services/mail_formats/message/summary.h"

namespace posthouse::message {
namespace {

namespace fs = std::filesystem;

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
}

// As the store has it: CRLF.
std::string Crlf(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n' && (i == 0 || text[i - 1] != '\r')) out.push_back('\r');
    out.push_back(text[i]);
  }
  return out;
}

std::vector<fs::path> Files(const fs::path& root) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string Tree(const Message& m, size_t i) {
  const Part& p = m.parts[i];
  std::string out = absl::AsciiStrToLower(absl::StrCat(p.type.type, "/", p.type.subtype));
  if (p.children.empty()) return out;
  absl::string_view separator = "(";
  for (const uint32_t child : p.children) {
    absl::StrAppend(&out, separator, Tree(m, child));
    separator = " ";
  }
  return out + ")";
}

void CheckMessage(const std::string& bytes) {
  const Message m = Parse(bytes);
  EXPECT_FALSE(m.truncated);
  Parser parser;
  for (size_t i = 0; i < bytes.size(); i += 1000) parser.Feed(absl::string_view(bytes).substr(i, 1000));
  EXPECT_EQ(PartTable::Build(parser.Finish()).Serialize(), PartTable::Build(m).Serialize());
  EXPECT_FALSE(Summarise(m).body_structure.empty());
  // Each field's bytes are where it says.
  for (const Part& part : m.parts) {
    for (const Field& field : part.fields) {
      const std::string raw = bytes.substr(field.offset, field.bytes);
      EXPECT_NE(raw.find(field.value), std::string::npos);
      EXPECT_EQ(raw.compare(0, field.name.size(), field.name), 0);
    }
  }
}

TEST(CorpusTest, PythonEmail) {
  const fs::path root = "tests/corpora/python-email/data";
  std::map<std::string, std::string> golden;
  for (const absl::string_view line :
       absl::StrSplit(ReadFile("services/mail_formats/message/testdata/trees.txt"), '\n', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> entry = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    golden.insert(entry);
  }
  size_t seen = 0;
  for (const fs::path& file : Files(root)) {
    SCOPED_TRACE(file.string());
    const std::string bytes = Crlf(ReadFile(file));
    CheckMessage(bytes);
    EXPECT_EQ(Tree(Parse(bytes), 0), golden[file.filename().string()])
        << file.filename().string() << " " << Tree(Parse(bytes), 0);
    ++seen;
  }
  EXPECT_EQ(seen, 47u);
}

// 316 messages that may not be copied here (GPL-3+): read where they are present.
TEST(CorpusTest, Notmuch) {
  std::error_code error;
  // The tests run among links to the source tree; ../shared lies beside that.
  fs::path source = fs::canonical("services/mail_formats/message/testdata/trees.txt", error);
  for (int up = 0; up < 5; ++up) source = source.parent_path();
  const char* corpora = std::getenv("POSTHOUSE_CORPORA");
  const fs::path root = (corpora == nullptr ? source / "../shared/corpora" : fs::path(corpora)) / "notmuch" / "corpora";
  if (!fs::is_directory(root, error)) GTEST_SKIP() << "set POSTHOUSE_CORPORA to the folder that holds notmuch/";
  size_t seen = 0;
  for (const fs::path& file : Files(root)) {
    SCOPED_TRACE(file.string());
    CheckMessage(Crlf(ReadFile(file)));
    ++seen;
  }
  EXPECT_GE(seen, 300u);
}

}  // namespace
}  // namespace posthouse::message
