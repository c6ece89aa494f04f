// SEARCH, UID SEARCH, with ESEARCH (RFC 4731) and SEARCHRES (RFC 5182).
#include <utility>

#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/status/status.h"
#include "services/gateway/imap/commands.h"
#include "services/gateway/imap/search_program.h"
#include "services/gateway/imap/session.h"

namespace posthouse::gateway {
namespace {

// RFC 5182 §2.1: what SAVE keeps depends on what is returned.
imap::NumberSet ToSave(const imap::SearchArgs& args, const imap::NumberSet& found) {
  if (args.return_all || args.return_count || (!args.return_min && !args.return_max)) return found;
  imap::NumberSet saved;
  if (found.empty()) return saved;
  if (args.return_min) saved.Add(found.Min());
  if (args.return_max) saved.Add(found.Max());
  return saved;
}

}  // namespace

HandlerResult CmdSearch(ImapSession& session, imap::Command command) {
  const imap::SearchArgs args = std::get<imap::SearchArgs>(std::move(command.args));
  const bool uid = command.name == "UID SEARCH";
  if (!IsKnownCharset(args.charset)) {
    if (args.return_save) session.saved_search() = imap::NumberSet();
    co_return No("BADCHARSET (US-ASCII UTF-8)", "Unknown charset");
  }
  if (args.uses_modseq) session.EnableCondstore();
  mail::SearchRequest request;
  *request.mutable_account() = session.account();
  request.set_folder_id(session.selected()->folder_id());
  const absl::Status translated =
      TranslateSearch(args.key, *session.selected(), session.saved_search(), request.mutable_key());
  if (!translated.ok()) co_return Bad(translated.message());
  const absl::StatusOr<mail::SearchResponse> response =
      co_await session.shared().backend.Search(session.trace(), std::move(request));
  if (!response.ok()) {
    if (args.return_save) session.saved_search() = imap::NumberSet();  // RFC 5182 §2.1
    co_return ReplyFor(response.status());
  }
  // What the client has not heard of is not found yet.
  const SequenceMap& map = session.selected()->map();
  const imap::NumberSet found = map.uids().Intersect(ToNumberSet(response->uids()));
  if (args.return_save) session.saved_search() = ToSave(args, found);
  SearchAnswer answer(args, command.tag, uid, uid ? found : map.ToSequences(found), response->highest_modseq());
  while (answer.Next(session.out(), ImapSession::kSlice)) PH_CO_RETURN_IF_ERROR(co_await session.Flush());
  co_return Ok("Searched");
}

}  // namespace posthouse::gateway
