// The handlers of the commands.
// Threads: that of the session. A handler returns the tagged reply of its command; an error means that the
// connection is lost. Untagged responses go to session.out() or session.FlushSlice().
#pragma once

#include "services/gateway/imap/command_table.h"

namespace posthouse::gateway {

using HandlerResult = Task<absl::StatusOr<Reply>>;

// cmd_session.cc
HandlerResult CmdCapability(ImapSession& session, imap::Command command);
HandlerResult CmdNoop(ImapSession& session, imap::Command command);
HandlerResult CmdLogout(ImapSession& session, imap::Command command);
HandlerResult CmdId(ImapSession& session, imap::Command command);
HandlerResult CmdEnable(ImapSession& session, imap::Command command);
HandlerResult CmdNamespace(ImapSession& session, imap::Command command);
// cmd_login.cc
HandlerResult CmdStartTls(ImapSession& session, imap::Command command);
HandlerResult CmdAuthenticate(ImapSession& session, imap::Command command);
HandlerResult CmdLogin(ImapSession& session, imap::Command command);
// cmd_select.cc
HandlerResult CmdSelect(ImapSession& session, imap::Command command);
HandlerResult CmdClose(ImapSession& session, imap::Command command);
HandlerResult CmdUnselect(ImapSession& session, imap::Command command);
// cmd_folders.cc
HandlerResult CmdCreate(ImapSession& session, imap::Command command);
HandlerResult CmdDelete(ImapSession& session, imap::Command command);
HandlerResult CmdRename(ImapSession& session, imap::Command command);
HandlerResult CmdSubscribe(ImapSession& session, imap::Command command);
// cmd_list.cc
HandlerResult CmdList(ImapSession& session, imap::Command command);
HandlerResult CmdStatus(ImapSession& session, imap::Command command);
// cmd_fetch.cc, cmd_store.cc, cmd_search.cc, cmd_copy.cc, cmd_expunge.cc, cmd_idle.cc
HandlerResult CmdFetch(ImapSession& session, imap::Command command);
HandlerResult CmdStore(ImapSession& session, imap::Command command);
HandlerResult CmdSearch(ImapSession& session, imap::Command command);
HandlerResult CmdCopy(ImapSession& session, imap::Command command);
HandlerResult CmdExpunge(ImapSession& session, imap::Command command);
HandlerResult CmdIdle(ImapSession& session, imap::Command command);
// cmd_append.cc; the handler reads the message.
HandlerResult CmdAppend(ImapSession& session, imap::Command command);

}  // namespace posthouse::gateway
