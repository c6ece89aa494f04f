#include "services/mailbox/message/fetch.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/uid_set/uid_set_proto.h"
#include "services/mailbox/message/mailbox_proto.h"
#include "services/mailbox/message/message_reader.h"
#include "services/mailbox/rows/key_schema.h"

namespace posthouse::mailbox {
namespace {

constexpr size_t kChunkBytes = 128 * 1024;
constexpr int kMaxSections = 1000;

RowSelection SelectionFor(const v1::FetchRequest& request) {
  RowSelection wanted;
  wanted.row = request.save_date() || request.ids();
  wanted.envelope = request.envelope() || request.preview();
  wanted.structure = request.body_structure() || request.body();
  for (const v1::Section& section : request.sections()) {
    if (MessageReader::FromCachedHeader(section)) {
      wanted.header = true;
    } else {
      wanted.row = true;
      wanted.structure |= MessageReader::NeedsStructure(section);
    }
  }
  return wanted;
}

// Collects rows and pieces and sends them when a chunk is full.
class FetchChunker {
 public:
  FetchChunker(const v1::FetchRequest& request, FetchSink sink) : request_(request), sink_(std::move(sink)) {}

  v1::FetchResponse& chunk() { return chunk_; }

  void AddRow(StoredMessage& m) {
    v1::MessageRows& rows = *chunk_.mutable_rows();
    rows.add_uid(m.meta.uid.value());
    bytes_ += 4;
    if (request_.modseq()) rows.add_modseq(m.meta.modseq.value()), bytes_ += 8;
    if (request_.flags()) {
      rows.add_flags(m.meta.flags);
      bytes_ += 6 + m.keyword_bits.size();
      rows.add_keywords(std::move(m.keyword_bits));
    }
    if (request_.internal_date()) {
      rows.add_internal_date(m.meta.internal_date);
      rows.add_internal_date_zone(m.meta.zone);
      bytes_ += 10;
    }
    if (request_.size()) rows.add_size_bytes(m.meta.size_bytes), bytes_ += 8;
    if (request_.envelope()) Add(rows.add_envelope(), std::move(m.cached.envelope));
    if (request_.body_structure()) Add(rows.add_body_structure(), std::move(m.cached.body_structure));
    if (request_.body()) Add(rows.add_body(), std::move(m.cached.body));
    if (request_.save_date()) rows.add_save_date(m.save_date), bytes_ += 8;
    if (request_.ids()) {
      // RFC 8474 §5.1: copies share the EMAILID, as they share the bytes.
      Add(rows.add_email_id(), absl::StrCat("M", m.blob.Hex()));
      Add(rows.add_thread_id(), std::string(m.thread_id));
    }
    if (request_.preview()) Add(rows.add_preview(), std::move(m.cached.preview));
  }

  // Before a message: if it cannot be read to its end, DropPieces() takes its pieces back. False:
  // some of them have been sent.
  void BeginMessage() {
    pieces_before_ = chunk_.pieces_size();
    flushed_ = false;
  }
  bool DropPieces() {
    if (flushed_) return false;
    chunk_.mutable_pieces()->DeleteSubrange(pieces_before_, chunk_.pieces_size() - pieces_before_);
    return true;
  }
  void AddDamaged(Uid uid) {
    common::v1::UidRange* range = chunk_.add_damaged();
    range->set_first(uid.value());
    range->set_last(uid.value());
    bytes_ += 16;
  }

  v1::SectionPiece& AddPiece(Uid uid, int section) {
    v1::SectionPiece& piece = *chunk_.add_pieces();
    piece.set_uid(uid.value());
    piece.set_section(static_cast<uint32_t>(section));
    bytes_ += 16;
    return piece;
  }
  void Grew(size_t bytes) { bytes_ += bytes; }

  Task<absl::Status> FlushIfFull() {
    if (bytes_ >= kChunkBytes) return Flush();
    return Nothing();
  }
  Task<absl::Status> Flush() {
    if (bytes_ == 0 && chunk_.vanished().empty()) return Nothing();
    bytes_ = 0;
    flushed_ = true;
    return sink_(std::exchange(chunk_, v1::FetchResponse()));
  }

 private:
  static Task<absl::Status> Nothing() { co_return absl::OkStatus(); }
  void Add(std::string* slot, std::string value) {
    bytes_ += value.size() + 4;
    *slot = std::move(value);
  }
  const v1::FetchRequest& request_;
  const FetchSink sink_;
  v1::FetchResponse chunk_;
  size_t bytes_ = 0;
  int pieces_before_ = 0;
  bool flushed_ = false;
};

// Damage costs the client one message, not all that follow.
void ReportDamage(MailboxDeps& deps, const Folder& folder, Uid uid, const absl::Status& why, FetchChunker& out) {
  deps.metrics.damaged_messages.Add();
  LOG_EVENT(kError, "message_damaged").Str("folder_id", folder.id().folder_id.value()).Int("uid", uid.value()).Err(why);
  out.AddDamaged(uid);
}

// RFC 7162 §3.2.5.1: when the log does not reach back, the answer has every UID of the set that
// does not exist.
Task<absl::StatusOr<UidSet>> VanishedOf(std::shared_ptr<Folder> folder, const UidSet& uids, Modseq since) {
  PH_CO_ASSIGN_OR_RETURN(std::optional<UidSet> vanished, co_await folder->VanishedAfter(since, uids));
  if (vanished.has_value()) co_return *std::move(vanished);
  PH_CO_ASSIGN_OR_RETURN(const std::shared_ptr<const UidsView> view, co_await folder->Uids());
  co_return Missing(uids, view->uids, view->state.head.uid_next);
}

Task<absl::Status> AddSections(MessageReader& reader, const StoredMessage& message, const v1::FetchRequest& request,
                               FetchChunker& chunker) {
  const Uid uid = message.meta.uid;
  for (int i = 0; i < request.sections_size(); ++i) {
    const v1::Section& section = request.sections(i);
    uint64_t total = 0;
    uint64_t sent = 0;
    bool first = true;
    const std::function<void(MessageReader::SectionInfo)> begin = [&](MessageReader::SectionInfo info) {
      total = info.total_bytes;
      if (!info.nil && total != 0) return;  // the first piece comes with bytes
      v1::SectionPiece& piece = chunker.AddPiece(uid, i);
      piece.set_nil(info.nil);
      piece.set_last(true);
    };
    const MessageReader::Emit emit = [&](std::string bytes) -> Task<absl::Status> {
      v1::SectionPiece& piece = chunker.AddPiece(uid, i);
      if (std::exchange(first, false)) piece.set_total_bytes(total);
      sent += bytes.size();
      piece.set_last(sent >= total);
      chunker.Grew(bytes.size());
      piece.set_data(std::move(bytes));
      return chunker.FlushIfFull();
    };
    PH_CO_RETURN_IF_ERROR(co_await reader.ReadSection(message, section, begin, emit));
  }
  co_return absl::OkStatus();
}

}  // namespace

Task<absl::Status> FetchMessages(MailboxDeps& deps, std::shared_ptr<Folder> folder, const v1::FetchRequest& asked,
                                 FetchSink sink) {
  if (asked.sections_size() > kMaxSections) co_return absl::InvalidArgumentError("too many sections");
  v1::FetchRequest request = asked;
  const UidSet uids = UidSetFromProto(request.uids());
  request.clear_uids();
  if (request.set_seen()) {
    // RFC 9051 §6.4.5: BODY[] sets \Seen. The flag is durable before the first chunk goes out.
    FlagChange seen;
    seen.mode = FlagChange::Mode::kAdd;
    seen.flags = v1::FLAG_SEEN;
    seen.only_changed = true;
    PH_CO_ASSIGN_OR_RETURN(const FlagResult changed, co_await folder->StoreFlags(uids, seen));
    if (!changed.messages.empty()) {
      request.set_flags(true);
      request.set_modseq(true);
    }
  }
  FetchChunker chunker(request, std::move(sink));
  if (request.vanished()) {
    PH_CO_ASSIGN_OR_RETURN(const UidSet vanished, co_await VanishedOf(folder, uids, Modseq(request.changed_since())));
    Uid after;
    for (bool more = true; more;) {
      more = ToProto(vanished, after, chunker.chunk().mutable_vanished());
      if (more) after = Uid(chunker.chunk().vanished().rbegin()->last());
      PH_CO_RETURN_IF_ERROR(co_await chunker.Flush());
    }
  }
  const RowSelection wanted = SelectionFor(request);
  MessageReader reader(deps, folder);
  UidSet selected = uids;
  if (request.changed_since() != 0) {
    // RFC 7162 §3.1.4.1: messages that did not change are not read.
    PH_CO_ASSIGN_OR_RETURN(selected, co_await folder->ChangedSince(uids, Modseq(request.changed_since())));
  }
  Uid after;
  while (true) {
    PH_CO_ASSIGN_OR_RETURN(std::vector<StoredMessage> messages, co_await reader.Next(selected, after, wanted));
    if (messages.empty()) break;
    after = messages.back().meta.uid;
    for (StoredMessage& message : messages) {
      if (message.gone) continue;
      if (!message.damaged.ok()) {
        ReportDamage(deps, *folder, message.meta.uid, message.damaged, chunker);
        continue;
      }
      chunker.AddRow(message);
      deps.metrics.fetched.Add();
      if (!request.sections().empty()) {
        chunker.BeginMessage();
        const absl::Status added = co_await AddSections(reader, message, request, chunker);
        if (!added.ok() && !(absl::IsDataLoss(added) && chunker.DropPieces())) co_return added;
        if (!added.ok()) ReportDamage(deps, *folder, message.meta.uid, added, chunker);
      }
      PH_CO_RETURN_IF_ERROR(co_await chunker.FlushIfFull());
    }
    if (after == Uid(UINT32_MAX)) break;
  }
  co_return co_await chunker.Flush();
}

}  // namespace posthouse::mailbox
