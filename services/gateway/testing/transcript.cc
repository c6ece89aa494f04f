#include "services/gateway/testing/transcript.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "absl/strings/ascii.h"
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

}  // namespace

bool LineMatches(absl::string_view pattern, absl::string_view line) {
  if (pattern.empty()) return line.empty();
  if (pattern.front() == '*') {
    for (size_t skip = 0; skip <= line.size(); ++skip) {
      if (LineMatches(pattern.substr(1), line.substr(skip))) return true;
    }
    return false;
  }
  if (pattern.front() == '\\' && pattern.size() > 1 && pattern[1] == '*') pattern.remove_prefix(1);
  return !line.empty() && line.front() == pattern.front() && LineMatches(pattern.substr(1), line.substr(1));
}

Transcript::Transcript(uint16_t port) : fd_(Connect(port)) {}
Transcript::~Transcript() { close(fd_); }

void Transcript::Send(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;  // the server closed; what it said is still to be read
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
    if (absl::StartsWith(line, "C: ") || line == "C:") {
      Send(absl::StrCat(line.substr(line.size() > 3 ? 3 : line.size()), "\r\n"));
    } else if (absl::StartsWith(line, "C~ ")) {
      Send(line.substr(3));
    } else if (absl::StartsWith(line, "S: ") || line == "S:") {
      const absl::string_view expected = line.substr(line.size() > 3 ? 3 : line.size());
      const std::string got = Line();
      ASSERT_TRUE(LineMatches(expected, got)) << "expected: " << expected << "\n     got: " << got;
    } else {
      ASSERT_TRUE(line.empty()) << "not a transcript line: " << line;
    }
  }
}

}  // namespace posthouse::gateway
