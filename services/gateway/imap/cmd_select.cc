// SELECT, EXAMINE, CLOSE, UNSELECT.
#include <utility>

#include "absl/strings/str_cat.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/imap/mailbox_name.h"
#include "services/common/status/status.h"
#include "services/gateway/imap/commands.h"
#include "services/gateway/imap/session.h"

namespace posthouse::gateway {
namespace {

// The untagged responses of RFC 3501 §6.3.1, and RFC 7162 §3.1.2.
void AppendSelected(std::string& out, const Selected& view, uint32_t first_unseen_uid) {
  view.AppendFlagsLines(out);
  absl::StrAppend(&out, "* ", view.map().size(), " EXISTS\r\n* ", view.recent(), " RECENT\r\n");
  const uint32_t unseen = view.map().SequenceOf(first_unseen_uid);
  if (unseen != 0) absl::StrAppend(&out, "* OK [UNSEEN ", unseen, "] First unseen\r\n");
  absl::StrAppend(&out, "* OK [UIDVALIDITY ", view.uid_validity(), "] UIDs valid\r\n* OK [UIDNEXT ", view.uid_next(),
                  "] Predicted next UID\r\n* OK [HIGHESTMODSEQ ", view.modseq(), "] Highest\r\n");
}

void LeaveOld(ImapSession& session) {
  if (session.selected() == nullptr) return;
  session.Unselect();
  // RFC 9051 §7.1: what follows is about the new mailbox.
  session.out() += "* OK [CLOSED] Previous mailbox is closed\r\n";
}

}  // namespace

HandlerResult CmdSelect(ImapSession& session, imap::Command command) {
  imap::SelectArgs args = std::get<imap::SelectArgs>(std::move(command.args));
  LeaveOld(session);  // also when this one fails (RFC 9051 §6.3.2)
  if (args.qresync.has_value()) co_return Bad("QRESYNC is not offered");
  const std::optional<std::string> name = imap::DecodeMailboxName(args.mailbox, session.utf8());
  if (!name.has_value()) co_return No("NONEXISTENT", "No such mailbox");
  Backend& backend = session.shared().backend;

  mail::GetFolderRequest get;
  *get.mutable_account() = session.account();
  get.set_name(*name);
  const absl::StatusOr<mail::GetFolderResponse> folder = co_await backend.GetFolder(session.trace(), std::move(get));
  if (!folder.ok()) co_return ReplyFor(folder.status());
  if (folder->folder().no_select()) co_return No("CANNOT", "This name only holds other mailboxes");

  // Subscribed before the UIDs are read: a change in between is a hint, not a gap.
  std::unique_ptr<WatchHub::Subscription> subscription = session.Watch(folder->folder().folder_id());
  mail::ListUidsRequest list;
  *list.mutable_account() = session.account();
  list.set_folder_id(folder->folder().folder_id());
  const absl::StatusOr<mail::ListUidsResponse> uids = co_await backend.ListUids(session.trace(), std::move(list));
  if (!uids.ok()) co_return ReplyFor(uids.status());

  const bool read_only = command.name == "EXAMINE";
  session.Select(std::make_unique<Selected>(folder->folder().name(), read_only, *uids), std::move(subscription));
  AppendSelected(session.out(), *session.selected(), uids->first_unseen_uid());
  if (args.condstore) session.dialect().condstore = true;
  co_return OkWith(read_only ? "READ-ONLY" : "READ-WRITE", "Selected");
}

// RFC 9051 §6.4.2: removes \Deleted messages without a word, unless opened by EXAMINE.
HandlerResult CmdClose(ImapSession& session, imap::Command command) {
  Selected& view = *session.selected();
  if (!view.read_only()) {
    mail::ExpungeRequest request;
    *request.mutable_account() = session.account();
    request.set_folder_id(view.folder_id());
    const absl::StatusOr<mail::ExpungeResponse> response =
        co_await session.shared().backend.Expunge(session.trace(), std::move(request));
    if (!response.ok() && response.status().code() != absl::StatusCode::kNotFound) co_return ReplyFor(response.status());
  }
  session.Unselect();
  co_return Ok("Closed");
}

HandlerResult CmdUnselect(ImapSession& session, imap::Command command) {
  session.Unselect();
  co_return Ok("Unselected");
}

}  // namespace posthouse::gateway
