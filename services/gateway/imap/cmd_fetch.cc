// FETCH, UID FETCH.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/uid_set/uid_set_proto.h"
#include "services/gateway/imap/commands.h"
#include "services/gateway/imap/fetch_render.h"
#include "services/gateway/imap/session.h"

namespace posthouse::gateway {
namespace {

bool SetsSeen(const imap::FetchArgs& args, const Selected& view) {
  return !view.read_only() && std::any_of(args.sections.begin(), args.sections.end(),
                                          [](const imap::FetchSection& section) { return !section.peek; });
}

// One chunk to the client, slice by slice: its pace is the stream's pace.
Task<absl::Status> SendChunk(ImapSession& session, FetchRender& render, mail::FetchResponse chunk) {
  render.Take(std::move(chunk));
  while (true) {
    PH_CO_ASSIGN_OR_RETURN(const bool more, render.Next(session.out(), ImapSession::kSlice));
    PH_CO_RETURN_IF_ERROR(co_await session.FlushSlice());
    if (!more) co_return absl::OkStatus();
  }
}

// Runs the stream. An error of the service before anything was begun is a reply; one
// in the middle of a literal ends the connection, for the client waits for its bytes.
// `expected`: how many messages ought to be answered; 0 when that is not known.
HandlerResult Stream(ImapSession& session, const imap::FetchArgs& args, bool uid, mail::FetchRequest request,
                     uint64_t expected) {
  const bool set_seen = request.set_seen();
  FetchRender render(args, uid, *session.selected(), session.dialect(), set_seen);
  const std::unique_ptr<FetchStream> stream = session.shared().backend.Fetch(session.trace(), std::move(request));
  if (stream == nullptr) co_return ReplyFor(absl::UnavailableError("unknown mailbox shard"));
  while (true) {
    absl::StatusOr<std::optional<mail::FetchResponse>> chunk = co_await stream->Read();
    if (!chunk.ok() || !chunk->has_value()) {
      const absl::Status whole = render.Finish();
      if (!chunk.ok()) {
        LOG_EVENT(kInfo, "fetch_failed").Err(chunk.status()).Trace(session.trace().trace_id);
      }
      PH_CO_RETURN_IF_ERROR(whole);
      if (!chunk.ok()) co_return ReplyFor(chunk.status());
      // RFC 5530 §3, RFC 2180 §4.1.2: what others expunged is left out until the client
      // may be told.
      if (render.answered() < expected) co_return OkWith("EXPUNGEISSUED", "Some are gone; NOOP tells which");
      co_return Ok("Fetched");
    }
    // RFC 7162 §3.2.10: before the FETCH responses; those the view still has come later.
    const imap::NumberSet gone = UidSetFromProto((*chunk)->vanished()).Minus(session.selected()->map().uids());
    if (!gone.empty()) absl::StrAppend(&session.out(), "* VANISHED (EARLIER) ", gone.ToString(), "\r\n");
    if (set_seen) session.selected()->Told((*chunk)->rows());
    PH_CO_RETURN_IF_ERROR(co_await SendChunk(session, render, *std::move(*chunk)));
  }
}

}  // namespace

HandlerResult CmdFetch(ImapSession& session, imap::Command command) {
  const imap::FetchArgs args = std::get<imap::FetchArgs>(std::move(command.args));
  const bool uid = command.name == "UID FETCH";
  Selected& view = *session.selected();
  // RFC 7162 §3.2.6
  if (args.vanished && (!uid || !args.changed_since.has_value() || !session.dialect().qresync)) {
    co_return Bad("VANISHED needs UID FETCH, CHANGEDSINCE and ENABLE QRESYNC");
  }
  if (args.modseq || args.changed_since.has_value()) session.EnableCondstore();
  // "UID FETCH n:*" must show what others put there (RFC 9051 §6.4.9: UIDs beyond
  // the view are no error, so the client cannot know that it misses something).
  if (uid && !args.set.saved_result && args.set.ReachesBeyond(view.map().max_uid())) {
    PH_CO_RETURN_IF_ERROR(co_await session.Look());
    if (session.selected() == nullptr) co_return No("NONEXISTENT", "The mailbox was deleted");
    PH_CO_RETURN_IF_ERROR(co_await session.Announce(/*expunges=*/false));
  }
  const absl::StatusOr<imap::NumberSet> uids = session.Resolve(args.set, uid);
  if (!uids.ok()) co_return Bad(uids.status().message());
  // Those that vanished are asked for by their UIDs, too; to them "*" is the largest UID
  // ever given, for the last message may be among them.
  const imap::NumberSet asked = args.vanished && !args.set.saved_result
                                    ? uids->Union(args.set.Resolve(std::max(view.uid_next(), 1u) - 1))
                                    : *uids;
  if (asked.empty()) co_return Ok("Nothing to fetch");

  mail::FetchRequest request;
  *request.mutable_account() = session.account();
  request.set_folder_id(view.folder_id());
  UidSetToProto(asked, request.mutable_uids());
  request.set_vanished(args.vanished);
  FillFetchRequest(args, session.dialect(), SetsSeen(args, view), &request);
  const uint64_t expected = args.changed_since.has_value() ? 0 : asked.Count();
  co_return co_await Stream(session, args, uid, std::move(request), expected);
}

}  // namespace posthouse::gateway
