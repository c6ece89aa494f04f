// Transcript: a client that plays what a transcript says and compares what comes back.
//
//   Transcript client(app->imap_port());
//   client.Play(R"(
//     S: * OK *
//     C: a LOGIN joe@a.example secret
//     S: a OK [CAPABILITY *] Logged in
//   )");
//
// tests/conformance/README.md explains the lines and their placeholders. Blocking; one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "absl/strings/string_view.h"

namespace posthouse::gateway {

// What the placeholders of a transcript stand for, by name.
using Placeholders = std::map<std::string, std::string>;

// True when `line` is what `pattern` says. In a pattern "*" stands for any text, except in a
// "* " at the beginning (an untagged response); "\*" is the character. "{name}" stands for a
// word: the first match sets it, later ones must be equal.
bool LineMatches(absl::string_view pattern, absl::string_view line, Placeholders* placeholders = nullptr);

class Transcript {
 public:
  explicit Transcript(uint16_t port);  // on 127.0.0.1
  ~Transcript();
  Transcript(const Transcript&) = delete;

  void Send(absl::string_view bytes);
  // The next line without CRLF; "<closed>" at the end of the connection, "<nothing>" when none
  // came for 20 seconds.
  std::string Line();
  // Drops lines until one begins with `prefix`; that line. "" and a failed test: none came.
  std::string SkipTo(absl::string_view prefix);
  // Exactly `count` bytes, or fewer at the end of the connection.
  std::string Bytes(size_t count);
  bool Closed() { return Bytes(1).empty(); }

  // Lines that begin with "C: ", "C~ " or "S: "; others must be empty. A difference fails the
  // test and ends the play.
  void Play(absl::string_view script);

 private:
  bool Fill();  // false: nothing more

  const int fd_;
  std::string buffer_;
};

}  // namespace posthouse::gateway
