#include "services/gateway/imap/list_render.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/mail_formats/imap/mailbox_name.h"
#include "services/mail_formats/imap/response.h"

namespace posthouse::gateway {
namespace {

// A name that LIST may report: a folder, or a subscribed name without one.
struct Entry {
  const mail::Folder* folder = nullptr;
  bool subscribed = false;
  bool selected = false;        // it meets the selection options
  bool child_selected = false;  // a descendant that the pattern does not match meets them
};

std::vector<imap::ListPattern> Patterns(const imap::ListArgs& args) {
  std::vector<imap::ListPattern> patterns;
  for (const std::string& pattern : args.patterns) patterns.emplace_back(args.reference, pattern);
  return patterns;
}

bool MatchesAny(const std::vector<imap::ListPattern>& patterns, absl::string_view name) {
  return std::any_of(patterns.begin(), patterns.end(), [name](const auto& pattern) { return pattern.Matches(name); });
}

std::vector<std::string> ParentsOf(absl::string_view name) {
  std::vector<std::string> parents;
  for (size_t at = name.find(imap::kSeparator); at != absl::string_view::npos;
       at = name.find(imap::kSeparator, at + 1)) {
    parents.emplace_back(name.substr(0, at));
  }
  return parents;
}

void AppendLine(std::string& out, absl::string_view command, const std::vector<absl::string_view>& attributes,
                absl::string_view name) {
  absl::StrAppend(&out, "* ", command, " ");
  imap::AppendFlagList(out, 0, attributes);
  out += " \"/\" ";
  imap::AppendMailbox(out, name);
}

std::map<std::string, Entry> Entries(const mail::ListFoldersResponse& folders) {
  std::map<std::string, Entry> entries;
  for (const mail::Folder& folder : folders.folders()) {
    Entry& entry = entries[folder.name()];
    entry.folder = &folder;
    entry.subscribed = folder.subscribed();
  }
  for (const std::string& name : folders.subscribed_only()) entries[name].subscribed = true;
  return entries;
}

// RFC 5258 §4: marks names whose descendants meet the selection options. The names themselves
// need not exist.
void MarkParents(const std::vector<imap::ListPattern>& patterns, std::map<std::string, Entry>* entries) {
  std::set<std::string> parents;
  for (const auto& [name, entry] : *entries) {
    if (!entry.selected || MatchesAny(patterns, name)) continue;
    for (std::string& parent : ParentsOf(name)) parents.insert(std::move(parent));
  }
  for (const std::string& parent : parents) (*entries)[parent].child_selected = true;
}

std::string RenderEntry(const std::string& name, const Entry& entry, const imap::ListArgs& args,
                        uint64_t append_limit) {
  std::vector<absl::string_view> attributes;
  if (entry.folder == nullptr) {
    attributes.push_back("\\NonExistent");
  } else {
    if (entry.folder->no_select()) attributes.push_back("\\Noselect");
    // RFC 3348; in every LIST, as clients without RFC 5258 look for it.
    attributes.push_back(entry.folder->has_children() ? "\\HasChildren" : "\\HasNoChildren");
  }
  if (entry.subscribed && (args.select_subscribed || args.return_subscribed)) attributes.push_back("\\Subscribed");
  // RFC 6154 §2: in plain LIST too.
  if (entry.folder != nullptr && !entry.folder->special_use().empty()) {
    attributes.push_back(entry.folder->special_use());
  }
  std::string line;
  AppendLine(line, "LIST", attributes, name);
  if (entry.child_selected && args.select_subscribed) line += " (\"CHILDINFO\" (\"SUBSCRIBED\"))";
  line += "\r\n";
  if (args.return_status != 0 && entry.folder != nullptr && !entry.folder->no_select()) {
    line += RenderStatus(*entry.folder, args.return_status, append_limit);
  }
  return line;
}

}  // namespace

std::vector<std::string> RenderList(const mail::ListFoldersResponse& folders, const imap::ListArgs& args,
                                    uint64_t append_limit) {
  std::vector<std::string> lines;
  // RFC 9051 §6.3.9: an empty pattern asks for the separator.
  if (!args.extended && args.patterns.size() == 1 && args.patterns[0].empty()) {
    lines.push_back("* LIST (\\Noselect) \"/\" \"\"\r\n");
    return lines;
  }
  const std::vector<imap::ListPattern> patterns = Patterns(args);
  std::map<std::string, Entry> entries = Entries(folders);
  for (auto& [name, entry] : entries) {
    entry.selected = args.select_subscribed ? entry.subscribed : entry.folder != nullptr;
    if (args.select_special_use && (entry.folder == nullptr || entry.folder->special_use().empty())) {
      entry.selected = false;
    }
  }
  if (args.select_recursive_match) MarkParents(patterns, &entries);
  for (const auto& [name, entry] : entries) {
    if ((entry.selected || entry.child_selected) && MatchesAny(patterns, name)) {
      lines.push_back(RenderEntry(name, entry, args, append_limit));
    }
  }
  return lines;
}

std::vector<std::string> RenderLsub(const mail::ListFoldersResponse& folders, const imap::ListArgs& args) {
  const std::vector<imap::ListPattern> patterns = Patterns(args);
  const std::map<std::string, Entry> entries = Entries(folders);
  std::map<std::string, std::vector<absl::string_view>> found;
  for (const auto& [name, entry] : entries) {
    if (!entry.subscribed) continue;
    if (MatchesAny(patterns, name)) {
      std::vector<absl::string_view>& attributes = found[name];
      attributes.clear();
      if (entry.folder != nullptr && entry.folder->no_select()) attributes.push_back("\\Noselect");
      if (entry.folder != nullptr && !entry.folder->special_use().empty()) {
        attributes.push_back(entry.folder->special_use());
      }
      continue;
    }
    // RFC 3501 §6.3.9: "%" shows a level that is not subscribed when one below it is.
    for (const std::string& parent : ParentsOf(name)) {
      const auto known = entries.find(parent);
      const bool subscribed = known != entries.end() && known->second.subscribed;
      if (!subscribed && MatchesAny(patterns, parent)) found[parent] = {"\\Noselect"};
    }
  }
  std::vector<std::string> lines;
  for (const auto& [name, attributes] : found) {
    std::string line;
    AppendLine(line, "LSUB", attributes, name);
    lines.push_back(line + "\r\n");
  }
  return lines;
}

std::string RenderStatus(const mail::Folder& folder, uint32_t items, uint64_t append_limit) {
  const mail::FolderState& state = folder.state();
  std::string out = "* STATUS ";
  imap::AppendMailbox(out, folder.name());
  out += " (";
  const size_t start = out.size();
  const auto add = [&](uint32_t item, absl::string_view name, const auto& value) {
    if ((items & item) != 0) absl::StrAppend(&out, out.size() > start ? " " : "", name, " ", value);
  };
  add(imap::kStatusMessages, "MESSAGES", state.exists());
  add(imap::kStatusRecent, "RECENT", state.recent());
  add(imap::kStatusUidNext, "UIDNEXT", state.uid_next());
  add(imap::kStatusUidValidity, "UIDVALIDITY", state.uid_validity());
  add(imap::kStatusUnseen, "UNSEEN", state.unseen());
  add(imap::kStatusDeleted, "DELETED", state.deleted());
  add(imap::kStatusSize, "SIZE", state.size_bytes());
  add(imap::kStatusHighestModseq, "HIGHESTMODSEQ", state.highest_modseq());
  add(imap::kStatusAppendLimit, "APPENDLIMIT", append_limit);
  add(imap::kStatusMailboxId, "MAILBOXID", absl::StrCat("(", folder.folder_id(), ")"));
  return absl::StrCat(out, ")\r\n");
}

}  // namespace posthouse::gateway
