// STORE, UID STORE.
#include <utility>

#include "absl/strings/str_cat.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/ids/ids.h"
#include "services/common/status/status.h"
#include "services/common/uid_set/uid_set_proto.h"
#include "services/gateway/imap/commands.h"
#include "services/gateway/imap/session.h"

namespace posthouse::gateway {
namespace {

mail::StoreFlagsRequest::Mode ModeOf(imap::StoreArgs::Mode mode) {
  switch (mode) {
    case imap::StoreArgs::Mode::kReplace:
      return mail::StoreFlagsRequest::MODE_REPLACE;
    case imap::StoreArgs::Mode::kAdd:
      return mail::StoreFlagsRequest::MODE_ADD;
    case imap::StoreArgs::Mode::kRemove:
      return mail::StoreFlagsRequest::MODE_REMOVE;
  }
  return mail::StoreFlagsRequest::MODE_UNSPECIFIED;
}

// RFC 9051 §6.4.6. With CONDSTORE the MODSEQ is reported even with .SILENT, and so are the flags of
// `modified` messages, which failed UNCHANGEDSINCE: the client does not know them (RFC 7162 §3.1.3).
Task<absl::Status> ReportFlags(ImapSession& session, const mail::MessageRows& rows, bool uid, bool silent,
                               const UidSet& modified) {
  const Selected& view = *session.selected();
  const bool modseq = session.dialect().condstore;
  if (silent && !modseq) co_return absl::OkStatus();
  std::string& out = session.out();
  for (int i = 0; i < rows.uid_size(); ++i) {
    const Uid message(rows.uid(i));
    const uint32_t sequence = view.map().SequenceOf(message);
    if (sequence == 0) continue;
    absl::StrAppend(&out, "* ", sequence, " FETCH (");
    const size_t start = out.size();
    if (uid || session.dialect().qresync) absl::StrAppend(&out, "UID ", message.value());
    if ((!silent || modified.Contains(message)) && i < rows.flags_size()) {
      if (out.size() > start) out += ' ';
      view.AppendFlags(out, message, rows.flags(i),
                       i < rows.keywords_size() ? absl::string_view(rows.keywords(i)) : "");
    }
    if (modseq && i < rows.modseq_size()) {
      absl::StrAppend(&out, out.size() > start ? " " : "", "MODSEQ (", rows.modseq(i), ")");
    }
    out += ")\r\n";
    PH_CO_RETURN_IF_ERROR(co_await session.FlushSlice());
  }
  co_return absl::OkStatus();
}

}  // namespace

HandlerResult CmdStore(ImapSession& session, imap::Command command) {
  const imap::StoreArgs args = std::get<imap::StoreArgs>(std::move(command.args));
  const bool uid = command.name == "UID STORE";
  Selected& view = *session.selected();
  if (view.read_only()) co_return No("CANNOT", "Mailbox is read-only");
  const absl::StatusOr<UidSet> uids = session.Resolve(args.set, uid);
  if (!uids.ok()) co_return Bad(uids.status().message());
  if (args.unchanged_since.has_value()) session.EnableCondstore();
  if (uids->empty()) co_return Ok("No matching messages");

  mail::StoreFlagsRequest request;
  *request.mutable_account() = session.account();
  request.set_folder_id(view.folder_id().value());
  UidSetToProto(*uids, request.mutable_uids());
  request.set_mode(ModeOf(args.mode));
  request.set_flags(args.flags.system);
  for (const std::string& keyword : args.flags.keywords) request.add_keywords(keyword);
  if (args.unchanged_since.has_value()) {
    request.set_has_unchanged_since(true);
    request.set_unchanged_since(args.unchanged_since->value());
  }
  const absl::StatusOr<mail::StoreFlagsResponse> response =
      co_await session.shared().mailbox.StoreFlags(session.trace(), std::move(request));
  if (response.status().code() == absl::StatusCode::kOutOfRange)
    co_return No("LIMIT", "Too many keywords in this mailbox");
  if (!response.ok()) co_return ReplyForChange(response.status());

  view.AppendNewKeywords(response->state(), &session.out());
  // .SILENT means that the client knows the new flags. If another session has changed flags, it does
  // not (RFC 9051 §6.4.6), and with CONDSTORE it would keep a MODSEQ for flags that it never saw.
  // UNCHANGEDSINCE says that it has seen them.
  const bool silent = args.silent && (args.unchanged_since.has_value() || !view.OthersChanged(*response));
  const UidSet modified = UidSetFromProto(response->modified());
  PH_CO_RETURN_IF_ERROR(co_await ReportFlags(session, response->rows(), uid, silent, modified));
  view.ApplyOwnStore(*response);
  // RFC 2180 §4.2: a STORE by number that asked for the new flags fails if others have expunged some
  // of its messages. With .SILENT, by UID and for "$" (RFC 5182 §2.1) these are no error.
  const bool all = !uid && !args.silent && !args.set.saved_result;
  const bool gone = all && static_cast<uint64_t>(response->rows().uid_size()) < uids->Count();
  const Reply::Kind kind = gone ? Reply::Kind::kNo : Reply::Kind::kOk;
  if (!modified.empty()) {
    const UidSet named = uid ? modified : view.map().ToSequences(modified);
    co_return Reply(kind, absl::StrCat("MODIFIED ", named.ToString()), "Conditional STORE failed");
  }
  if (gone) co_return No("EXPUNGEISSUED", "Some messages were expunged; issue NOOP");
  co_return Ok("STORE completed");
}

}  // namespace posthouse::gateway
