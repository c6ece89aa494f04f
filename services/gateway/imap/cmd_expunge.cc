// EXPUNGE, UID EXPUNGE (RFC 4315).
#include <utility>

#include "absl/strings/str_cat.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/status/status.h"
#include "services/common/uid_set/uid_set_proto.h"
#include "services/gateway/imap/commands.h"
#include "services/gateway/imap/session.h"

namespace posthouse::gateway {

HandlerResult CmdExpunge(ImapSession& session, imap::Command command) {
  Selected& view = *session.selected();
  if (view.read_only()) co_return No("CANNOT", "Mailbox is read-only");
  mail::ExpungeRequest request;
  *request.mutable_account() = session.account();
  request.set_folder_id(view.folder_id().value());
  if (const auto* args = std::get_if<imap::UidSetArgs>(&command.args)) {
    const absl::StatusOr<UidSet> uids = session.Resolve(args->set, /*uid=*/true);
    if (!uids.ok()) co_return Bad(uids.status().message());
    if (uids->empty()) co_return Ok("No matching messages");
    UidSetToProto(*uids, request.mutable_uids());
  }
  const absl::StatusOr<mail::ExpungeResponse> response =
      co_await session.shared().mailbox.Expunge(session.trace(), std::move(request));
  if (!response.ok()) co_return ReplyForChange(response.status());
  view.ApplyOwnExpunge(UidSetFromProto(response->expunged()), response->state());
  if (!session.dialect().qresync || response->expunged().empty()) co_return Ok("EXPUNGE completed");
  // RFC 7162 §3.2.7: the client will resume from this number, so changes of others up to it are
  // read, and reported before the tagged reply.
  PH_CO_RETURN_IF_ERROR(co_await session.Sync());
  if (session.selected() == nullptr) co_return Ok("EXPUNGE completed");
  co_return OkWith(absl::StrCat("HIGHESTMODSEQ ", session.selected()->modseq().value()), "EXPUNGE completed");
}

}  // namespace posthouse::gateway
