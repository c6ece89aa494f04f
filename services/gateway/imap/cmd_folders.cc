// CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE.
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/gateway/imap/commands.h"
#include "services/gateway/imap/session.h"
#include "services/mail_formats/imap/mailbox_name.h"

namespace posthouse::gateway {
namespace {

Reply BadName() { return No("CANNOT", "Invalid mailbox name"); }

// The attribute as RFC 6154 §2 or RFC 8457 spells it; "": it cannot be given to a mailbox.
std::string SpecialUse(absl::string_view name) {
  for (const char* use : {"\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash", "\\Important"}) {
    if (absl::EqualsIgnoreCase(name, use)) return use;
  }
  return "";
}

// An account with as many folders or subscriptions as it may have gets NO [LIMIT] (RFC 9051 §7.1).
Reply ReplyForFolder(const absl::Status& status) {
  if (status.code() == absl::StatusCode::kOutOfRange) return No("LIMIT", "Too many folders or subscriptions");
  return ReplyForChange(status);
}

// Compares ids, since names move: another client may have renamed the selected mailbox.
Task<bool> IsSelected(ImapSession& session, std::string name) {
  if (session.selected() == nullptr) co_return false;
  mail::GetFolderRequest get;
  *get.mutable_account() = session.account();
  get.set_name(std::move(name));
  const absl::StatusOr<mail::GetFolderResponse> folder =
      co_await session.shared().mailbox.GetFolder(session.trace(), std::move(get));
  co_return folder.ok() && folder->folder().folder_id() == session.selected()->folder_id().value();
}

}  // namespace

HandlerResult CmdCreate(ImapSession& session, imap::Command command) {
  const imap::CreateArgs args = std::get<imap::CreateArgs>(std::move(command.args));
  const std::optional<std::string> name = imap::DecodeMailboxName(args.mailbox);
  if (!name.has_value()) co_return BadName();
  mail::CreateFolderRequest request;
  *request.mutable_account() = session.account();
  request.set_name(*name);
  if (args.special_use.size() > 1) co_return No("USEATTR", "Only one special-use attribute is allowed");
  if (!args.special_use.empty()) {
    request.set_special_use(SpecialUse(args.special_use[0]));
    if (request.special_use().empty()) co_return No("USEATTR", "Special-use attribute is not supported");
  }
  const absl::StatusOr<mail::CreateFolderResponse> response =
      co_await session.shared().mailbox.CreateFolder(session.trace(), std::move(request));
  if (!response.ok()) co_return ReplyForFolder(response.status());
  if (response->folder().folder_id().empty()) co_return Ok("CREATE completed");
  // RFC 8474 §4.1
  co_return OkWith(absl::StrCat("MAILBOXID (", response->folder().folder_id(), ")"), "CREATE completed");
}

HandlerResult CmdDelete(ImapSession& session, imap::Command command) {
  const std::optional<std::string> name = imap::DecodeMailboxName(std::get<imap::MailboxArgs>(command.args).mailbox);
  if (!name.has_value()) co_return No("NONEXISTENT", "No such mailbox");
  const bool own = co_await IsSelected(session, *name);
  mail::DeleteFolderRequest request;
  *request.mutable_account() = session.account();
  request.set_name(*name);
  const absl::StatusOr<mail::DeleteFolderResponse> response =
      co_await session.shared().mailbox.DeleteFolder(session.trace(), std::move(request));
  if (!response.ok()) co_return ReplyForChange(response.status());
  // This session has no mailbox selected any more. Others that had it open get BYE.
  if (own) session.Unselect();
  co_return Ok("DELETE completed");
}

HandlerResult CmdRename(ImapSession& session, imap::Command command) {
  const imap::RenameArgs args = std::get<imap::RenameArgs>(std::move(command.args));
  const std::optional<std::string> from = imap::DecodeMailboxName(args.from);
  const std::optional<std::string> to = imap::DecodeMailboxName(args.to);
  if (!from.has_value()) co_return No("NONEXISTENT", "No such mailbox");
  if (!to.has_value()) co_return BadName();
  mail::RenameFolderRequest request;
  *request.mutable_account() = session.account();
  request.set_from(*from);
  request.set_to(*to);
  const absl::StatusOr<mail::RenameFolderResponse> response =
      co_await session.shared().mailbox.RenameFolder(session.trace(), std::move(request));
  if (!response.ok()) co_return ReplyForFolder(response.status());
  co_return Ok("RENAME completed");
}

HandlerResult CmdSubscribe(ImapSession& session, imap::Command command) {
  const std::optional<std::string> name = imap::DecodeMailboxName(std::get<imap::MailboxArgs>(command.args).mailbox);
  if (!name.has_value()) co_return BadName();
  mail::SubscribeRequest request;
  *request.mutable_account() = session.account();
  request.set_name(*name);
  request.set_subscribed(command.name == "SUBSCRIBE");
  const absl::StatusOr<mail::SubscribeResponse> response =
      co_await session.shared().mailbox.Subscribe(session.trace(), std::move(request));
  if (!response.ok()) co_return ReplyForFolder(response.status());
  co_return Ok(absl::StrCat(command.name, " completed"));
}

}  // namespace posthouse::gateway
