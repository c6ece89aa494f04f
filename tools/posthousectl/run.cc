#include "tools/posthousectl/run.h"

#include <ostream>

#include "absl/status/status.h"
#include "services/common/version/version.h"
#include "tools/posthousectl/command.h"
#include "tools/posthousectl/context.h"
#include "tools/posthousectl/output.h"

namespace posthouse::ctl {
namespace {

constexpr int kDone = 0, kFailed = 1, kUsage = 2, kNoAnswer = 3;

int Complain(std::ostream& err, const absl::Status& status, const cli::Command& command) {
  err << "posthousectl: " << Printable(status.message()) << "\n";
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      err << "usage: " << cli::Usage(Program(), &command) << "\n";
      return kUsage;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return kNoAnswer;
    default:
      return kFailed;
  }
}

}  // namespace

int Run(const std::vector<std::string>& words, const cli::Environment& environment, std::istream& in, std::ostream& out,
        std::ostream& err) {
  if (words.size() == 1 && words[0] == "--version") {
    out << "posthousectl " << kVersion << "\n";
    return kDone;
  }
  const cli::Parsed parsed = cli::Parse(Program(), words, environment);
  switch (parsed.outcome) {
    case cli::Parsed::Outcome::kHelp:
      out << parsed.text;
      return kDone;
    case cli::Parsed::Outcome::kMistake:
      err << parsed.text;
      return kUsage;
    case cli::Parsed::Outcome::kRun:
      break;
  }
  const Targets targets = Targets::From(parsed.arguments);
  Context context(targets, parsed.arguments, in, out, err);
  const absl::Status status = Execute(*parsed.command, context);
  out.flush();
  return status.ok() ? kDone : Complain(err, status, *parsed.command);
}

}  // namespace posthouse::ctl
