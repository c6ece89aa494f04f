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
  if (view.read_only()) co_return No("CANNOT", "The mailbox is open read-only");
  mail::ExpungeRequest request;
  *request.mutable_account() = session.account();
  request.set_folder_id(view.folder_id());
  if (const auto* args = std::get_if<imap::UidSetArgs>(&command.args)) {
    const absl::StatusOr<imap::NumberSet> uids = session.Resolve(args->set, /*uid=*/true);
    if (!uids.ok()) co_return Bad(uids.status().message());
    if (uids->empty()) co_return Ok("Nothing to expunge");
    UidSetToProto(*uids, request.mutable_uids());
  }
  const absl::StatusOr<mail::ExpungeResponse> response =
      co_await session.shared().backend.Expunge(session.trace(), std::move(request));
  if (!response.ok()) co_return ReplyFor(response.status());
  view.OwnExpunge(UidSetFromProto(response->expunged()), response->state());  // told before the tagged reply
  if (!session.dialect().qresync || response->expunged().empty()) co_return Ok("Expunged");
  // RFC 7162 §3.2.7: the client will resume from this number, so everything up to it
  // must have been told: what others did is read first.
  PH_CO_RETURN_IF_ERROR(co_await session.Look());
  if (session.selected() == nullptr) co_return Ok("Expunged");
  co_return OkWith(absl::StrCat("HIGHESTMODSEQ ", session.selected()->modseq()), "Expunged");
}

}  // namespace posthouse::gateway
