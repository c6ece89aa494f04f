#include "services/common/memory_limit/memory_limit.h"

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace posthouse {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
// "No limit" of version 1 is the largest multiple of the page size.
constexpr uint64_t kNone = uint64_t{1} << 60;

// The number in a file; 0: there is none ("max", no such file).
uint64_t ReadLimit(const std::string& path) {
  std::ifstream file(path);
  std::string text;
  uint64_t value = 0;
  if (!(file >> text) || !absl::SimpleAtoi(text, &value) || value >= kNone) return 0;
  return value;
}

// The least limit of the group and of those above it. In a container the path may be that of the host, of which
// only the end is mounted: groups that are not there have no limit, and the root of the mount counts always.
uint64_t Least(const std::string& root, std::string group, const std::string& file) {
  uint64_t least = 0;
  while (true) {
    const uint64_t limit = ReadLimit(absl::StrCat(root, group, "/", file));
    if (limit != 0) least = least == 0 ? limit : std::min(least, limit);
    const size_t slash = group.rfind('/');
    if (group.empty() || slash == std::string::npos) return least;
    group.resize(slash);
  }
}

}  // namespace

uint64_t MemoryLimit(const std::string& proc, const std::string& sys) {
  std::ifstream file(proc + "/self/cgroup");
  std::string line;
  uint64_t least = 0;
  while (std::getline(file, line)) {
    // cgroups(7): hierarchy-ID:controller-list:cgroup-path
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    const std::string group = parts[2] == "/" ? "" : parts[2];
    uint64_t limit = 0;
    if (parts[0] == "0" && parts[1].empty()) {
      limit = Least(sys, group, "memory.max");
    } else {
      const std::vector<std::string> controllers = absl::StrSplit(parts[1], ',');
      if (std::find(controllers.begin(), controllers.end(), "memory") == controllers.end()) continue;
      limit = Least(sys + "/memory", group, "memory.limit_in_bytes");
    }
    if (limit != 0) least = least == 0 ? limit : std::min(least, limit);
  }
  return least;
}

StoreMemory StoreMemoryFor(uint64_t limit, int stores) {
  if (limit == 0) return {64 * kMiB, 32 * kMiB};
  const uint64_t share = limit / 4 / static_cast<uint64_t>(std::max(stores, 1));
  return {std::clamp(share, 8 * kMiB, 1024 * kMiB), std::clamp(share / 4, 4 * kMiB, 32 * kMiB)};
}

}  // namespace posthouse
