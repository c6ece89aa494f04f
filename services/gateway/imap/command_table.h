// The commands of IMAP: in which states each is valid, and what handles it.
//
//                     LOGIN, AUTHENTICATE         SELECT, EXAMINE
//   kNotAuthenticated ────────────────▶ kAuthenticated ─────────────▶ kSelected
//                                              ▲   CLOSE, UNSELECT,      │
//                                              └── failed SELECT ────────┘
//   LOGOUT and BYE lead from any state to kLogout. A command out of its state gets BAD and changes
//   nothing (RFC 9051 §3).
//
// Threads: stateless; the table is constant.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/common/async/task.h"
#include "services/gateway/imap/reply.h"
#include "services/mail_formats/imap/command.h"

namespace posthouse::gateway {

class ImapSession;

enum class State : uint8_t { kNotAuthenticated = 1, kAuthenticated = 2, kSelected = 4, kLogout = 8 };

// Which changes of the selected mailbox a command reports before its tagged reply.
enum class Updates : uint8_t {
  kNone,
  kNoExpunge,  // RFC 9051 §7.5.1: not during FETCH, STORE, SEARCH, which use sequence numbers
  kAll,
  kSync,  // all; the changes are read even without a hint
};

// An error: the connection is lost.
using Handler = Task<absl::StatusOr<Reply>> (*)(ImapSession&, imap::Command);

// A row of the table.
struct CommandSpec {
  absl::string_view name;
  uint8_t states;  // of State
  Updates updates;
  bool sends_password;  // refused without TLS, unless the config allows it
  Handler handler;
};

// Null: no such command.
const CommandSpec* FindCommand(absl::string_view name);
const std::vector<CommandSpec>& AllCommands();

// The reply when `spec` may not run now; nullopt: it may.
std::optional<Reply> RefuseNow(const CommandSpec& spec, State state, bool may_send_password);

// What the capabilities depend on. `append_limit` is in bytes (RFC 7889).
struct CapabilityFacts {
  State state = State::kNotAuthenticated;
  bool tls = false;
  bool can_start_tls = false;
  bool may_send_password = false;
  uint64_t append_limit = 0;
};
// "IMAP4rev1 LITERAL+ ...": the capabilities of this state (RFC 9051 §6.1.1).
std::string Capabilities(const CapabilityFacts& facts);

}  // namespace posthouse::gateway
