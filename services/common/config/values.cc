#include <cmath>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "services/common/config/config.h"

namespace posthouse::config {
namespace {

struct Unit {
  absl::string_view name;
  double factor;
};

// Longest first, so that "ms" is not read as "m".
constexpr Unit kTimes[] = {{"ms", 1e6}, {"us", 1e3}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}, {"d", 86400e9}};
constexpr Unit kSizes[] = {{"KiB", 1024.0}, {"MiB", 1048576.0}, {"GiB", 1073741824.0}, {"TiB", 1099511627776.0}};

// Removes a number ("12.5") from the front of `text`; false: there is none.
bool TakeNumber(absl::string_view* text, double* number) {
  size_t n = 0;
  while (n < text->size() && (absl::ascii_isdigit((*text)[n]) || (*text)[n] == '.')) ++n;
  if (n == 0 || n > 20 || !absl::SimpleAtod(text->substr(0, n), number)) return false;
  text->remove_prefix(n);
  return true;
}

template <size_t N>
const Unit* TakeUnit(const Unit (&units)[N], absl::string_view* text) {
  for (const Unit& unit : units) {
    if (text->substr(0, unit.name.size()) == unit.name) {
      text->remove_prefix(unit.name.size());
      return &unit;
    }
  }
  return nullptr;
}

}  // namespace

absl::StatusOr<int64_t> ParseDurationNanos(absl::string_view text) {
  const absl::Status bad = absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is not a duration: write \"30s\", \"5m\", \"1h30m\" or \"2d\""));
  absl::string_view rest = text;
  if (rest.empty()) return bad;
  double nanos = 0;
  while (!rest.empty()) {
    double number;
    if (!TakeNumber(&rest, &number)) return bad;
    const Unit* const unit = TakeUnit(kTimes, &rest);
    if (unit == nullptr) return bad;
    nanos += number * unit->factor;
  }
  if (nanos > 9e18) return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is longer than 285 years"));
  return static_cast<int64_t>(std::llround(nanos));
}

absl::StatusOr<uint64_t> ParseSize(absl::string_view text) {
  const absl::Status bad = absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is not a size: write a number of bytes, or \"64KiB\", \"50MiB\", \"2GiB\""));
  uint64_t plain;
  if (absl::SimpleAtoi(text, &plain)) return plain;
  absl::string_view rest = text;
  double number;
  if (!TakeNumber(&rest, &number)) return bad;
  const Unit* const unit = TakeUnit(kSizes, &rest);
  if (unit == nullptr || !rest.empty() || number * unit->factor > 9e18) return bad;
  return static_cast<uint64_t>(number * unit->factor);
}

}  // namespace posthouse::config
