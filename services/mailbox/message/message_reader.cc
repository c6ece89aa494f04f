#include "services/mailbox/message/message_reader.h"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "posthouse/mailbox/v1/store.pb.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/uid_set/uid_set.h"
#include "services/mail_formats/message/parser.h"
#include "services/mailbox/message/cached_message.h"
#include "services/mailbox/message/rows_reader.h"
#include "services/mailbox/rows/cache_rows.h"
#include "services/mailbox/rows/folder_index.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"

namespace posthouse::mailbox {
namespace {

message::SectionKind KindOf(const v1::Section& section) { return static_cast<message::SectionKind>(section.kind()); }

static_assert(static_cast<int>(message::SectionKind::kHeader) == v1::Section::KIND_HEADER);
static_assert(static_cast<int>(message::SectionKind::kHeaderFields) == v1::Section::KIND_HEADER_FIELDS);
static_assert(static_cast<int>(message::SectionKind::kHeaderFieldsNot) == v1::Section::KIND_HEADER_FIELDS_NOT);
static_assert(static_cast<int>(message::SectionKind::kText) == v1::Section::KIND_TEXT);
static_assert(static_cast<int>(message::SectionKind::kMime) == v1::Section::KIND_MIME);

bool IsFieldList(const v1::Section& section) {
  return section.kind() == v1::Section::KIND_HEADER_FIELDS || section.kind() == v1::Section::KIND_HEADER_FIELDS_NOT;
}

message::HeaderFilter FilterOf(const v1::Section& section) {
  return message::HeaderFilter({section.fields().begin(), section.fields().end()},
                               section.kind() == v1::Section::KIND_HEADER_FIELDS_NOT);
}

// [begin, end) of a section of `total` bytes after `partial`.
message::ByteRange Clip(const v1::Section& section, uint64_t total) {
  if (!section.partial()) return {0, total};
  const uint64_t begin = std::min<uint64_t>(section.offset(), total);
  return {begin, begin + std::min<uint64_t>(section.length(), total - begin)};
}

// Whether the cached row must be rebuilt: kNo; kTooLong (rebuild it for this answer, its row would
// be too long); kYes (rebuild it and store it).
enum class RebuildReason { kNo, kTooLong, kYes };

// The row, when it is that of the message `meta`; nullopt: absent, of another message, of an earlier
// format, or truncated.
template <typename Row>
std::optional<Row> Usable(const std::optional<std::string>& stored, const MessageMeta& meta, RebuildReason& missing) {
  absl::StatusOr<Row> row = absl::NotFoundError("");
  if (stored.has_value()) row = DecodeRow<Row>(*stored);
  bool own = row.ok() && row->check() == meta.check;
  if constexpr (std::is_same_v<Row, v1::StructureRow>) own = own && IsCurrent(*row);
  if (own && !row->truncated()) return *std::move(row);
  missing = std::max(missing, own ? RebuildReason::kTooLong : RebuildReason::kYes);
  return std::nullopt;
}

}  // namespace

MessageReader::MessageReader(MailboxDeps& deps, std::shared_ptr<Folder> folder)
    : deps_(deps),
      folder_(std::move(folder)),
      partition_(FolderPartition(folder_->id().tenant, folder_->id().folder_id)),
      cache_partition_(CachePartition(folder_->id().tenant, folder_->id().folder_id)) {}

Task<absl::StatusOr<std::vector<StoredMessage>>> MessageReader::Next(const UidSet& uids, Uid after,
                                                                     RowSelection wanted) {
  std::vector<std::string> bits;
  PH_CO_ASSIGN_OR_RETURN(const std::vector<MessageMeta> metas, co_await folder_->Select(uids, after, kPage, &bits));
  std::vector<StoredMessage> out(metas.size());
  for (size_t i = 0; i < metas.size(); ++i) {
    out[i].meta = metas[i];
    out[i].keyword_bits = std::move(bits[i]);
  }
  if (wanted.row) PH_CO_RETURN_IF_ERROR(co_await LoadRows(out));
  if (wanted.envelope || wanted.structure || wanted.header) {
    PH_CO_RETURN_IF_ERROR(co_await LoadDerived(out, wanted));
  }
  co_return out;
}

Task<absl::Status> MessageReader::LoadRows(std::vector<StoredMessage>& messages) {
  std::vector<Uid> uids;
  for (const StoredMessage& m : messages) uids.push_back(m.meta.uid);
  std::vector<absl::Status> damaged;
  PH_CO_ASSIGN_OR_RETURN(const auto rows,
                         co_await ReadRows(deps_.store, partition_, kMessagePrefix, &MessageKey, uids, &damaged));
  for (size_t i = 0; i < messages.size(); ++i) {
    if (!rows[i].has_value()) {
      if (damaged.empty() || damaged[i].ok()) {
        messages[i].gone = true;
      } else {
        messages[i].damaged = damaged[i];
      }
      continue;
    }
    absl::StatusOr<v1::MessageRow> row = DecodeRow<v1::MessageRow>(*rows[i]);
    if (!row.ok()) {
      messages[i].damaged = Annotate(row.status(), absl::StrCat("message ", uids[i].value()));
      continue;
    }
    messages[i].blob = BlobOf(*row);
    messages[i].thread_id = std::move(*row->mutable_thread_id());
    messages[i].save_date = row->save_date();
  }
  co_return absl::OkStatus();
}

Task<absl::Status> MessageReader::LoadDerived(std::vector<StoredMessage>& messages, const RowSelection& wanted) {
  std::vector<Uid> uids;
  for (const StoredMessage& m : messages) uids.push_back(m.meta.uid);
  std::vector<RebuildReason> missing(messages.size(), RebuildReason::kNo);
  std::vector<absl::Status> damaged;  // a cached row that cannot be read is built anew, as an absent one
  if (wanted.envelope) {
    PH_CO_ASSIGN_OR_RETURN(const auto rows, co_await ReadRows(deps_.store, cache_partition_, kEnvelopePrefix,
                                                              &EnvelopeKey, uids, &damaged));
    for (size_t i = 0; i < messages.size(); ++i) {
      std::optional<v1::EnvelopeRow> row = Usable<v1::EnvelopeRow>(rows[i], messages[i].meta, missing[i]);
      if (!row.has_value()) continue;
      messages[i].cached.envelope = std::move(*row->mutable_envelope());
      messages[i].cached.preview = std::move(*row->mutable_preview());
    }
  }
  if (wanted.structure) {
    PH_CO_ASSIGN_OR_RETURN(const auto rows, co_await ReadRows(deps_.store, cache_partition_, kStructurePrefix,
                                                              &StructureKey, uids, &damaged));
    for (size_t i = 0; i < messages.size(); ++i) {
      std::optional<v1::StructureRow> row = Usable<v1::StructureRow>(rows[i], messages[i].meta, missing[i]);
      if (!row.has_value()) continue;
      messages[i].cached.body_structure = std::move(*row->mutable_body_structure());
      messages[i].cached.body = std::move(*row->mutable_body());
      messages[i].cached.part_table = std::move(*row->mutable_part_table());
    }
  }
  if (wanted.header) {
    PH_CO_ASSIGN_OR_RETURN(const auto rows,
                           co_await ReadRows(deps_.store, cache_partition_, kHeaderPrefix, &HeaderKey, uids, &damaged));
    for (size_t i = 0; i < messages.size(); ++i) {
      std::optional<v1::HeaderRow> row = Usable<v1::HeaderRow>(rows[i], messages[i].meta, missing[i]);
      if (!row.has_value()) continue;
      messages[i].cached.fields = std::move(*row->mutable_fields());
      if (row->has_sent_day()) messages[i].cached.sent_day = row->sent_day();
    }
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    if (missing[i] == RebuildReason::kNo || messages[i].gone || !messages[i].damaged.ok()) continue;
    absl::StatusOr<CachedMessage> rebuilt = co_await Rebuild(messages[i], missing[i] == RebuildReason::kYes);
    if (absl::IsNotFound(rebuilt.status())) {
      messages[i].gone = true;
      continue;
    }
    if (absl::IsDataLoss(rebuilt.status())) {
      messages[i].damaged = rebuilt.status();
      continue;
    }
    if (!rebuilt.ok()) co_return rebuilt.status();
    messages[i].cached = *std::move(rebuilt);
  }
  co_return absl::OkStatus();
}

Task<absl::StatusOr<CachedMessage>> MessageReader::Rebuild(StoredMessage& message, bool keep) {
  if (message.blob.empty()) {
    std::vector<StoredMessage> one = {message};
    PH_CO_RETURN_IF_ERROR(co_await LoadRows(one));
    if (one[0].gone) co_return absl::NotFoundError("the message was expunged");
    PH_CO_RETURN_IF_ERROR(one[0].damaged);
    message = std::move(one[0]);
  }
  deps_.metrics.cache_rebuilds.Add();
  message::Parser parser;
  std::string head;
  for (uint64_t offset = 0; offset < message.meta.size_bytes; offset += kRangeBytes) {
    PH_CO_ASSIGN_OR_RETURN(std::string bytes, co_await Read(message, offset, kRangeBytes));
    parser.Feed(bytes);
    if (offset == 0) head = std::move(bytes);
  }
  CachedMessage cached = BuildCachedMessage(parser.Finish(), head, message.blob);
  if (!keep) co_return cached;
  store::CommitRequest commit;
  commit.partition = cache_partition_;
  commit.mutations = CacheMutations(message.meta.uid, cached);
  log::LogIfError(co_await deps_.store.Commit(std::move(commit)), "caching a rebuilt message");
  co_return cached;
}

Task<absl::StatusOr<std::string>> MessageReader::Read(const StoredMessage& message, uint64_t offset, uint64_t length) {
  const bool small = message.meta.size_bytes <= kWholeBytes;
  if (small && whole_blob_ == message.blob) co_return whole_.substr(std::min<uint64_t>(offset, whole_.size()), length);
  absl::StatusOr<absl::Cord> bytes = co_await deps_.store.blobs().Get(folder_->id().tenant.value(), message.blob.Hex(),
                                                                      small ? 0 : offset, small ? kWholeBytes : length);
  if (absl::IsNotFound(bytes.status())) {
    LOG_EVENT(kError, "body_missing")
        .Str("folder_id", folder_->id().folder_id.value())
        .Int("uid", message.meta.uid.value());
    co_return absl::DataLossError("the message's body is missing");
  }
  if (!bytes.ok()) co_return bytes.status();
  std::string out(*bytes);
  if (!small) co_return out;
  whole_blob_ = message.blob;
  whole_ = std::move(out);
  co_return whole_.substr(std::min<uint64_t>(offset, whole_.size()), length);
}

bool MessageReader::FromCachedHeader(const v1::Section& section) {
  return section.kind() == v1::Section::KIND_HEADER_FIELDS && section.part().empty() &&
         std::all_of(section.fields().begin(), section.fields().end(),
                     [](const std::string& f) { return IsCachedField(f); });
}

bool MessageReader::NeedsStructure(const v1::Section& section) {
  const bool whole = section.kind() == v1::Section::KIND_UNSPECIFIED && section.part().empty();
  return !whole && !FromCachedHeader(section);
}

Task<absl::Status> MessageReader::ReadSection(const StoredMessage& message, const v1::Section& section,
                                              const std::function<void(SectionInfo)>& begin, const Emit& emit) {
  if (FromCachedHeader(section) && message.cached.fields_complete && !message.cached.fields.empty()) {
    message::HeaderFilter filter = FilterOf(section);
    std::string out;
    filter.Feed(message.cached.fields, &out);
    filter.Finish(&out);
    co_return co_await EmitString(std::move(out), section, begin, emit);
  }
  message::ByteRange where{0, message.meta.size_bytes};
  if (NeedsStructure(section) || FromCachedHeader(section)) {
    PH_CO_ASSIGN_OR_RETURN(const message::PartTable table, message::PartTable::Parse(message.cached.part_table));
    const std::vector<uint32_t> part(section.part().begin(), section.part().end());
    const std::optional<message::SectionRange> found = table.Resolve(part, KindOf(section));
    if (!found.has_value()) {
      begin({.nil = true});
      co_return absl::OkStatus();
    }
    where = found->bytes;
  }
  if (IsFieldList(section)) co_return co_await EmitFiltered(message, where, section, begin, emit);
  const message::ByteRange clip = Clip(section, where.size());
  const message::ByteRange range{where.begin + clip.begin, where.begin + clip.end};
  co_return co_await EmitRange(message, range, section, begin, emit);
}

Task<absl::Status> MessageReader::EmitString(std::string bytes, const v1::Section& section,
                                             const std::function<void(SectionInfo)>& begin, const Emit& emit) {
  const message::ByteRange clip = Clip(section, bytes.size());
  begin({.total_bytes = clip.size()});
  for (uint64_t at = clip.begin; at < clip.end; at += kRangeBytes) {
    PH_CO_RETURN_IF_ERROR(co_await emit(bytes.substr(at, std::min(kRangeBytes, clip.end - at))));
  }
  co_return absl::OkStatus();
}

Task<absl::Status> MessageReader::EmitRange(const StoredMessage& message, message::ByteRange range,
                                            const v1::Section& section, const std::function<void(SectionInfo)>& begin,
                                            const Emit& emit) {
  begin({.total_bytes = range.size()});
  for (uint64_t at = range.begin; at < range.end;) {
    PH_CO_ASSIGN_OR_RETURN(std::string bytes, co_await Read(message, at, std::min(kRangeBytes, range.end - at)));
    if (bytes.empty()) co_return absl::DataLossError("the message's body is shorter than its row says");
    at += bytes.size();
    PH_CO_RETURN_IF_ERROR(co_await emit(std::move(bytes)));
  }
  co_return absl::OkStatus();
}

// A small section is filtered in memory. A large one is filtered twice: the first pass
// counts, because the size goes out before the bytes.
Task<absl::Status> MessageReader::EmitFiltered(const StoredMessage& message, message::ByteRange where,
                                               const v1::Section& section,
                                               const std::function<void(SectionInfo)>& begin, const Emit& emit) {
  const bool small = where.size() <= kInMemoryBytes;
  message::ByteRange clip;
  for (const bool counting : {true, false}) {
    message::HeaderFilter filter = FilterOf(section);
    std::string out;
    uint64_t produced = 0;  // before `out`
    for (uint64_t at = where.begin; at < where.end;) {
      PH_CO_ASSIGN_OR_RETURN(const std::string bytes,
                             co_await Read(message, at, std::min(kRangeBytes, where.end - at)));
      if (bytes.empty()) co_return absl::DataLossError("the message's body is shorter than its row says");
      at += bytes.size();
      filter.Feed(bytes, &out);
      if (at >= where.end) filter.Finish(&out);
      if (small) continue;
      if (!counting) {
        const uint64_t first = std::max(clip.begin, produced);
        const uint64_t last = std::min<uint64_t>(clip.end, produced + out.size());
        if (first < last) PH_CO_RETURN_IF_ERROR(co_await emit(out.substr(first - produced, last - first)));
      }
      produced += out.size();
      out.clear();
    }
    if (where.size() == 0) filter.Finish(&out);
    if (small) co_return co_await EmitString(std::move(out), section, begin, emit);
    if (counting) {
      clip = Clip(section, produced);
      begin({.total_bytes = clip.size()});
    }
  }
  co_return absl::OkStatus();
}

}  // namespace posthouse::mailbox
