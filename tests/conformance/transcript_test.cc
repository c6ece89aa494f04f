// Plays the transcripts below imap/ and pop3/ against gateway and mailbox. README.md has their form.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "google/protobuf/text_format.h"
#include "services/common/status/status.h"
#include "services/gateway/testing/transcript.h"
#include "tests/conformance/mail_host.h"

namespace posthouse::conformance {
namespace {

using gateway::LineMatches;
using gateway::Transcript;

constexpr char kFolder[] = "tests/conformance";
constexpr char kMessage[] = "From: ann@a.example\r\nSubject: Hello\r\nTo: joe@a.example\r\n\r\nBody line\r\n";

struct Line {
  int number = 0;
  std::string text;
};
struct Section {
  std::string file;
  std::string title;
  bool pop3 = false;
  int line = 0;
  std::vector<Line> lines;
};

std::vector<Section> ReadSections(const std::string& path) {
  std::vector<Section> sections;
  std::ifstream in(path);
  std::string text;
  for (int number = 1; std::getline(in, text); ++number) {
    if (absl::StartsWith(text, "== ")) {
      sections.push_back({path, text.substr(3), absl::StrContains(path, "/pop3/"), number, {}});
    } else if (!text.empty() && text[0] != '#') {
      PH_CHECK(!sections.empty());  // a section comes first
      sections.back().lines.push_back({number, text});
    }
  }
  return sections;
}

// The host of all sections that need no settings of their own.
class SharedHost : public testing::Environment {
 public:
  static MailHost& Get() {
    if (host() == nullptr) host() = std::make_unique<MailHost>();
    return *host();
  }
  void TearDown() override { host().reset(); }

 private:
  static std::unique_ptr<MailHost>& host() {
    static auto* const host = new std::unique_ptr<MailHost>;
    return *host;
  }
};

class Player : public testing::Test {
 public:
  explicit Player(Section section) : section_(std::move(section)) {}

  void TestBody() override {
    for (const Line& line : section_.lines) {
      at_ = line.number;
      if (host_ == nullptr && !absl::StartsWith(line.text, "@gateway ")) {
        host_ = &SharedHost::Get();
        host_->NewAccount();
      }
      Step(line.text);
      if (HasFailure()) return;
    }
  }

 private:
  void Fail(absl::string_view why) { ADD_FAILURE_AT(section_.file.c_str(), at_) << why; }

  void Step(absl::string_view line) {
    const char kind = line[0];
    if (kind == '@') return Directive(line.substr(1));
    if (kind != 'C' && kind != 'S') return Fail("a line begins with C, S, @, == or #");
    line.remove_prefix(1);
    const int connection = TakeNumber(line);
    const char mark = line.empty() ? ' ' : line[0];
    line.remove_prefix(std::min<size_t>(line.size(), 2));
    if (mark != ':' && !(mark == '~' && kind == 'C')) return Fail("C and S are followed by \":\", C also by \"~\"");
    if (kind == 'S') return Expect(connection, line);
    std::string bytes = Filled(line);
    if (mark == ':') {
      bytes += "\r\n";
    } else if (std::string raw; absl::CUnescape(bytes, &raw)) {
      bytes = raw;
    } else {
      return Fail("not an escaped text");
    }
    Connection(connection).Send(bytes);
  }

  void Expect(int connection, absl::string_view pattern) {
    const std::string line = Connection(connection).Line();
    if (!LineMatches(pattern, line, &placeholders_)) Fail(absl::StrCat("expected: ", pattern, "\n     got: ", line));
    if (pattern == "<closed>") connections_.erase(connection);  // the next line opens another one
  }

  void Directive(absl::string_view line) {
    const int connection = TakeNumber(line);
    line = absl::StripLeadingAsciiWhitespace(line);
    const std::string verb(line.substr(0, line.find(' ')));
    line = absl::StripLeadingAsciiWhitespace(line.substr(verb.size()));
    if (verb == "gateway") return StartHost(std::string(line));
    if (verb == "login") return LogIn(connection);
    if (verb == "select" || verb == "examine") return Select(connection, absl::StrCat(verb, " ", line));
    if (verb == "deliver") return Deliver(line);
    if (verb == "close") return (void)connections_.erase(connection);
    Fail(absl::StrCat("unknown directive @", verb));
  }

  void StartHost(const std::string& text) {
    config::v1::Gateway gateway;
    if (!google::protobuf::TextFormat::ParseFromString(text, &gateway)) return Fail("not a text of config.v1.Gateway");
    own_host_ = std::make_unique<MailHost>(gateway, !absl::StrContains(text, "allow_plaintext_auth: false"));
    host_ = own_host_.get();
  }

  void LogIn(int connection) {
    if (section_.pop3) {
      Expect(connection, "+OK *");
      Connection(connection).Send("USER joe@a.example\r\nPASS secret\r\n");
      Expect(connection, "+OK *");
      Expect(connection, "+OK *");
    } else {
      Expect(connection, "* OK *");
      Connection(connection).Send("login LOGIN joe@a.example secret\r\n");
      Expect(connection, "login OK *");
    }
  }

  void Select(int connection, absl::string_view command) {
    if (connections_.count(connection) == 0) LogIn(connection);
    const std::vector<std::string> words = absl::StrSplit(command, ' ');
    if (words.size() > 1) host_->SeenByAnother(words[1]);
    Connection(connection).Send(absl::StrCat("select ", command, "\r\n"));
    const std::string line = Connection(connection).SkipTo("select ");
    if (!LineMatches("select OK *", line)) Fail(line);
  }

  // [count] FOLDER [(flags)] ["escaped message"]
  void Deliver(absl::string_view line) {
    const int count = TakeNumber(line);
    line = absl::StripLeadingAsciiWhitespace(line);
    const std::string folder(line.substr(0, line.find(' ')));
    line = absl::StripLeadingAsciiWhitespace(line.substr(folder.size()));
    uint32_t flags = 0;
    std::vector<std::string> keywords;
    if (absl::ConsumePrefix(&line, "(")) {
      const size_t end = line.find(')');
      if (end == absl::string_view::npos) return Fail("a list without end");
      for (const absl::string_view name : absl::StrSplit(line.substr(0, end), ' ', absl::SkipEmpty())) {
        static const auto* const kFlags =
            new std::map<absl::string_view, uint32_t>{{"\\Seen", mailbox::v1::FLAG_SEEN},
                                                      {"\\Answered", mailbox::v1::FLAG_ANSWERED},
                                                      {"\\Flagged", mailbox::v1::FLAG_FLAGGED},
                                                      {"\\Deleted", mailbox::v1::FLAG_DELETED},
                                                      {"\\Draft", mailbox::v1::FLAG_DRAFT}};
        const auto flag = kFlags->find(name);
        if (flag != kFlags->end()) {
          flags |= flag->second;
        } else {
          keywords.emplace_back(name);
        }
      }
      line = absl::StripLeadingAsciiWhitespace(line.substr(end + 1));
    }
    std::string message = kMessage;
    if (absl::ConsumePrefix(&line, "\"") && absl::ConsumeSuffix(&line, "\"")) {
      if (!absl::CUnescape(line, &message)) return Fail("not an escaped text");
    }
    for (int i = 0; i < count; ++i) host_->Deliver(folder, message, flags, keywords);
  }

  // The number that `line` begins with, taken from it; 1 when there is none.
  static int TakeNumber(absl::string_view& line) {
    size_t digits = 0;
    while (digits < line.size() && absl::ascii_isdigit(static_cast<unsigned char>(line[digits]))) ++digits;
    int number = 1;
    if (digits > 0) PH_CHECK(absl::SimpleAtoi(line.substr(0, digits), &number));
    line.remove_prefix(digits);
    return number;
  }

  Transcript& Connection(int number) {
    std::unique_ptr<Transcript>& connection = connections_[number];
    if (connection == nullptr) {
      gateway::App& app = host_->gateway();
      connection = std::make_unique<Transcript>(section_.pop3 ? app.pop3_port() : app.imap_port());
    }
    return *connection;
  }

  std::string Filled(absl::string_view text) const {
    std::vector<std::pair<std::string, std::string>> known;
    for (const auto& [name, value] : placeholders_) known.emplace_back(absl::StrCat("{", name, "}"), value);
    return absl::StrReplaceAll(text, known);
  }

  const Section section_;
  int at_ = 0;
  std::unique_ptr<MailHost> own_host_;
  MailHost* host_ = nullptr;
  std::map<int, std::unique_ptr<Transcript>> connections_;
  gateway::Placeholders placeholders_;
};

// "A body sets \Seen once, and says so" -> "ABodySetsSeenOnceAndSaysSo"
std::string TestName(absl::string_view title) {
  std::string name;
  bool start = true;
  for (const char c : title) {
    const auto byte = static_cast<unsigned char>(c);
    if (absl::ascii_isalnum(byte)) name += start ? absl::ascii_toupper(byte) : c;
    start = !absl::ascii_isalnum(byte);
  }
  return name;
}

bool RegisterAll() {
  testing::AddGlobalTestEnvironment(new SharedHost);
  for (const char* protocol : {"imap", "pop3"}) {
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(absl::StrCat(kFolder, "/", protocol))) {
      if (entry.path().extension() == ".txt") files.push_back(entry.path().string());
    }
    std::sort(files.begin(), files.end());
    for (const std::string& file : files) {
      const std::string suite = absl::StrCat(protocol, "_", std::filesystem::path(file).stem().string());
      for (Section& section : ReadSections(file)) {
        const std::string name = TestName(section.title);
        const int line = section.line;
        testing::RegisterTest(suite.c_str(), name.c_str(), nullptr, nullptr, file.c_str(), line,
                              [section = std::move(section)]() -> Player* { return new Player(section); });
      }
    }
  }
  return true;
}

const bool kRegistered = RegisterAll();

}  // namespace
}  // namespace posthouse::conformance
