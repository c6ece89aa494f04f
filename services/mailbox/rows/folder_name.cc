#include "services/mailbox/rows/folder_name.h"

#include <cstdint>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/common/utf8/utf8.h"

namespace posthouse::mailbox {
namespace {

// No client can show control characters.
bool IsPrintableUtf8(absl::string_view text) {
  while (!text.empty()) {
    uint32_t code = 0;
    const int length = Utf8Sequence(text, &code);
    if (length <= 0 || code < 0x20 || (code >= 0x7f && code < 0xa0)) return false;
    text.remove_prefix(static_cast<size_t>(length));
  }
  return true;
}

}  // namespace

absl::StatusOr<std::string> CanonicalName(absl::string_view name) {
  if (!name.empty() && name.back() == '/') name.remove_suffix(1);
  if (name.empty()) return absl::InvalidArgumentError("the folder name is empty");
  if (name.size() > kMaxNameBytes) return absl::InvalidArgumentError("the folder name is longer than 900 bytes");
  if (!IsPrintableUtf8(name)) return absl::InvalidArgumentError("the folder name is not printable UTF-8");
  std::vector<std::string> levels = SplitName(name);
  if (levels.size() > kMaxLevels) return absl::InvalidArgumentError("the folder name has more than 32 levels");
  for (const std::string& level : levels) {
    if (level.empty()) return absl::InvalidArgumentError("the folder name has an empty level");
    if (level.size() > kMaxLevelBytes)
      return absl::InvalidArgumentError("a level of the folder name is longer than 255 bytes");
  }
  if (absl::EqualsIgnoreCase(levels[0], kInbox)) levels[0] = kInbox;
  std::string out = levels[0];
  for (size_t i = 1; i < levels.size(); ++i) absl::StrAppend(&out, "/", levels[i]);
  return out;
}

std::vector<std::string> SplitName(absl::string_view name) { return absl::StrSplit(name, '/'); }

std::string JoinName(absl::string_view parent, absl::string_view level) {
  return parent.empty() ? std::string(level) : absl::StrCat(parent, "/", level);
}

bool IsSpecialUse(absl::string_view attribute) {
  for (const char* known :
       {"", "\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash", "\\Important"}) {
    if (attribute == known) return true;
  }
  return false;
}

}  // namespace posthouse::mailbox
