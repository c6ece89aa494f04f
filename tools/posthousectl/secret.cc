#include "tools/posthousectl/secret.h"

#include <sys/random.h>
#include <termios.h>
#include <unistd.h>

#include <fstream>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "services/common/status/status.h"
#include "tools/posthousectl/context.h"

namespace posthouse::ctl {
namespace {

constexpr absl::string_view kLetters = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
constexpr size_t kLength = 20;
constexpr size_t kMaxSecret = 4096;

absl::StatusOr<std::string> FirstLine(const std::string& path, std::istream& in) {
  std::ifstream file;
  if (path != "-") {
    file.open(path);
    if (!file) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  }
  std::string line;
  std::getline(path == "-" ? in : file, line);
  if (!line.empty() && line.back() == '\r') line.pop_back();
  if (line.empty()) return absl::InvalidArgumentError(absl::StrCat(path == "-" ? "standard input" : path, " is empty"));
  if (line.size() > kMaxSecret)
    return absl::InvalidArgumentError(
        absl::StrCat(path == "-" ? "standard input" : path, ": the first line is longer than 4096 octets"));
  return line;
}

// Turns the terminal's echo off while it lives.
class Terminal {
 public:
  Terminal() {
    tcgetattr(STDIN_FILENO, &before_);
    termios quiet = before_;
    quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
  }
  ~Terminal() { tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_); }
  std::string Ask(absl::string_view question, std::istream& in, std::ostream& prompt) {
    prompt << question << std::flush;
    std::string line;
    std::getline(in, line);
    prompt << "\n";
    return line;
  }

 private:
  termios before_{};
};

}  // namespace

std::vector<cli::Flag> SecretFlags() {
  return {
      cli::File("password-file", "file whose first line is the password; - is standard input"),
      cli::File("password-hash-file",
                "file whose first line is a password hash of another server: crypt(3), $argon2id$ or {SCHEME}"),
      cli::Switch("generate", "generate a password and print it once"),
      cli::Switch("no-password", "no password: nobody can log in"),
  };
}

absl::StatusOr<Secret> ReadSecret(const cli::Arguments& arguments, std::istream& in, std::ostream& prompt) {
  int given = 0;
  for (const cli::Flag& flag : SecretFlags()) given += arguments.Has(flag.name) ? 1 : 0;
  if (given > 1) {
    return absl::InvalidArgumentError(
        "use only one of --password-file, --password-hash-file, --generate and --no-password");
  }
  Secret secret;
  if (arguments.Has("no-password")) return secret;
  secret.kind = Secret::Kind::kPassword;
  if (arguments.Has("generate")) {
    secret.text = MakePassword();
    secret.generated = true;
  } else if (arguments.Has("password-file")) {
    PH_ASSIGN_OR_RETURN(secret.text, FirstLine(*arguments.Get("password-file"), in));
  } else if (arguments.Has("password-hash-file")) {
    secret.kind = Secret::Kind::kHash;
    PH_ASSIGN_OR_RETURN(secret.text, FirstLine(*arguments.Get("password-hash-file"), in));
  } else if (isatty(STDIN_FILENO) == 1) {
    Terminal terminal;
    secret.text = terminal.Ask("Password: ", in, prompt);
    if (secret.text.empty()) return absl::InvalidArgumentError("the password is empty");
    if (terminal.Ask("Again: ", in, prompt) != secret.text)
      return absl::InvalidArgumentError("the two passwords differ");
  } else {
    return absl::InvalidArgumentError("no password: use --password-file FILE, --generate or a terminal");
  }
  return secret;
}

void ShowGenerated(const Context& context, const Secret& secret) {
  if (!secret.generated) return;
  if (context.json) {
    context.out << "{\"password\":\"" << secret.text << "\"}\n";
  } else {
    context.out << "password: " << secret.text << "  (not shown again)\n";
  }
}

std::string MakePassword() {
  std::string password;
  unsigned char random[64];
  while (password.size() < kLength) {
    if (getrandom(random, sizeof(random), 0) != static_cast<ssize_t>(sizeof(random)))
      CheckFailed(__FILE__, __LINE__, "getrandom");
    for (const unsigned char byte : random) {
      // Bytes above the largest multiple of the number of letters would make some letters likelier.
      if (byte < 256 / kLetters.size() * kLetters.size() && password.size() < kLength) {
        password.push_back(kLetters[byte % kLetters.size()]);
      }
    }
  }
  return password;
}

}  // namespace posthouse::ctl
