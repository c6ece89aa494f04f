// Secret: a password from where it is not seen by others: a file, standard input, the
// terminal without echo, or made here. Never from the command line, which `ps` shows.
#pragma once

#include <iosfwd>
#include <string>

#include "absl/status/statusor.h"
#include "tools/posthousectl/arguments.h"

namespace posthouse::ctl {

struct Secret {
  enum class Kind { kNone, kPassword, kHash };
  Kind kind = Kind::kNone;
  std::string text;
  bool generated = false;  // to be shown once
};

// --password-file FILE, --password-hash-file FILE ("-" is `in`), --generate, --no-password.
const std::vector<Flag>& SecretFlags();

// What the flags say; with none of them the terminal is asked twice. kInvalidArgument:
// two at once, or none and no terminal. Of a file the first line counts.
absl::StatusOr<Secret> ReadSecret(const Arguments& arguments, std::istream& in, std::ostream& prompt);

// 20 characters of 58 that are not mistaken for each other: 117 bits (getrandom).
std::string MakePassword();

}  // namespace posthouse::ctl
