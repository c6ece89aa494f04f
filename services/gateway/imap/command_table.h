// The commands of IMAP: when each may be given and what it leads to.
//
//                     LOGIN, AUTHENTICATE         SELECT, EXAMINE
//   kNotAuthenticated ────────────────▶ kAuthenticated ─────────────▶ kSelected
//                                              ▲   CLOSE, UNSELECT,      │
//                                              └── failed SELECT ────────┘
//   LOGOUT, BYE: kLogout from any. Out of state: BAD, and nothing changes (RFC 9051 §3).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/common/async/task.h"
#include "services/mail_formats/imap/command.h"
#include "services/gateway/imap/reply.h"

namespace posthouse::gateway {

class ImapSession;

enum class State : uint8_t { kNotAuthenticated = 1, kAuthenticated = 2, kSelected = 4, kLogout = 8 };

// What the client may be told about the selected mailbox before the tagged reply.
enum class News : uint8_t {
  kNone,
  kNoExpunge,  // RFC 9051 §7.5.1: FETCH, STORE, SEARCH count by sequence number
  kAll,
  kLook,  // all, and look for it even without a hint
};

// An error: the connection is lost.
using Handler = Task<absl::StatusOr<Reply>> (*)(ImapSession&, imap::Command);

struct CommandSpec {
  absl::string_view name;
  uint8_t states;  // of State
  News news;
  bool sends_password;  // refused in the clear, unless the config allows it
  Handler handler;
};

// Null: no such command. APPEND has no handler: it is driven by the session.
const CommandSpec* FindCommand(absl::string_view name);
const std::vector<CommandSpec>& AllCommands();

// Why `spec` may not run now; nullopt: it may.
std::optional<Reply> RefuseNow(const CommandSpec& spec, State state, bool may_send_password);

struct CapabilityFacts {
  State state = State::kNotAuthenticated;
  bool tls = false;
  bool can_start_tls = false;
  bool may_send_password = false;
  uint64_t append_limit = 0;
};
// "IMAP4rev1 LITERAL+ ...": what works in this state (RFC 9051 §6.1.1).
std::string Capabilities(const CapabilityFacts& facts);

}  // namespace posthouse::gateway
