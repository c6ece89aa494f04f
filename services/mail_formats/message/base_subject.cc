#include "services/mail_formats/message/base_subject.h"

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "services/mail_formats/message/chars.h"
#include "services/mail_formats/message/fields.h"

namespace posthouse::message {
namespace {

constexpr size_t kMaxSubject = 8 * 1024;

// subj-blob = "[" *BLOBCHAR "]" *WSP; its length or 0.
size_t SubjectBlob(absl::string_view s) {
  if (s.empty() || s[0] != '[') return 0;
  const size_t end = s.find_first_of("[]", 1);
  if (end == absl::string_view::npos || s[end] != ']') return 0;
  size_t length = end + 1;
  while (length < s.size() && s[length] == ' ') ++length;
  return length;
}

// subj-refwd = ("re" / ("fw" ["d"])) *WSP [subj-blob] ":"; its length or 0.
size_t SubjectRefwd(absl::string_view s) {
  size_t length = 0;
  if (absl::StartsWithIgnoreCase(s, "fwd")) {
    length = 3;
  } else if (absl::StartsWithIgnoreCase(s, "re") || absl::StartsWithIgnoreCase(s, "fw")) {
    length = 2;
  } else {
    return 0;
  }
  while (length < s.size() && s[length] == ' ') ++length;
  length += SubjectBlob(s.substr(length));
  return length < s.size() && s[length] == ':' ? length + 1 : 0;
}

// subj-leader = (*subj-blob subj-refwd) / WSP
size_t SubjectLeader(absl::string_view s) {
  if (!s.empty() && s[0] == ' ') return 1;
  size_t blobs = 0;
  for (size_t blob = 1; blob > 0; blobs += blob) blob = SubjectBlob(s.substr(blobs));
  const size_t refwd = SubjectRefwd(s.substr(blobs));
  return refwd == 0 ? 0 : blobs + refwd;
}

bool StripSubjectOnce(absl::string_view* s) {
  if (const size_t leader = SubjectLeader(*s); leader > 0) {  // step 3
    s->remove_prefix(leader);
    return true;
  }
  // Step 4, unless nothing would be left. All at once: step 3 has seen that no "re:"
  // follows them, and would look through them again after each.
  bool stripped = false;
  for (size_t blob = SubjectBlob(*s); blob > 0 && blob < s->size(); blob = SubjectBlob(*s)) {
    s->remove_prefix(blob);
    stripped = true;
  }
  return stripped;
}
}  // namespace

std::string BaseSubject(absl::string_view raw_subject) {
  std::string text;
  for (const char c : DecodeText(raw_subject.substr(0, kMaxSubject))) {  // step 1
    const char b = IsSpace(c) ? ' ' : c;
    if (b != ' ' || (!text.empty() && text.back() != ' ')) text.push_back(b);
  }
  absl::string_view s = text;
  while (true) {
    while (absl::ConsumeSuffix(&s, " ") ||
           (absl::EndsWithIgnoreCase(s, "(fwd)") && (s.remove_suffix(5), true))) {  // step 2
    }
    while (StripSubjectOnce(&s)) {  // steps 3 to 5
    }
    if (!absl::StartsWithIgnoreCase(s, "[fwd:") || !absl::EndsWith(s, "]")) break;  // step 6
    s.remove_prefix(5);
    s.remove_suffix(1);
  }
  return std::string(s);
}

}  // namespace posthouse::message
