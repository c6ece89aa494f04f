// A client for transcript tests, over a real loopback socket.
//
//   Transcript(port).Play(R"(
//     S: * OK *
//     C: a LOGIN joe@a.example secret
//     S: a OK [CAPABILITY *] Logged in
//   )");
//
// "C: " lines are sent with CRLF, "C~ " without it. "S: " lines must come in this
// order; "*" in them matches anything in the line, "\*" a star. Everything waits at
// most some seconds: a missing line fails the test at that line.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace posthouse::gateway {

class Transcript {
 public:
  explicit Transcript(uint16_t port);
  ~Transcript();
  Transcript(const Transcript&) = delete;

  void Play(absl::string_view script);
  void Send(absl::string_view bytes);
  // One line without CRLF; "<closed>" at the end of the connection, "<nothing>" when none comes.
  std::string Line();
  std::string Bytes(size_t count);
  // True when the server has closed and nothing is left to read.
  bool Closed() { return Line() == "<closed>"; }

 private:
  bool Fill();
  const int fd_;
  std::string buffer_;
};

// Glob match of one line.
bool LineMatches(absl::string_view pattern, absl::string_view line);

}  // namespace posthouse::gateway
