// LIST, LSUB, STATUS.
#include <utility>

#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/status/status.h"
#include "services/gateway/imap/commands.h"
#include "services/gateway/imap/list_render.h"
#include "services/gateway/imap/session.h"
#include "services/mail_formats/imap/mailbox_name.h"

namespace posthouse::gateway {
namespace {

uint64_t AppendLimit(ImapSession& session) { return session.shared().settings.max_append_bytes; }

}  // namespace

HandlerResult CmdList(ImapSession& session, imap::Command command) {
  const imap::ListArgs args = std::get<imap::ListArgs>(std::move(command.args));
  mail::ListFoldersRequest request;
  *request.mutable_account() = session.account();
  request.set_with_state(args.return_status != 0);
  request.set_with_recent((args.return_status & imap::kStatusRecent) != 0);
  const absl::StatusOr<mail::ListFoldersResponse> folders =
      co_await session.shared().mailbox.ListFolders(session.trace(), std::move(request));
  if (!folders.ok()) co_return ReplyFor(folders.status());
  if ((args.return_status & imap::kStatusHighestModseq) != 0) session.EnableCondstore();
  const bool lsub = command.name == "LSUB";
  const std::vector<std::string> lines =
      lsub ? RenderLsub(*folders, args) : RenderList(*folders, args, AppendLimit(session));
  for (const std::string& line : lines) {
    session.out() += line;
    PH_CO_RETURN_IF_ERROR(co_await session.FlushSlice());
  }
  co_return Ok(lsub ? "LSUB completed" : "LIST completed");
}

HandlerResult CmdStatus(ImapSession& session, imap::Command command) {
  const imap::StatusArgs args = std::get<imap::StatusArgs>(std::move(command.args));
  const std::optional<std::string> name = imap::DecodeMailboxName(args.mailbox);
  if (!name.has_value()) co_return No("NONEXISTENT", "No such mailbox");
  mail::GetFolderRequest request;
  *request.mutable_account() = session.account();
  request.set_name(*name);
  request.set_with_recent((args.items & imap::kStatusRecent) != 0);
  const absl::StatusOr<mail::GetFolderResponse> response =
      co_await session.shared().mailbox.GetFolder(session.trace(), std::move(request));
  if (!response.ok()) co_return ReplyFor(response.status());
  if (response->folder().no_select()) co_return No("CANNOT", "Mailbox is \\Noselect");
  if ((args.items & imap::kStatusHighestModseq) != 0) session.EnableCondstore();
  session.out() += RenderStatus(response->folder(), args.items, AppendLimit(session));
  co_return Ok("STATUS completed");
}

}  // namespace posthouse::gateway
