#include "services/mailbox/search/search.h"

#include <algorithm>
#include <utility>

#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/uid_set/uid_set_proto.h"
#include "services/mail_formats/message/part_table.h"
#include "services/mail_formats/message/search.h"
#include "services/mailbox/message/mailbox_proto.h"
#include "services/mailbox/message/message_reader.h"
#include "services/mailbox/search/search_program.h"

namespace posthouse::mailbox {
namespace {

constexpr uint64_t kMaxHeaderBytes = 256 * 1024;

SearchFacts FactsOf(const StoredMessage& m) {
  SearchFacts facts;
  facts.meta = &m.meta;
  facts.keyword_bits = m.keyword_bits;
  return facts;
}

void AddLoaded(const SearchProgram& program, const RowSelection& wanted, const StoredMessage& m,
               absl::string_view header, SearchFacts& facts) {
  if (wanted.row) {
    facts.have_row = true;
    facts.blob = m.blob;
    facts.thread_id = m.thread_id;
    facts.save_date = m.save_date;
  }
  if (program.needs_header()) {
    facts.have_header = true;
    facts.header = header;
    facts.sent_day = m.cached.sent_day;
  }
}

// The first kMaxHeaderBytes of the message's own header.
Task<absl::StatusOr<std::string>> ReadHeader(MessageReader& reader, const StoredMessage& m,
                                             const message::PartTable& table) {
  const std::optional<message::SectionRange> where = table.Resolve({}, message::SectionKind::kHeader);
  if (!where.has_value()) co_return std::string();
  co_return co_await reader.Read(m, where->bytes.begin, std::min(where->bytes.size(), kMaxHeaderBytes));
}

Task<absl::StatusOr<std::vector<bool>>> MatchTexts(MessageReader& reader, const StoredMessage& m,
                                                   const message::PartTable& table, const SearchProgram& program) {
  message::MessageSearch search(table, program.text_terms());
  for (const message::ByteRange& range : search.Ranges()) {
    for (uint64_t at = range.begin; at < range.end && !search.Done();) {
      PH_CO_ASSIGN_OR_RETURN(const std::string bytes,
                             co_await reader.Read(m, at, std::min(MessageReader::kRangeBytes, range.end - at)));
      if (bytes.empty()) co_return absl::DataLossError("the message's body is shorter than its row says");
      search.Feed(at, bytes);
      at += bytes.size();
    }
  }
  search.Finish();
  std::vector<bool> out;
  for (size_t i = 0; i < program.text_terms().size(); ++i) out.push_back(search.Matched(i));
  co_return out;
}

// Decides a message that its metadata did not decide.
Task<absl::StatusOr<bool>> Decide(MessageReader& reader, const StoredMessage& m, const RowSelection& wanted,
                                  const SearchProgram& program) {
  SearchFacts facts = FactsOf(m);
  std::string header = m.cached.fields;
  std::optional<message::PartTable> table;
  if (!m.cached.part_table.empty()) {
    PH_CO_ASSIGN_OR_RETURN(table, message::PartTable::Parse(m.cached.part_table));
  }
  const bool all_cached = m.cached.fields_complete && !program.needs_whole_header();
  if (program.needs_header() && !all_cached && table.has_value()) {
    PH_CO_ASSIGN_OR_RETURN(header, co_await ReadHeader(reader, m, *table));
  }
  AddLoaded(program, wanted, m, header, facts);
  Verdict verdict = program.Evaluate(facts);
  if (verdict == Verdict::kUnknown && table.has_value() && !program.text_terms().empty()) {
    PH_CO_ASSIGN_OR_RETURN(const std::vector<bool> texts, co_await MatchTexts(reader, m, *table, program));
    facts.texts = &texts;
    verdict = program.Evaluate(facts);
  }
  co_return verdict == Verdict::kYes;
}

}  // namespace

Task<absl::Status> SearchMessages(MailboxDeps& deps, std::shared_ptr<Folder> folder, const v1::SearchRequest& request,
                                  const std::function<bool()>& cancelled, v1::SearchResponse* response) {
  PH_CO_ASSIGN_OR_RETURN(const FolderSnapshot state, co_await folder->Snapshot());
  PH_CO_ASSIGN_OR_RETURN(const SearchProgram program,
                         SearchProgram::Compile(request.key(), state.keywords, absl::ToUnixSeconds(deps.clock())));
  RowSelection wanted;
  wanted.header = program.needs_header();
  wanted.structure = program.needs_whole_header() || !program.text_terms().empty();
  wanted.row = program.needs_row() || wanted.structure;
  MessageReader reader(deps, folder);
  const UidSet all = UidSet::All();
  UidSet found;
  Modseq highest_modseq;
  Uid after(request.after_uid());
  while (true) {
    if (cancelled()) co_return absl::CancelledError("the caller has gone away");
    PH_CO_ASSIGN_OR_RETURN(const std::vector<StoredMessage> page, co_await reader.Next(all, after, RowSelection()));
    if (page.empty()) break;
    if (found.ranges().size() >= kMaxRanges) {
      // The next part begins after the last hit and repeats the messages without one.
      response->set_more(true);
      break;
    }
    after = page.back().meta.uid;
    std::vector<std::pair<Uid, Modseq>> hits;
    UidSet open;
    for (const StoredMessage& m : page) {
      const Verdict verdict = program.Evaluate(FactsOf(m));
      if (verdict == Verdict::kYes) hits.emplace_back(m.meta.uid, m.meta.modseq);
      if (verdict == Verdict::kUnknown) open.Add(m.meta.uid);
    }
    if (!open.empty()) {
      PH_CO_ASSIGN_OR_RETURN(const std::vector<StoredMessage> loaded, co_await reader.Next(open, Uid(), wanted));
      for (const StoredMessage& m : loaded) {
        if (m.gone || cancelled()) continue;
        absl::StatusOr<bool> match = absl::UnknownError("");
        if (m.damaged.ok()) {
          match = co_await Decide(reader, m, wanted, program);
        } else {
          match = m.damaged;
        }
        if (absl::IsDataLoss(match.status())) {
          // One damaged message must not hide all the others.
          LOG_EVENT(kError, "search_skips_message")
              .Str("folder_id", state.folder_id.value())
              .Int("uid", m.meta.uid.value())
              .Err(match.status());
          continue;
        }
        if (!match.ok()) co_return match.status();
        if (*match) hits.emplace_back(m.meta.uid, m.meta.modseq);
      }
    }
    std::sort(hits.begin(), hits.end());
    for (const auto& [uid, modseq] : hits) {
      found.Add(uid);
      highest_modseq = std::max(highest_modseq, modseq);
    }
    if (after == Uid(UINT32_MAX)) break;
  }
  UidSetToProto(found, response->mutable_uids());
  if (program.uses_modseq()) response->set_highest_modseq(highest_modseq.value());
  co_return absl::OkStatus();
}

}  // namespace posthouse::mailbox
