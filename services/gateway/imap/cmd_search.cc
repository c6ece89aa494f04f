// SEARCH, UID SEARCH, with ESEARCH (RFC 4731) and SEARCHRES (RFC 5182).
#include <algorithm>
#include <utility>

#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/ids/ids.h"
#include "services/common/status/status.h"
#include "services/common/uid_set/uid_set_proto.h"
#include "services/gateway/imap/commands.h"
#include "services/gateway/imap/search_request.h"
#include "services/gateway/imap/session.h"

namespace posthouse::gateway {
namespace {

// The messages of `found` that the result options name. SAVE keeps them, too (RFC 5182 §2.1).
UidSet Reported(const imap::SearchArgs& args, const UidSet& found) {
  if (args.return_all || args.return_count || (!args.return_min && !args.return_max)) return found;
  UidSet saved;
  if (found.empty()) return saved;
  if (args.return_min) saved.Add(found.Min());
  if (args.return_max) saved.Add(found.Max());
  return saved;
}

// RFC 4731 §3.2: MODSEQ covers the messages that are reported: the first and the last one when
// only MIN and MAX are asked for.
Task<absl::StatusOr<Modseq>> HighestModseq(ImapSession& session, const UidSet uids) {
  mail::FetchRequest request;
  *request.mutable_account() = session.account();
  request.set_folder_id(session.selected()->folder_id().value());
  UidSetToProto(uids, request.mutable_uids());
  request.set_modseq(true);
  FetchStream stream = session.shared().mailbox.Fetch(session.trace(), std::move(request));
  Modseq highest;
  while (true) {
    PH_CO_ASSIGN_OR_RETURN(const std::optional<mail::FetchResponse> chunk, co_await stream.Read());
    if (!chunk.has_value()) co_return highest;
    for (const uint64_t modseq : chunk->rows().modseq()) highest = std::max(highest, Modseq(modseq));
  }
}

}  // namespace

HandlerResult CmdSearch(ImapSession& session, imap::Command command) {
  const imap::SearchArgs args = std::get<imap::SearchArgs>(std::move(command.args));
  const bool uid = command.name == "UID SEARCH";
  if (!IsKnownCharset(args.charset)) {
    if (args.return_save) session.saved_search() = UidSet();
    co_return No("BADCHARSET (US-ASCII UTF-8)", "Charset is not supported");
  }
  if (args.uses_modseq) session.EnableCondstore();
  mail::SearchRequest request;
  *request.mutable_account() = session.account();
  request.set_folder_id(session.selected()->folder_id().value());
  const absl::Status translated =
      TranslateSearch(args.key, *session.selected(), session.saved_search(), request.mutable_key());
  if (!translated.ok()) co_return Bad(translated.message());
  const absl::StatusOr<mail::SearchResponse> response =
      co_await session.shared().mailbox.Search(session.trace(), std::move(request));
  if (!response.ok()) {
    if (args.return_save) session.saved_search() = UidSet();  // RFC 5182 §2.1
    co_return ReplyFor(response.status());
  }
  // Messages that the client does not know yet are left out.
  const SequenceMap& map = session.selected()->map();
  const UidSet found = map.uids().Intersect(UidSetFromProto(response->uids()));
  const UidSet reported = Reported(args, found);
  Modseq modseq(response->highest_modseq());
  if (args.uses_modseq && reported.Count() < found.Count()) {
    const absl::StatusOr<Modseq> highest = co_await HighestModseq(session, reported);
    if (!highest.ok()) co_return ReplyFor(highest.status());
    modseq = highest->empty() ? modseq : *highest;  // empty: they have just been expunged
  }
  if (args.return_save) session.saved_search() = reported;
  SearchAnswer answer(args, command.tag, uid, uid ? found : map.ToSequences(found), modseq);
  while (answer.Next(session.out(), ImapSession::kSlice)) PH_CO_RETURN_IF_ERROR(co_await session.Flush());
  co_return Ok("SEARCH completed");
}

}  // namespace posthouse::gateway
