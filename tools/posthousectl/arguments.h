// Arguments: the command line of posthousectl, taken apart.
//
//   posthousectl [global flags] <command> [operands and flags, in any order]
//
// Flags are `--name value` or `--name=value`, switches are `--name`; "--" ends them.
// A global flag may also come from the environment (`--ca` from POSTHOUSE_CA). No I/O.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace posthouse::ctl {

struct Flag {
  std::string name;      // without "--"
  std::string argument;  // what it takes, for the help; "" is a switch
  std::string help;
};

class Arguments {
 public:
  // Sorts `words` into flags and operands. kInvalidArgument names an unknown flag, one
  // without its value, or a switch with one.
  static absl::StatusOr<Arguments> Parse(const std::vector<std::string>& words, const std::vector<Flag>& flags);

  // The flags that stand before the first operand. `*used` is how many words they are.
  static absl::StatusOr<Arguments> ParseLeading(const std::vector<std::string>& words, const std::vector<Flag>& flags,
                                                size_t* used);

  // The last value given, or nullopt. A given switch has the value "".
  std::optional<std::string> Get(absl::string_view flag) const;
  std::string GetOr(absl::string_view flag, absl::string_view fallback) const;
  std::vector<std::string> GetAll(absl::string_view flag) const;
  bool Has(absl::string_view flag) const { return Get(flag).has_value(); }
  const std::vector<std::string>& operands() const { return operands_; }

  // kInvalidArgument unless there are `least` to `most` operands.
  absl::Status ExpectOperands(size_t least, size_t most) const;
  // A whole number of at least 1.
  absl::StatusOr<uint32_t> GetCount(absl::string_view flag, uint32_t fallback) const;

  // Takes what is missing from the environment: `--some-name` from POSTHOUSE_SOME_NAME.
  void FillFromEnvironment(const std::vector<Flag>& flags,
                           const std::function<std::optional<std::string>(const std::string&)>& getenv);

 private:
  // Takes the flag at words[*i] with its value, and moves *i behind them.
  absl::Status TakeFlag(const std::vector<std::string>& words, const std::vector<Flag>& flags, size_t* i);

  std::vector<std::pair<std::string, std::string>> flags_;
  std::vector<std::string> operands_;
};

}  // namespace posthouse::ctl
