#include "tools/posthousectl/arguments.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/common/status/status.h"

namespace posthouse::ctl {

absl::Status Arguments::TakeFlag(const std::vector<std::string>& words, const std::vector<Flag>& flags, size_t* i) {
  const absl::string_view word = absl::StripPrefix(words[(*i)++], "--");
  const std::pair<std::string, std::string> parts = absl::StrSplit(word, absl::MaxSplits('=', 1));
  const bool has_value = word.find('=') != absl::string_view::npos;
  const auto flag = std::find_if(flags.begin(), flags.end(), [&](const Flag& f) { return f.name == parts.first; });
  if (flag == flags.end()) return absl::InvalidArgumentError(absl::StrCat("unknown flag --", parts.first));
  if (flag->argument.empty()) {
    if (has_value) return absl::InvalidArgumentError(absl::StrCat("--", flag->name, " takes no value"));
    flags_.emplace_back(flag->name, "");
  } else if (has_value) {
    flags_.emplace_back(flag->name, parts.second);
  } else if (*i < words.size()) {
    flags_.emplace_back(flag->name, words[(*i)++]);
  } else {
    return absl::InvalidArgumentError(absl::StrCat("--", flag->name, " wants ", flag->argument));
  }
  return absl::OkStatus();
}

absl::StatusOr<Arguments> Arguments::Parse(const std::vector<std::string>& words, const std::vector<Flag>& flags) {
  Arguments parsed;
  for (size_t i = 0; i < words.size();) {
    if (words[i] == "--") {
      parsed.operands_.insert(parsed.operands_.end(), words.begin() + static_cast<std::ptrdiff_t>(i) + 1, words.end());
      break;
    }
    if (absl::StartsWith(words[i], "--")) {
      PH_RETURN_IF_ERROR(parsed.TakeFlag(words, flags, &i));
    } else {
      parsed.operands_.push_back(words[i++]);
    }
  }
  return parsed;
}

absl::StatusOr<Arguments> Arguments::ParseLeading(const std::vector<std::string>& words, const std::vector<Flag>& flags,
                                                  size_t* used) {
  Arguments parsed;
  *used = 0;
  while (*used < words.size() && absl::StartsWith(words[*used], "--")) {
    if (words[*used] == "--") {
      ++*used;
      break;
    }
    PH_RETURN_IF_ERROR(parsed.TakeFlag(words, flags, used));
  }
  return parsed;
}

std::optional<std::string> Arguments::Get(absl::string_view flag) const {
  for (auto it = flags_.rbegin(); it != flags_.rend(); ++it) {
    if (it->first == flag) return it->second;
  }
  return std::nullopt;
}

std::string Arguments::GetOr(absl::string_view flag, absl::string_view fallback) const {
  return Get(flag).value_or(std::string(fallback));
}

std::vector<std::string> Arguments::GetAll(absl::string_view flag) const {
  std::vector<std::string> values;
  for (const auto& [name, value] : flags_) {
    if (name == flag) values.push_back(value);
  }
  return values;
}

absl::Status Arguments::ExpectOperands(size_t least, size_t most) const {
  if (operands_.size() < least) return absl::InvalidArgumentError("something is missing");
  if (operands_.size() > most) {
    return absl::InvalidArgumentError(absl::StrCat("\"", operands_[most], "\" is one word too many"));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> Arguments::GetCount(absl::string_view flag, uint32_t fallback) const {
  const std::optional<std::string> text = Get(flag);
  if (!text.has_value()) return fallback;
  uint32_t count = 0;
  if (!absl::SimpleAtoi(*text, &count) || count == 0) {
    return absl::InvalidArgumentError(absl::StrCat("--", flag, " is \"", *text, "\": a whole number from 1"));
  }
  return count;
}

void Arguments::FillFromEnvironment(const std::vector<Flag>& flags,
                                    const std::function<std::optional<std::string>(const std::string&)>& getenv) {
  for (const Flag& flag : flags) {
    if (flag.argument.empty() || Has(flag.name)) continue;
    const std::string name =
        absl::StrCat("POSTHOUSE_", absl::AsciiStrToUpper(absl::StrReplaceAll(flag.name, {{"-", "_"}})));
    std::optional<std::string> value = getenv(name);
    if (value.has_value() && !value->empty()) flags_.emplace_back(flag.name, *std::move(value));
  }
}

}  // namespace posthouse::ctl
