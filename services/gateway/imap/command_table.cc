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
      // name, states, news, sends password, handler
      {"CAPABILITY", kAny, News::kAll, false, CmdCapability},
      {"NOOP", kAny, News::kLook, false, CmdNoop},
      {"LOGOUT", kAny, News::kNone, false, CmdLogout},
      {"ID", kAny, News::kNone, false, CmdId},
      {"STARTTLS", kNew, News::kNone, false, CmdStartTls},
      {"AUTHENTICATE", kNew, News::kNone, true, CmdAuthenticate},
      {"LOGIN", kNew, News::kNone, true, CmdLogin},
      {"ENABLE", kIn, News::kNone, false, CmdEnable},
      {"SELECT", kIn, News::kNone, false, CmdSelect},
      {"EXAMINE", kIn, News::kNone, false, CmdSelect},
      {"CREATE", kIn, News::kAll, false, CmdCreate},
      {"DELETE", kIn, News::kAll, false, CmdDelete},
      {"RENAME", kIn, News::kAll, false, CmdRename},
      {"SUBSCRIBE", kIn, News::kAll, false, CmdSubscribe},
      {"UNSUBSCRIBE", kIn, News::kAll, false, CmdSubscribe},
      {"LIST", kIn, News::kAll, false, CmdList},
      {"LSUB", kIn, News::kAll, false, CmdList},
      {"NAMESPACE", kIn, News::kAll, false, CmdNamespace},
      {"STATUS", kIn, News::kAll, false, CmdStatus},
      {"APPEND", kIn, News::kAll, false, CmdAppend},
      {"IDLE", kIn, News::kAll, false, CmdIdle},
      {"CHECK", kSel, News::kLook, false, CmdNoop},
      {"CLOSE", kSel, News::kNone, false, CmdClose},
      {"UNSELECT", kSel, News::kNone, false, CmdUnselect},
      {"EXPUNGE", kSel, News::kAll, false, CmdExpunge},
      {"UID EXPUNGE", kSel, News::kAll, false, CmdExpunge},
      {"SEARCH", kSel, News::kNoExpunge, false, CmdSearch},
      {"UID SEARCH", kSel, News::kAll, false, CmdSearch},
      {"FETCH", kSel, News::kNoExpunge, false, CmdFetch},
      {"UID FETCH", kSel, News::kAll, false, CmdFetch},
      {"STORE", kSel, News::kNoExpunge, false, CmdStore},
      {"UID STORE", kSel, News::kAll, false, CmdStore},
      {"COPY", kSel, News::kAll, false, CmdCopy},
      {"UID COPY", kSel, News::kAll, false, CmdCopy},
      {"MOVE", kSel, News::kAll, false, CmdCopy},
      {"UID MOVE", kSel, News::kAll, false, CmdCopy},
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
        return Bad("Not in this state");
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
      "SPECIAL-USE CREATE-SPECIAL-USE STATUS=SIZE APPENDLIMIT=",
      facts.append_limit);
  return out;
}

}  // namespace posthouse::gateway
