// CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE.
#include <utility>

#include "absl/strings/match.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/mail_formats/imap/mailbox_name.h"
#include "services/gateway/imap/commands.h"
#include "services/gateway/imap/session.h"

namespace posthouse::gateway {
namespace {

Reply BadName() { return No("CANNOT", "This name cannot be used"); }

// RFC 6154 §2, and \Important of RFC 8457. "" : not one that can be given.
std::string SpecialUse(absl::string_view name) {
  for (const char* use : {"\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash", "\\Important"}) {
    if (absl::EqualsIgnoreCase(name, use)) return use;
  }
  return "";
}

// By its id: the selected mailbox may have got another name, and its old name another mailbox.
Task<bool> IsSelected(ImapSession& session, std::string name) {
  if (session.selected() == nullptr) co_return false;
  mail::GetFolderRequest get;
  *get.mutable_account() = session.account();
  get.set_name(std::move(name));
  const absl::StatusOr<mail::GetFolderResponse> folder =
      co_await session.shared().backend.GetFolder(session.trace(), std::move(get));
  co_return folder.ok() && folder->folder().folder_id() == session.selected()->folder_id();
}

}  // namespace

HandlerResult CmdCreate(ImapSession& session, imap::Command command) {
  const imap::CreateArgs args = std::get<imap::CreateArgs>(std::move(command.args));
  const std::optional<std::string> name = imap::DecodeMailboxName(args.mailbox, session.utf8());
  if (!name.has_value()) co_return BadName();
  mail::CreateFolderRequest request;
  *request.mutable_account() = session.account();
  request.set_name(*name);
  if (args.special_use.size() > 1) co_return No("USEATTR", "One special use only");
  if (!args.special_use.empty()) {
    request.set_special_use(SpecialUse(args.special_use[0]));
    if (request.special_use().empty()) co_return No("USEATTR", "No such special use");
  }
  const absl::StatusOr<mail::CreateFolderResponse> response =
      co_await session.shared().backend.CreateFolder(session.trace(), std::move(request));
  if (!response.ok()) co_return ReplyFor(response.status());
  co_return Ok("Created");
}

HandlerResult CmdDelete(ImapSession& session, imap::Command command) {
  const std::optional<std::string> name =
      imap::DecodeMailboxName(std::get<imap::MailboxArgs>(command.args).mailbox, session.utf8());
  if (!name.has_value()) co_return No("NONEXISTENT", "No such mailbox");
  const bool own = co_await IsSelected(session, *name);
  mail::DeleteFolderRequest request;
  *request.mutable_account() = session.account();
  request.set_name(*name);
  const absl::StatusOr<mail::DeleteFolderResponse> response =
      co_await session.shared().backend.DeleteFolder(session.trace(), std::move(request));
  if (!response.ok()) co_return ReplyFor(response.status());
  // The own mailbox is simply not selected any more; others are told with BYE.
  if (own) session.Unselect();
  co_return Ok("Deleted");
}

HandlerResult CmdRename(ImapSession& session, imap::Command command) {
  const imap::RenameArgs args = std::get<imap::RenameArgs>(std::move(command.args));
  const std::optional<std::string> from = imap::DecodeMailboxName(args.from, session.utf8());
  const std::optional<std::string> to = imap::DecodeMailboxName(args.to, session.utf8());
  if (!from.has_value()) co_return No("NONEXISTENT", "No such mailbox");
  if (!to.has_value()) co_return BadName();
  mail::RenameFolderRequest request;
  *request.mutable_account() = session.account();
  request.set_from(*from);
  request.set_to(*to);
  const absl::StatusOr<mail::RenameFolderResponse> response =
      co_await session.shared().backend.RenameFolder(session.trace(), std::move(request));
  if (!response.ok()) co_return ReplyFor(response.status());
  co_return Ok("Renamed");
}

HandlerResult CmdSubscribe(ImapSession& session, imap::Command command) {
  const std::optional<std::string> name =
      imap::DecodeMailboxName(std::get<imap::MailboxArgs>(command.args).mailbox, session.utf8());
  if (!name.has_value()) co_return BadName();
  mail::SubscribeRequest request;
  *request.mutable_account() = session.account();
  request.set_name(*name);
  request.set_subscribed(command.name == "SUBSCRIBE");
  const absl::StatusOr<mail::SubscribeResponse> response =
      co_await session.shared().backend.Subscribe(session.trace(), std::move(request));
  if (!response.ok()) co_return ReplyFor(response.status());
  co_return Ok("Done");
}

}  // namespace posthouse::gateway
