// "did you mean": the known word that is nearest to one that is not known.
// Threads: stateless.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace posthouse::cli {

// The word of `known` that takes the fewest edits (Levenshtein distance) from `word`, the first of several.
// "" when all of them are more than three edits away, or more than half of the word.
std::string Nearest(absl::string_view word, const std::vector<std::string>& known);

}  // namespace posthouse::cli
