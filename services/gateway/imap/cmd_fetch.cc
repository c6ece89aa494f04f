// FETCH, UID FETCH.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/ids/ids.h"
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

// For the text of a reply: the whole of a long set fits no line.
std::string Shown(const UidSet& uids) {
  constexpr size_t kMaxShown = 200;
  const std::string all = uids.ToString();
  return all.size() <= kMaxShown ? all : absl::StrCat(all.substr(0, all.rfind(',', kMaxShown)), " and more");
}

// Sends one chunk slice by slice. A slow client slows the stream.
Task<absl::Status> SendChunk(ImapSession& session, FetchRender& render, mail::FetchResponse chunk) {
  render.Take(std::move(chunk));
  while (true) {
    PH_CO_ASSIGN_OR_RETURN(const bool more, render.Next(session.out(), ImapSession::kSlice));
    PH_CO_RETURN_IF_ERROR(co_await session.FlushSlice());
    if (!more) co_return absl::OkStatus();
  }
}

// Runs the stream. An error between messages becomes the reply. An error inside a literal ends
// the connection, since the client waits for the announced bytes.
// `expected`: the number of messages that must be answered; 0 when any may be gone.
HandlerResult Stream(ImapSession& session, const imap::FetchArgs& args, bool uid, mail::FetchRequest request,
                     uint64_t expected) {
  const bool set_seen = request.set_seen();
  FetchRender render(args, uid, *session.selected(), session.dialect(), set_seen);
  FetchStream stream = session.shared().mailbox.Fetch(session.trace(), std::move(request));
  UidSet damaged;
  while (true) {
    absl::StatusOr<std::optional<mail::FetchResponse>> chunk = co_await stream.Read();
    if (!chunk.ok() || !chunk->has_value()) {
      const absl::Status whole = render.Finish();
      if (!chunk.ok()) {
        LOG_EVENT(kInfo, "fetch_failed").Err(chunk.status()).Trace(session.trace().trace_id);
      }
      PH_CO_RETURN_IF_ERROR(whole);
      if (!chunk.ok()) co_return ReplyForChange(chunk.status());
      // The others have been sent; the code is of RFC 5530 §3.
      damaged = damaged.Intersect(session.selected()->map().uids());
      if (!damaged.empty()) {
        co_return No("CORRUPTION", absl::StrCat("Stored data of messages with UID ", Shown(damaged),
                                                " is damaged; contact the administrator"));
      }
      // Messages that others expunged are left out, and EXPUNGE may not be sent now. The client named
      // them by number, and OK would mean that it got them (RFC 2180 §4.1.2, §4.1.3; RFC 5530 §3).
      if (render.answered() < expected) co_return No("EXPUNGEISSUED", "Some messages were expunged; issue NOOP");
      co_return Ok("Fetched");  // scripts take a line with " FETCH " for a response
    }
    // RFC 7162 §3.2.10: VANISHED precedes the FETCH responses. Messages that the view still has are
    // reported later.
    const UidSet gone = UidSetFromProto((*chunk)->vanished()).Minus(session.selected()->map().uids());
    if (!gone.empty()) absl::StrAppend(&session.out(), "* VANISHED (EARLIER) ", gone.ToString(), "\r\n");
    if (!(*chunk)->damaged().empty()) damaged = damaged.Union(UidSetFromProto((*chunk)->damaged()));
    if (set_seen) session.selected()->MarkReported((*chunk)->rows());
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
  // "UID FETCH n:*" must show mail that has just arrived: UIDs beyond the view are no error
  // (RFC 9051 §6.4.9), so the client could not know that it misses something.
  if (uid && !args.set.saved_result && args.set.ReachesBeyond(view.map().max_uid().value())) {
    PH_CO_RETURN_IF_ERROR(co_await session.Sync());
    if (session.selected() == nullptr) co_return No("NONEXISTENT", "Mailbox was deleted");
    PH_CO_RETURN_IF_ERROR(co_await session.Report(/*expunges=*/false));
  }
  const absl::StatusOr<UidSet> uids = session.Resolve(args.set, uid);
  if (!uids.ok()) co_return Bad(uids.status().message());
  // Vanished messages are named by UID, too. For them "*" is the largest UID ever given, since the
  // last message may have vanished.
  const UidSet asked = args.vanished && !args.set.saved_result
                           ? uids->Union(args.set.Resolve(std::max(view.uid_next(), Uid(1)).value() - 1))
                           : *uids;
  if (asked.empty()) co_return Ok("No matching messages");

  mail::FetchRequest request;
  *request.mutable_account() = session.account();
  request.set_folder_id(view.folder_id().value());
  UidSetToProto(asked, request.mutable_uids());
  request.set_vanished(args.vanished);
  FillFetchRequest(args, session.dialect(), SetsSeen(args, view), &request);
  // A UID that is gone is no error (RFC 9051 §6.4.9), and neither is "$" (RFC 5182 §2.1).
  const bool all = !uid && !args.set.saved_result && !args.changed_since.has_value();
  const uint64_t expected = all ? asked.Count() : 0;
  co_return co_await Stream(session, args, uid, std::move(request), expected);
}

}  // namespace posthouse::gateway
