#include "services/mailbox/names.h"

#include <cstdint>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace posthouse::mailbox {
namespace {

// RFC 3629 §4: no overlong forms, no surrogates, nothing above U+10FFFF; and no
// control characters, which no client can show.
bool IsPrintableUtf8(absl::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x80) {
      if (byte < 0x20 || byte == 0x7f) return false;
      ++i;
      continue;
    }
    const size_t length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
    if (byte < 0xc2 || byte > 0xf4 || i + length > text.size()) return false;
    uint32_t code = byte & (0xff >> (length + 1));
    for (size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xc0) != 0x80) return false;
      code = (code << 6) | (next & 0x3f);
    }
    const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
    if (overlong || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff) || (code >= 0x80 && code < 0xa0))
      return false;
    i += length;
  }
  return true;
}

}  // namespace

absl::StatusOr<std::string> CanonicalName(absl::string_view name) {
  if (!name.empty() && name.back() == '/') name.remove_suffix(1);
  if (name.empty()) return absl::InvalidArgumentError("a folder needs a name");
  if (name.size() > kMaxNameBytes) return absl::InvalidArgumentError("folder name too long");
  if (!IsPrintableUtf8(name)) return absl::InvalidArgumentError("folder name is not printable UTF-8");
  std::vector<std::string> levels = SplitName(name);
  if (levels.size() > kMaxLevels) return absl::InvalidArgumentError("too many levels");
  for (const std::string& level : levels) {
    if (level.empty()) return absl::InvalidArgumentError("empty level in folder name");
    if (level.size() > kMaxLevelBytes) return absl::InvalidArgumentError("level of folder name too long");
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
