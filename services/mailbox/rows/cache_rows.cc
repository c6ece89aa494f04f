#include "services/mailbox/rows/cache_rows.h"

#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "posthouse/mailbox/v1/store.pb.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"

namespace posthouse::mailbox {
namespace {

constexpr size_t kMaxValueBytes = 60 * 1024;  // a row takes 64 KiB with its key

}  // namespace

size_t CachedMessage::bytes() const {
  return envelope.size() + preview.size() + body_structure.size() + body.size() + part_table.size() + fields.size();
}

bool IsCachedField(absl::string_view name) {
  static const auto& names = *new absl::flat_hash_set<std::string>{
      // ENVELOPE, and fields that clients search.
      "date", "subject", "from", "sender", "reply-to", "to", "cc", "bcc", "in-reply-to", "message-id", "references",
      // Fields that Thunderbird, mutt, Apple Mail and mbsync fetch to list a folder.
      "content-type", "content-description", "mime-version", "lines", "priority", "x-priority", "importance",
      "newsgroups", "followup-to", "mail-followup-to", "list-id", "list-post", "list-unsubscribe", "x-label",
      "x-mailing-list", "x-uniform-type-identifier", "disposition-notification-to", "return-receipt-to", "x-tuid",
      "delivered-to", "resent-from", "resent-to", "x-spam-flag", "x-spam-status", "thread-topic"};
  return names.contains(absl::AsciiStrToLower(name));
}

bool IsCurrent(const v1::StructureRow& row) {
  if (row.format() == kStructureFormat) return true;
  // Rows without a format differ only where there is a continuation: most need not be built anew.
  return row.format() == 0 && !absl::StrContains(row.body_structure(), "*0");
}

std::vector<store::Mutation> CacheMutations(Uid uid, const CachedMessage& cached) {
  v1::EnvelopeRow envelope;
  envelope.set_check(cached.check);
  if (cached.envelope.size() + cached.preview.size() <= kMaxValueBytes) {
    envelope.set_envelope(cached.envelope);
    envelope.set_preview(cached.preview);
  } else {
    envelope.set_truncated(true);
  }
  v1::StructureRow structure;
  structure.set_check(cached.check);
  structure.set_format(kStructureFormat);
  if (cached.body_structure.size() + cached.body.size() + cached.part_table.size() <= kMaxValueBytes) {
    structure.set_body_structure(cached.body_structure);
    structure.set_body(cached.body);
    structure.set_part_table(cached.part_table);
  } else {
    structure.set_truncated(true);
  }
  v1::HeaderRow header;
  header.set_check(cached.check);
  if (cached.fields_complete) {
    header.set_fields(cached.fields);
  } else {
    header.set_truncated(true);
  }
  if (cached.sent_day.has_value()) {
    header.set_has_sent_day(true);
    header.set_sent_day(*cached.sent_day);
  }
  std::vector<store::Mutation> out;
  out.push_back({EnvelopeKey(uid), EncodeRow(envelope)});
  out.push_back({StructureKey(uid), EncodeRow(structure)});
  out.push_back({HeaderKey(uid), EncodeRow(header)});
  return out;
}

std::vector<store::Mutation> CacheRemovals(Uid uid) {
  std::vector<store::Mutation> out;
  out.push_back({EnvelopeKey(uid), std::nullopt});
  out.push_back({StructureKey(uid), std::nullopt});
  out.push_back({HeaderKey(uid), std::nullopt});
  return out;
}

void SplitCommits(const store::Partition& partition, std::vector<store::Mutation> mutations,
                  std::vector<store::CommitRequest>& out) {
  constexpr size_t kRoom = store::kMaxCommitBytes - store::kMaxRowBytes;
  size_t bytes = kRoom;
  size_t rows = store::kMaxMutations;
  for (store::Mutation& m : mutations) {
    const size_t size = m.key.size() + (m.value.has_value() ? m.value->size() : 0) + 64;
    if (rows >= store::kMaxMutations || bytes + size > kRoom) {
      out.emplace_back();
      out.back().partition = partition;
      bytes = rows = 0;
    }
    bytes += size;
    ++rows;
    out.back().mutations.push_back(std::move(m));
  }
}

}  // namespace posthouse::mailbox
