#include "services/mail_formats/message/part_table.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace posthouse::message {
namespace {

// Stored form: kVersion, message bytes, count, then for each part: parent + 1,
// flags, header_start as difference to the part before, header bytes, body bytes,
// charset length and bytes. Numbers are varints. Flags: bits 0-1 kind, 2-3
// encoding, 4 html, 5 attachment.
constexpr char kVersion = 1;
constexpr size_t kMaxCharset = 64;
constexpr size_t kMaxHeldName = 1000;

void PutVarint(uint64_t value, std::string* out) {
  while (value >= 0x80) {
    out->push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out->push_back(static_cast<char>(value));
}

bool GetVarint(absl::string_view* in, uint64_t* value) {
  *value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (in->empty()) return false;
    const uint8_t byte = static_cast<uint8_t>(in->front());
    in->remove_prefix(1);
    if (shift == 63 && byte > 1) return false;
    *value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

bool GetEntry(absl::string_view* in, size_t index, uint64_t message_bytes, uint64_t previous_start,
              PartTable::Entry* entry) {
  uint64_t parent, flags, start, header, body, charset;
  if (!GetVarint(in, &parent) || !GetVarint(in, &flags) || !GetVarint(in, &start) || !GetVarint(in, &header) ||
      !GetVarint(in, &body) || !GetVarint(in, &charset)) {
    return false;
  }
  // Part 0 has no parent, every other an earlier one.
  if (parent > index || (parent == 0) != (index == 0) || flags > 0x3f || charset > std::min(in->size(), kMaxCharset))
    return false;
  if (start > message_bytes || header > message_bytes || body > message_bytes) return false;
  entry->parent = static_cast<int32_t>(parent) - 1;
  entry->kind = static_cast<Part::Kind>(flags & 3);
  entry->encoding = static_cast<Encoding>((flags >> 2) & 3);
  entry->html = (flags & 0x10) != 0;
  entry->attachment = (flags & 0x20) != 0;
  entry->header_start = previous_start + start;
  entry->body_start = entry->header_start + header;
  entry->body_end = entry->body_start + body;
  entry->charset = std::string(in->substr(0, charset));
  in->remove_prefix(charset);
  return entry->body_end <= message_bytes;
}

}  // namespace

PartTable PartTable::Build(const Message& message) {
  PartTable table;
  table.message_bytes_ = message.bytes;
  table.entries_.reserve(message.parts.size());
  for (const Part& part : message.parts) {
    Entry entry;
    entry.parent = part.parent;
    entry.kind = part.kind;
    entry.encoding = part.encoding;
    entry.html = part.kind == Part::Kind::kText && absl::EqualsIgnoreCase(part.type.subtype, "html");
    entry.attachment = part.attachment;
    entry.header_start = part.header_start;
    entry.body_start = part.body_start;
    entry.body_end = part.body_end;
    if (part.kind == Part::Kind::kText) {
      entry.charset = absl::AsciiStrToLower(part.type.GetRaw("charset").value_or("")).substr(0, kMaxCharset);
      if (entry.charset == "us-ascii") entry.charset.clear();
    }
    entry.children = part.children;
    table.entries_.push_back(std::move(entry));
  }
  return table;
}

std::string PartTable::Serialize() const {
  std::string out(1, kVersion);
  PutVarint(message_bytes_, &out);
  PutVarint(entries_.size(), &out);
  uint64_t previous_start = 0;
  for (const Entry& entry : entries_) {
    PutVarint(static_cast<uint64_t>(int64_t{entry.parent} + 1), &out);
    PutVarint(static_cast<uint64_t>(entry.kind) | static_cast<uint64_t>(entry.encoding) << 2 | (entry.html ? 0x10 : 0) |
                  (entry.attachment ? 0x20 : 0),
              &out);
    PutVarint(entry.header_start - previous_start, &out);
    PutVarint(entry.body_start - entry.header_start, &out);
    PutVarint(entry.body_end - entry.body_start, &out);
    PutVarint(entry.charset.size(), &out);
    out += entry.charset;
    previous_start = entry.header_start;
  }
  return out;
}

absl::StatusOr<PartTable> PartTable::Parse(absl::string_view stored) {
  PartTable table;
  uint64_t count = 0;
  if (stored.empty() || stored[0] != kVersion) return absl::DataLossError("part table: unknown version");
  stored.remove_prefix(1);
  if (!GetVarint(&stored, &table.message_bytes_) || !GetVarint(&stored, &count) || count == 0 ||
      count > stored.size()) {
    return absl::DataLossError("part table: bad head");
  }
  table.entries_.resize(count);
  uint64_t previous_start = 0;
  for (size_t i = 0; i < count; ++i) {
    Entry& entry = table.entries_[i];
    if (!GetEntry(&stored, i, table.message_bytes_, previous_start, &entry))
      return absl::DataLossError("part table: bad part");
    previous_start = entry.header_start;
    if (entry.parent >= 0)
      table.entries_[static_cast<size_t>(entry.parent)].children.push_back(static_cast<uint32_t>(i));
  }
  if (!stored.empty()) return absl::DataLossError("part table: bytes behind the end");
  return table;
}

int PartTable::FindPart(absl::Span<const uint32_t> part) const {
  int at = 0;              // the entity that `part[i]` is numbered in
  bool as_message = true;  // `at` is a message: number 1 of a single part is itself
  for (size_t i = 0; i < part.size(); ++i) {
    const uint32_t number = part[i];
    const Entry* entry = &entries_[static_cast<size_t>(at)];
    if (!as_message && entry->kind == Part::Kind::kMessage) {
      // RFC 9051 §6.4.5.1: the parts of a message/rfc822 are those of the message in it.
      if (entry->children.empty()) return -1;
      at = static_cast<int>(entry->children[0]);
      entry = &entries_[static_cast<size_t>(at)];
      as_message = true;
    }
    if (entry->kind == Part::Kind::kMultipart) {
      if (number == 1 && entry->children.empty()) return i + 1 == part.size() ? -2 : -1;  // BODY shows one empty part
      if (number < 1 || number > entry->children.size()) return -1;
      at = static_cast<int>(entry->children[number - 1]);
    } else if (!as_message || number != 1) {
      return -1;  // RFC 9051: a part that is no multipart has no parts
    }
    as_message = false;
  }
  return at;
}

std::optional<SectionRange> PartTable::Resolve(absl::Span<const uint32_t> part, SectionKind kind) const {
  if (entries_.empty()) return std::nullopt;
  const int found = FindPart(part);
  if (found == -1) return std::nullopt;
  if (found == -2) {
    if (kind == SectionKind::kAll || kind == SectionKind::kMime) return SectionRange{};
    return std::nullopt;
  }
  const Entry* entry = &entries_[static_cast<size_t>(found)];
  const auto body = [&] { return ByteRange{entry->body_start, entry->body_end}; };
  const auto header = [&] { return ByteRange{entry->header_start, entry->body_start}; };
  switch (kind) {
    case SectionKind::kAll:
      if (part.empty()) return SectionRange{{0, message_bytes_}, Encoding::kIdentity};
      // RFC 2045 §6.4: no encoding but 7bit, 8bit and binary for what has parts.
      if (entry->kind == Part::Kind::kMultipart || entry->kind == Part::Kind::kMessage)
        return SectionRange{body(), Encoding::kIdentity};
      return SectionRange{body(), entry->encoding};
    case SectionKind::kMime:
      // "The part specifier MUST be numeric before MIME".
      if (part.empty()) return std::nullopt;
      return SectionRange{header(), Encoding::kIdentity};
    case SectionKind::kHeader:
    case SectionKind::kHeaderFields:
    case SectionKind::kHeaderFieldsNot:
    case SectionKind::kText:
      break;
  }
  // HEADER and TEXT belong to the message, or to a message/rfc822 part.
  if (!part.empty()) {
    if (entry->kind != Part::Kind::kMessage || entry->children.empty()) return std::nullopt;
    entry = &entries_[entry->children[0]];
  }
  return SectionRange{kind == SectionKind::kText ? body() : header(), Encoding::kIdentity};
}

// ---- HeaderFilter

HeaderFilter::HeaderFilter(std::vector<std::string> names, bool except) : names_(std::move(names)), except_(except) {
  for (std::string& name : names_) absl::AsciiStrToLower(&name);
  std::sort(names_.begin(), names_.end());
}

bool HeaderFilter::Passes() const {
  absl::string_view name = held_;
  name = absl::StripTrailingAsciiWhitespace(name.substr(0, name.find(':')));
  const bool named = std::binary_search(names_.begin(), names_.end(), absl::AsciiStrToLower(name));
  return named != except_;
}

void HeaderFilter::Feed(absl::string_view chunk, std::string* out) {
  for (const char c : chunk) {
    if (state_ == State::kEnd) return;
    if (line_start_) {
      line_start_ = false;
      // A fold belongs to the field before it.
      if ((c == ' ' || c == '\t') && any_line_) {
        state_ = previous_passed_ ? State::kPass : State::kDrop;
      } else {
        state_ = State::kName;
        held_.clear();
      }
    }
    if (state_ == State::kPass) {
      out->push_back(c);
    } else if (state_ == State::kName) {
      held_.push_back(c);
      if (c == '\n' && (held_ == "\n" || held_ == "\r\n")) {
        *out += held_;  // the blank line
        held_.clear();
        state_ = State::kEnd;
        return;
      }
      if (c == ':' || c == '\n' || held_.size() >= kMaxHeldName) {
        // A line without a colon is no field: with no name it is never named.
        const bool field = c == ':';
        previous_passed_ = field ? Passes() : except_;
        any_line_ = true;
        if (previous_passed_) *out += held_;
        held_.clear();
        state_ = previous_passed_ ? State::kPass : State::kDrop;
      }
    }
    if (c == '\n') line_start_ = true;
  }
}

void HeaderFilter::Finish(std::string* out) {
  if (state_ == State::kEnd) return;
  if (state_ == State::kName && !held_.empty() && except_) *out += held_;
  held_.clear();
  state_ = State::kEnd;
  // RFC 3501 §6.4.5: a message without a blank line shows none. HEADER.FIELDS ends with one in any
  // case, as clients read up to it.
  if (except_) return;
  if (!out->empty() && out->back() != '\n') *out += "\r\n";
  *out += "\r\n";
}

}  // namespace posthouse::message
