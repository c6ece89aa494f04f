#include "tools/posthousectl/run.h"

#include <algorithm>
#include <ostream>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/common/status/status.h"
#include "tools/posthousectl/arguments.h"
#include "tools/posthousectl/command.h"
#include "tools/posthousectl/context.h"
#include "tools/posthousectl/output.h"

namespace posthouse::ctl {
namespace {

constexpr int kDone = 0, kFailed = 1, kUsage = 2, kNoAnswer = 3;

// What the environment may add. A place on the command line is meant alone: one from the
// environment beside it would contradict it.
std::vector<Flag> FromEnvironment(const Arguments& arguments) {
  const auto is_place = [](const Flag& flag) { return flag.argument == "HOST:PORT"; };
  std::vector<Flag> flags = GlobalFlags();
  const bool placed =
      std::any_of(flags.begin(), flags.end(), [&](const Flag& f) { return is_place(f) && arguments.Has(f.name); });
  if (placed) flags.erase(std::remove_if(flags.begin(), flags.end(), is_place), flags.end());
  return flags;
}

int Complain(std::ostream& err, const absl::Status& status, const Command& command) {
  err << "posthousectl: " << Printable(status.message()) << "\n";
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      err << "usage: posthousectl " << command.name << " " << command.operands << "  (--help explains)\n";
      return kUsage;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return kNoAnswer;
    default:
      return kFailed;
  }
}

}  // namespace

int Run(const std::vector<std::string>& words,
        const std::function<std::optional<std::string>(const std::string&)>& getenv, std::istream& in,
        std::ostream& out, std::ostream& err) {
  size_t globals = 0;
  const absl::StatusOr<Arguments> leading = Arguments::ParseLeading(words, GlobalFlags(), &globals);
  if (!leading.ok()) {
    err << "posthousectl: " << Printable(leading.status().message()) << "; --help lists the global flags\n";
    return kUsage;
  }
  const std::vector<std::string> rest(words.begin() + static_cast<std::ptrdiff_t>(globals), words.end());
  if (rest.empty() || rest[0] == "help") {
    const bool asked = !rest.empty() || leading->Has("help");
    (asked ? out : err) << Help();
    return asked ? kDone : kUsage;
  }
  size_t used = 0;
  const Command* command = FindCommand(rest, &used);
  if (command == nullptr) {
    err << "posthousectl: there is no command \"" << Printable(rest[0])
        << (rest.size() > 1 ? " " + Printable(rest[1]) : "") << "\"; --help lists them\n";
    return kUsage;
  }
  // Global flags before the command, everything after it in any order.
  std::vector<std::string> all(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(globals));
  all.insert(all.end(), rest.begin() + static_cast<std::ptrdiff_t>(used), rest.end());
  // --domain and --queue mean the command's where it has a flag of that name.
  std::vector<Flag> flags = command->flags;
  flags.insert(flags.end(), GlobalFlags().begin(), GlobalFlags().end());
  absl::StatusOr<Arguments> arguments = Arguments::Parse(all, flags);
  if (!arguments.ok()) return Complain(err, arguments.status(), *command);
  if (arguments->Has("help")) {
    out << HelpFor(*command);
    return kDone;
  }
  arguments->FillFromEnvironment(FromEnvironment(*arguments), getenv);
  const absl::StatusOr<Targets> targets = Targets::From(*arguments);
  if (!targets.ok()) return Complain(err, targets.status(), *command);
  const absl::StatusOr<uint32_t> timeout = arguments->GetCount("timeout", 10);
  if (!timeout.ok()) return Complain(err, timeout.status(), *command);
  Context context(*targets, *arguments, absl::Seconds(*timeout), arguments->Has("json"), in, out, err);
  const absl::Status status = command->run(context);
  out.flush();
  return status.ok() ? kDone : Complain(err, status, *command);
}

}  // namespace posthouse::ctl
