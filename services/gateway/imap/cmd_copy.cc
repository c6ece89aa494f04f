// COPY, MOVE, UID COPY, UID MOVE.
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/status/status.h"
#include "services/common/uid_set/uid_set_proto.h"
#include "services/gateway/imap/commands.h"
#include "services/gateway/imap/session.h"
#include "services/mail_formats/imap/mailbox_name.h"

namespace posthouse::gateway {
namespace {

std::string CopyUid(const mail::CopyResponse& response) {
  std::string code = absl::StrCat("COPYUID ", response.uid_validity(), " ");
  // RFC 4315 §3: the sets correspond item by item, so neither is sorted.
  AppendRanges(code, OrderedRanges(response.from_uids()));
  code += ' ';
  AppendRanges(code, OrderedRanges(response.to_uids()));
  return code;
}

}  // namespace

HandlerResult CmdCopy(ImapSession& session, imap::Command command) {
  const imap::CopyArgs args = std::get<imap::CopyArgs>(std::move(command.args));
  const bool uid = absl::StartsWith(command.name, "UID ");
  const bool move = absl::EndsWith(command.name, "MOVE");
  Selected& view = *session.selected();
  if (move && view.read_only()) co_return No("CANNOT", "Mailbox is read-only");
  const absl::StatusOr<UidSet> uids = session.Resolve(args.set, uid);
  if (!uids.ok()) co_return Bad(uids.status().message());
  const std::optional<std::string> name = imap::DecodeMailboxName(args.mailbox);
  if (!name.has_value()) co_return No("CANNOT", "Invalid mailbox name");
  mail::GetFolderRequest get;
  *get.mutable_account() = session.account();
  get.set_name(*name);
  const absl::StatusOr<mail::GetFolderResponse> target =
      co_await session.shared().mailbox.GetFolder(session.trace(), std::move(get));
  if (!target.ok()) co_return ReplyForTarget(target.status());
  if (target->folder().no_select()) co_return No("CANNOT", "Mailbox is \\Noselect");
  // A UID that does not exist is no error (RFC 9051 §6.4.9), and "$" has only what exists (RFC 5182
  // §2.1). Sequence numbers name messages that the client sees: it gets all of them or none.
  const bool all = !uid && !args.set.saved_result;
  if (uids->empty()) co_return Ok("No matching messages");

  mail::CopyRequest request;
  *request.mutable_account() = session.account();
  request.set_from_folder_id(view.folder_id().value());
  UidSetToProto(*uids, request.mutable_uids());
  request.set_to_folder_id(target->folder().folder_id());
  request.set_move(move);
  request.set_all(all);
  request.set_operation_id(NewOperationId());
  const absl::StatusOr<mail::CopyResponse> response =
      co_await session.shared().mailbox.Copy(session.trace(), std::move(request));
  if (!response.ok()) co_return ReplyForTarget(response.status());
  if (response->gone()) {
    // RFC 2180 §4.4.1. The EXPUNGE responses come before the tagged reply.
    PH_CO_RETURN_IF_ERROR(co_await session.Sync());
    co_return No("EXPUNGEISSUED", move ? "Some of the messages were expunged; nothing was moved"
                                       : "Some of the messages were expunged; nothing was copied");
  }
  if (response->to_uids().empty()) co_return Ok("No matching messages");
  if (!move) co_return OkWith(CopyUid(*response), "COPY completed");
  // RFC 6851 §4.3: COPYUID, then EXPUNGE, then the tagged OK.
  absl::StrAppend(&session.out(), "* OK [", CopyUid(*response), "] Moved\r\n");
  if (target->folder().folder_id() == view.folder_id().value()) PH_CO_RETURN_IF_ERROR(co_await session.Sync());
  if (session.selected() != nullptr) {
    session.selected()->ApplyOwnExpunge(UidSetFromProto(response->from_uids()), response->from_state());
  }
  co_return Ok("MOVE completed");
}

}  // namespace posthouse::gateway
