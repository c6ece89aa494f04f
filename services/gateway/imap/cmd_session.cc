// CAPABILITY, NOOP, CHECK, LOGOUT, ID, ENABLE, NAMESPACE.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/log/log.h"
#include "services/gateway/imap/commands.h"
#include "services/gateway/imap/session.h"
#include "services/mail_formats/imap/response.h"

namespace posthouse::gateway {

HandlerResult CmdCapability(ImapSession& session, imap::Command command) {
  absl::StrAppend(&session.out(), "* CAPABILITY ", session.capabilities(), "\r\n");
  co_return Ok("CAPABILITY completed");
}

// Also CHECK: every change is durable already (RFC 3501 §6.4.1). The command table makes both
// report what has changed.
HandlerResult CmdNoop(ImapSession& session, imap::Command command) {
  co_return Ok(absl::StrCat(command.name, " completed"));
}

HandlerResult CmdLogout(ImapSession& session, imap::Command command) {
  session.out() += "* BYE Logging out\r\n";
  session.BeginLogout();
  co_return Ok("LOGOUT completed");
}

// RFC 2971. The log gets the fields of the client: they explain its quirks.
HandlerResult CmdId(ImapSession& session, imap::Command command) {
  {
    log::Event event(log::Level::kInfo, "client_id");
    for (const auto& [name, value] : std::get<imap::IdArgs>(command.args).fields) {
      if (name == "name" || name == "version" || name == "vendor" || name == "os") event.Str(name, value);
    }
    event.Trace(session.trace().trace_id);
  }
  // Some clients need fields. The version is left out: any client may ask before login (RFC 2971 §5).
  session.out() += "* ID (\"name\" \"Posthouse\" \"vendor\" \"Posthouse\")\r\n";
  co_return Ok("ID completed");
}

// RFC 5161: unknown names are ignored. QRESYNC includes CONDSTORE (RFC 7162 §3.2.3).
HandlerResult CmdEnable(ImapSession& session, imap::Command command) {
  std::string enabled;
  bool condstore = false;
  for (const std::string& name : std::get<imap::EnableArgs>(command.args).capabilities) {
    const bool qresync = name == "QRESYNC";
    if (!qresync && name != "CONDSTORE") continue;
    condstore = true;
    if (qresync) session.dialect().qresync = true;
    if (!absl::StrContains(enabled, name)) absl::StrAppend(&enabled, " ", name);
  }
  absl::StrAppend(&session.out(), "* ENABLED", enabled, "\r\n");
  if (condstore) session.EnableCondstore();
  co_return Ok("ENABLE completed");
}

// RFC 2342: one personal namespace.
HandlerResult CmdNamespace(ImapSession& session, imap::Command command) {
  session.out() += "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n";
  co_return Ok("NAMESPACE completed");
}

}  // namespace posthouse::gateway
