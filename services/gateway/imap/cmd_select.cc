// SELECT, EXAMINE, CLOSE, UNSELECT.
#include <utility>

#include "absl/strings/str_cat.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/ids/ids.h"
#include "services/common/status/status.h"
#include "services/common/uid_set/uid_set_proto.h"
#include "services/gateway/imap/commands.h"
#include "services/gateway/imap/session.h"
#include "services/mail_formats/imap/mailbox_name.h"

namespace posthouse::gateway {
namespace {

// The untagged responses of RFC 3501 §6.3.1, RFC 7162 §3.1.2 and RFC 8474 §4.2.
void AppendSelected(std::string& out, const Selected& view, Uid first_unseen) {
  view.AppendFlagsLines(out);
  absl::StrAppend(&out, "* ", view.map().size(), " EXISTS\r\n* ", view.recent(), " RECENT\r\n");
  const uint32_t unseen = view.map().SequenceOf(first_unseen);
  if (unseen != 0) absl::StrAppend(&out, "* OK [UNSEEN ", unseen, "] First unseen\r\n");
  absl::StrAppend(&out, "* OK [UIDVALIDITY ", view.uid_validity().value(), "] UIDs valid\r\n* OK [UIDNEXT ",
                  view.uid_next().value(), "] Predicted next UID\r\n* OK [HIGHESTMODSEQ ", view.modseq().value(),
                  "] Highest\r\n* OK [MAILBOXID (", view.folder_id().value(), ")] Mailbox id\r\n");
}

// Reports what changed since the client was here before, of the UIDs that it may know (RFC 7162
// §3.2.5.2). Messages that are removed meanwhile are still in the view; the next Sync() reports them.
Task<absl::Status> ReportEarlierChanges(ImapSession& session, const imap::QresyncArgs& args,
                                        const mail::GetChangesResponse& changes) {
  const Selected& view = *session.selected();
  UidSet known;  // UIDs that the client may know
  if (view.uid_next() > Uid(1)) known.Add(1, view.uid_next().value() - 1);
  if (args.known_uids.has_value()) known = known.Intersect(args.known_uids->Resolve(known.Max()));
  // If the change log does not reach back, every UID that the client may know may have vanished.
  const UidSet vanished = changes.full() ? known : known.Intersect(UidSetFromProto(changes.vanished()));
  const UidSet gone = vanished.Minus(view.map().uids());
  std::string& out = session.out();
  if (!gone.empty()) absl::StrAppend(&out, "* VANISHED (EARLIER) ", gone.ToString(), "\r\n");
  const mail::MessageRows& rows = changes.rows();
  for (int i = 0; i < rows.uid_size() && i < rows.flags_size() && i < rows.modseq_size(); ++i) {
    const Uid uid(rows.uid(i));
    const uint32_t sequence = view.map().SequenceOf(uid);
    if (sequence == 0 || Modseq(rows.modseq(i)) <= args.modseq || !known.Contains(uid)) continue;
    absl::StrAppend(&out, "* ", sequence, " FETCH (UID ", uid.value(), " ");
    view.AppendFlags(out, uid, rows.flags(i), i < rows.keywords_size() ? absl::string_view(rows.keywords(i)) : "");
    absl::StrAppend(&out, " MODSEQ (", rows.modseq(i), "))\r\n");
    PH_CO_RETURN_IF_ERROR(co_await session.FlushSlice());
  }
  co_return absl::OkStatus();
}

Task<absl::StatusOr<mail::GetChangesResponse>> ChangesAfter(ImapSession& session, Modseq modseq) {
  mail::GetChangesRequest request;
  *request.mutable_account() = session.account();
  request.set_folder_id(session.selected()->folder_id().value());
  request.set_after_modseq(modseq.value());
  co_return co_await session.shared().mailbox.GetChanges(session.trace(), std::move(request));
}

void CloseSelected(ImapSession& session) {
  if (session.selected() == nullptr) return;
  session.Unselect();
  // RFC 7162 §3.2.11: the responses that follow are about the new mailbox.
  session.out() += "* OK [CLOSED] Previous mailbox is closed\r\n";
}

}  // namespace

HandlerResult CmdSelect(ImapSession& session, imap::Command command) {
  imap::SelectArgs args = std::get<imap::SelectArgs>(std::move(command.args));
  if (args.qresync.has_value() && !session.dialect().qresync) co_return Bad("ENABLE QRESYNC first");  // RFC 7162 §3.2.5
  CloseSelected(session);  // also when this SELECT fails (RFC 9051 §6.3.2)
  const std::optional<std::string> name = imap::DecodeMailboxName(args.mailbox);
  if (!name.has_value()) co_return No("NONEXISTENT", "No such mailbox");
  MailboxClient& mailbox = session.shared().mailbox;

  mail::GetFolderRequest get;
  *get.mutable_account() = session.account();
  get.set_name(*name);
  const absl::StatusOr<mail::GetFolderResponse> folder = co_await mailbox.GetFolder(session.trace(), std::move(get));
  if (!folder.ok()) co_return ReplyFor(folder.status());
  if (folder->folder().no_select()) co_return No("CANNOT", "Mailbox is \\Noselect");

  mail::ListUidsRequest list;
  *list.mutable_account() = session.account();
  list.set_folder_id(folder->folder().folder_id());
  // RFC 3501 §6.3.2: EXAMINE must not cause messages to lose \Recent.
  const bool read_only = command.name == "EXAMINE";
  list.set_claim_recent(!read_only);
  const absl::StatusOr<mail::ListUidsResponse> uids = co_await mailbox.ListUids(session.trace(), std::move(list));
  if (!uids.ok()) co_return ReplyFor(uids.status());

  session.Select(std::make_unique<Selected>(read_only, *uids));
  AppendSelected(session.out(), *session.selected(), Uid(uids->first_unseen_uid()));
  if (args.condstore) session.dialect().condstore = true;
  // With another UIDVALIDITY the client's state is worthless: the plain responses show that.
  // If the changes cannot be read, SELECT fails.
  if (args.qresync.has_value() && args.qresync->uid_validity == session.selected()->uid_validity()) {
    const absl::StatusOr<mail::GetChangesResponse> changes = co_await ChangesAfter(session, args.qresync->modseq);
    if (!changes.ok()) {
      session.Unselect();
      co_return ReplyFor(changes.status());
    }
    PH_CO_RETURN_IF_ERROR(co_await ReportEarlierChanges(session, *args.qresync, *changes));
  }
  co_return OkWith(read_only ? "READ-ONLY" : "READ-WRITE", read_only ? "EXAMINE completed" : "SELECT completed");
}

// RFC 9051 §6.4.2: removes \Deleted messages without EXPUNGE responses, unless opened by EXAMINE.
HandlerResult CmdClose(ImapSession& session, imap::Command command) {
  Selected& view = *session.selected();
  if (!view.read_only()) {
    mail::ExpungeRequest request;
    *request.mutable_account() = session.account();
    request.set_folder_id(view.folder_id().value());
    const absl::StatusOr<mail::ExpungeResponse> response =
        co_await session.shared().mailbox.Expunge(session.trace(), std::move(request));
    if (!response.ok() && response.status().code() != absl::StatusCode::kNotFound)
      co_return ReplyForChange(response.status());
  }
  session.Unselect();
  co_return Ok("CLOSE completed");
}

HandlerResult CmdUnselect(ImapSession& session, imap::Command command) {
  session.Unselect();
  co_return Ok("UNSELECT completed");
}

}  // namespace posthouse::gateway
