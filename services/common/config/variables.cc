#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/common/config/config.h"

namespace posthouse::config {

absl::StatusOr<std::string> ReplaceVariables(absl::string_view text, const cli::Environment& environment) {
  std::string out;
  while (true) {
    const size_t start = text.find("${");
    absl::StrAppend(&out, text.substr(0, start));
    if (start == absl::string_view::npos) return out;
    const size_t end = text.find('}', start);
    const std::string name(
        text.substr(start + 2, end == absl::string_view::npos ? absl::string_view::npos : end - start - 2));
    // Not the whole environment: what a file means must not depend on what else a process is given.
    if (end == absl::string_view::npos || (name != "POD_NAME" && name != "POD_NAMESPACE")) {
      return absl::InvalidArgumentError(
          absl::StrCat("${", name, "}: only ${POD_NAME} and ${POD_NAMESPACE} are replaced"));
    }
    const std::optional<std::string> value = environment(name);
    if (!value.has_value() || value->empty()) {
      return absl::InvalidArgumentError(absl::StrCat("${", name, "}: the environment variable ", name, " is not set"));
    }
    out += *value;
    text.remove_prefix(end + 1);
  }
}

}  // namespace posthouse::config
