// Secret: a password from a place that other users cannot see: a file, standard input, the terminal without echo,
// or generated. Never from the command line, which `ps` shows.
// Threads: the main thread; ReadSecret() waits for the terminal.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/common/cli/cli.h"

namespace posthouse::ctl {

class Context;

struct Secret {
  enum class Kind { kNone, kPassword, kHash };
  Kind kind = Kind::kNone;
  std::string text;
  bool generated = false;
};

// --password-file FILE, --password-hash-file FILE ("-" is `in`), --generate, --no-password.
std::vector<cli::Flag> SecretFlags();

// Reads the secret that the flags name; the first line of a file is the secret. Without a flag it asks twice on the
// terminal. kInvalidArgument: two of the flags, or neither a flag nor a terminal; kNotFound: an unreadable file.
absl::StatusOr<Secret> ReadSecret(const cli::Arguments& arguments, std::istream& in, std::ostream& prompt);

// Prints a generated secret, once: it is stored nowhere else. Does nothing for others.
void ShowGenerated(const Context& context, const Secret& secret);

// 20 characters out of 58 that do not look alike: 117 bits (getrandom).
std::string MakePassword();

}  // namespace posthouse::ctl
