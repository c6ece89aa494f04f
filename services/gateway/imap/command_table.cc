#include "services/gateway/imap/command_table.h"

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "services/gateway/imap/commands.h"

namespace posthouse::gateway {
namespace {

constexpr uint8_t kNew = static_cast<uint8_t>(State::kNotAuthenticated);
constexpr uint8_t kSel = static_cast<uint8_t>(State::kSelected);
constexpr uint8_t kIn = static_cast<uint8_t>(State::kAuthenticated) | kSel;
constexpr uint8_t kAny = kNew | kIn;

}  // namespace

const std::vector<CommandSpec>& AllCommands() {
  static const auto* const commands = new std::vector<CommandSpec>{
      // name, states, updates, sends password, handler
      {"CAPABILITY", kAny, Updates::kAll, false, CmdCapability},
      {"NOOP", kAny, Updates::kSync, false, CmdNoop},
      {"LOGOUT", kAny, Updates::kNone, false, CmdLogout},
      {"ID", kAny, Updates::kNone, false, CmdId},
      {"STARTTLS", kNew, Updates::kNone, false, CmdStartTls},
      {"AUTHENTICATE", kNew, Updates::kNone, true, CmdAuthenticate},
      {"LOGIN", kNew, Updates::kNone, true, CmdLogin},
      {"ENABLE", kIn, Updates::kNone, false, CmdEnable},
      {"SELECT", kIn, Updates::kNone, false, CmdSelect},
      {"EXAMINE", kIn, Updates::kNone, false, CmdSelect},
      {"CREATE", kIn, Updates::kAll, false, CmdCreate},
      {"DELETE", kIn, Updates::kAll, false, CmdDelete},
      {"RENAME", kIn, Updates::kAll, false, CmdRename},
      {"SUBSCRIBE", kIn, Updates::kAll, false, CmdSubscribe},
      {"UNSUBSCRIBE", kIn, Updates::kAll, false, CmdSubscribe},
      {"LIST", kIn, Updates::kAll, false, CmdList},
      {"LSUB", kIn, Updates::kAll, false, CmdList},
      {"NAMESPACE", kIn, Updates::kAll, false, CmdNamespace},
      {"STATUS", kIn, Updates::kAll, false, CmdStatus},
      {"APPEND", kIn, Updates::kAll, false, CmdAppend},
      {"IDLE", kIn, Updates::kAll, false, CmdIdle},
      {"CHECK", kSel, Updates::kSync, false, CmdNoop},
      {"CLOSE", kSel, Updates::kNone, false, CmdClose},
      {"UNSELECT", kSel, Updates::kNone, false, CmdUnselect},
      {"EXPUNGE", kSel, Updates::kAll, false, CmdExpunge},
      {"UID EXPUNGE", kSel, Updates::kAll, false, CmdExpunge},
      {"SEARCH", kSel, Updates::kNoExpunge, false, CmdSearch},
      {"UID SEARCH", kSel, Updates::kAll, false, CmdSearch},
      {"FETCH", kSel, Updates::kNoExpunge, false, CmdFetch},
      {"UID FETCH", kSel, Updates::kAll, false, CmdFetch},
      {"STORE", kSel, Updates::kNoExpunge, false, CmdStore},
      {"UID STORE", kSel, Updates::kAll, false, CmdStore},
      {"COPY", kSel, Updates::kAll, false, CmdCopy},
      {"UID COPY", kSel, Updates::kAll, false, CmdCopy},
      {"MOVE", kSel, Updates::kAll, false, CmdCopy},
      {"UID MOVE", kSel, Updates::kAll, false, CmdCopy},
  };
  return *commands;
}

const CommandSpec* FindCommand(absl::string_view name) {
  static const auto* const index = [] {
    auto* map = new absl::flat_hash_map<absl::string_view, const CommandSpec*>;
    for (const CommandSpec& spec : AllCommands()) map->emplace(spec.name, &spec);
    return map;
  }();
  const auto found = index->find(name);
  return found == index->end() ? nullptr : found->second;
}

std::optional<Reply> RefuseNow(const CommandSpec& spec, State state, bool may_send_password) {
  if ((spec.states & static_cast<uint8_t>(state)) == 0) {
    switch (state) {
      case State::kNotAuthenticated:
        return Bad("Log in first");
      case State::kAuthenticated:
        return Bad((spec.states & kSel) != 0 ? "No mailbox is selected" : "Already logged in");
      default:
        return Bad("Logging out");
    }
  }
  // RFC 9051 §11.1; the code is of RFC 5530 §3.
  if (spec.sends_password && !may_send_password) return No("PRIVACYREQUIRED", "Use STARTTLS first");
  return std::nullopt;
}

std::string Capabilities(const CapabilityFacts& facts) {
  std::string out = "IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE";
  if (facts.state == State::kNotAuthenticated) {
    if (facts.can_start_tls && !facts.tls) out += " STARTTLS";
    out += facts.may_send_password ? " AUTH=PLAIN AUTH=LOGIN" : " LOGINDISABLED";
    return out;
  }
  absl::StrAppend(
      &out,
      " NAMESPACE UNSELECT UIDPLUS CHILDREN MOVE CONDSTORE QRESYNC ESEARCH SEARCHRES LIST-EXTENDED LIST-STATUS "
      "SPECIAL-USE CREATE-SPECIAL-USE STATUS=SIZE OBJECTID SAVEDATE PREVIEW APPENDLIMIT=",
      facts.append_limit);
  return out;
}

}  // namespace posthouse::gateway
