#include <yaml-cpp/yaml.h>

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/common/config/config.h"
#include "services/common/status/status.h"

namespace posthouse::config {
namespace {

// The key at the front of a message: "routing.transports[0].host".
absl::string_view KeyOf(absl::string_view message) {
  size_t end = 0;
  while (end < message.size() &&
         (absl::ascii_isalnum(static_cast<unsigned char>(message[end])) || message[end] == '_' || message[end] == '.' ||
          message[end] == '[' || message[end] == ']')) {
    ++end;
  }
  return message.substr(0, end);
}

// The first text in double quotes; "" without one.
absl::string_view Quoted(absl::string_view message) {
  const size_t begin = message.find('"');
  const size_t end = begin == absl::string_view::npos ? begin : message.find('"', begin + 1);
  return end == absl::string_view::npos ? "" : message.substr(begin + 1, end - begin - 1);
}

// The node that `key` names, or the deepest one above it that exists.
YAML::Node Find(const YAML::Node& root, absl::string_view key) {
  YAML::Node node = root;
  for (absl::string_view part : absl::StrSplit(key, '.')) {
    const size_t bracket = part.find('[');
    const std::string name(part.substr(0, bracket));
    if (!node.IsMap()) break;
    const YAML::Node child = static_cast<const YAML::Node&>(node)[name];
    if (!child.IsDefined()) break;
    node.reset(child);
    size_t index = 0;
    if (bracket == absl::string_view::npos) continue;
    part = part.substr(bracket + 1, part.size() - bracket - 2);
    if (absl::SimpleAtoi(part, &index) && node.IsSequence() && index < node.size()) {
      node.reset(static_cast<const YAML::Node&>(node)[index]);
    }
  }
  return node;
}

}  // namespace

absl::Status Locate(const absl::Status& error, const std::string& path) {
  try {
    const YAML::Node root = YAML::LoadFile(path);
    YAML::Node node = Find(root, KeyOf(error.message()));
    const std::string quoted(Quoted(error.message()));
    if (node.IsSequence() && !quoted.empty()) {
      for (const YAML::Node& element : node) {
        if (!element.IsScalar() || element.Scalar() != quoted) continue;
        node.reset(element);
        break;
      }
    }
    if (!node.is(root) && node.Mark().line >= 0) {
      return Annotate(error, absl::StrCat(path, ":", node.Mark().line + 1, ":", node.Mark().column + 1));
    }
  } catch (const YAML::Exception&) {
    // The file has changed since it was loaded: the error stands without its place.
  }
  return Annotate(error, path);
}

}  // namespace posthouse::config
