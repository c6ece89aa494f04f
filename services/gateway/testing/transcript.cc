#include "services/gateway/testing/transcript.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <regex>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/common/status/status.h"

namespace posthouse::gateway {
namespace {

constexpr int kPatienceMillis = 20000;

int Connect(uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  PH_CHECK(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  return fd;
}

std::string Quoted(absl::string_view text) {
  std::string out;
  for (const char c : text) {
    if (absl::ascii_ispunct(static_cast<unsigned char>(c))) out += '\\';
    out += c;
  }
  return out;
}

// The name in "{name}" at the beginning of `pattern`; "" when there is none ("{5}" is a literal).
absl::string_view PlaceholderAt(absl::string_view pattern) {
  const size_t end = pattern.find('}');
  if (pattern.size() < 3 || end == absl::string_view::npos) return "";
  const absl::string_view name = pattern.substr(1, end - 1);
  return !name.empty() && absl::ascii_islower(static_cast<unsigned char>(name[0])) ? name : "";
}

}  // namespace

bool LineMatches(absl::string_view pattern, absl::string_view line, Placeholders* placeholders) {
  std::string regex;
  std::vector<std::string> names;  // of the groups
  if (absl::ConsumePrefix(&pattern, "* ")) regex = "\\* ";
  while (!pattern.empty()) {
    const absl::string_view name = pattern[0] == '{' ? PlaceholderAt(pattern) : "";
    if (absl::ConsumePrefix(&pattern, "\\*")) {
      regex += "\\*";
    } else if (absl::ConsumePrefix(&pattern, "*")) {
      regex += "[\\s\\S]*";
    } else if (!name.empty()) {
      const auto known = placeholders == nullptr ? Placeholders::iterator() : placeholders->find(std::string(name));
      if (placeholders != nullptr && known != placeholders->end()) {
        regex += Quoted(known->second);
      } else {
        names.emplace_back(name);
        regex += "([A-Za-z0-9:,_-]+)";
      }
      pattern.remove_prefix(name.size() + 2);
    } else {
      regex += Quoted(pattern.substr(0, 1));
      pattern.remove_prefix(1);
    }
  }
  std::smatch match;
  const std::string text(line);
  if (!std::regex_match(text, match, std::regex(regex))) return false;
  for (size_t i = 0; i < names.size() && placeholders != nullptr; ++i) (*placeholders)[names[i]] = match[i + 1];
  return true;
}

Transcript::Transcript(uint16_t port) : fd_(Connect(port)) {}
Transcript::~Transcript() { close(fd_); }

void Transcript::Send(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;  // the server closed; its last lines are still to be read
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

bool Transcript::Fill() {
  pollfd ready{fd_, POLLIN, 0};
  if (poll(&ready, 1, kPatienceMillis) != 1) return false;
  char bytes[16384];
  const ssize_t got = recv(fd_, bytes, sizeof bytes, 0);
  if (got <= 0) return false;
  buffer_.append(bytes, static_cast<size_t>(got));
  return true;
}

std::string Transcript::Line() {
  size_t end;
  while ((end = buffer_.find("\r\n")) == std::string::npos) {
    if (Fill()) continue;
    char byte;
    const bool closed = recv(fd_, &byte, 1, MSG_DONTWAIT | MSG_PEEK) <= 0 && errno != EAGAIN;
    return closed || recv(fd_, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0 ? "<closed>" : "<nothing>";
  }
  std::string line = buffer_.substr(0, end);
  buffer_.erase(0, end + 2);
  return line;
}

std::string Transcript::SkipTo(absl::string_view prefix) {
  while (true) {
    std::string line = Line();
    if (absl::StartsWith(line, prefix)) return line;
    if (line != "<closed>" && line != "<nothing>") continue;
    ADD_FAILURE() << line << " before a line that begins with \"" << prefix << "\"";
    return "";
  }
}

std::string Transcript::Bytes(size_t count) {
  while (buffer_.size() < count && Fill()) {
  }
  std::string bytes = buffer_.substr(0, count);
  buffer_.erase(0, bytes.size());
  return bytes;
}

void Transcript::Play(absl::string_view script) {
  for (absl::string_view line : absl::StrSplit(script, '\n')) {
    line = absl::StripLeadingAsciiWhitespace(line);
    const absl::string_view rest = line.substr(std::min<size_t>(line.size(), 3));
    if (absl::StartsWith(line, "C: ") || line == "C:") {
      Send(absl::StrCat(rest, "\r\n"));
    } else if (absl::StartsWith(line, "C~ ")) {
      std::string bytes;
      ASSERT_TRUE(absl::CUnescape(rest, &bytes)) << line;
      Send(bytes);
    } else if (absl::StartsWith(line, "S: ") || line == "S:") {
      const std::string got = Line();
      ASSERT_TRUE(LineMatches(rest, got)) << "expected: " << rest << "\n     got: " << got;
    } else {
      ASSERT_TRUE(line.empty()) << "not a transcript line: " << line;
    }
  }
}

}  // namespace posthouse::gateway
