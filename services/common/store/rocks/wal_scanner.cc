#include "services/common/store/rocks/wal_scanner.h"

#include <algorithm>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/store/rocks/crc32c.h"

namespace posthouse::store {
namespace {

enum FragmentType : char { kFull = 1, kFirst = 2, kMiddle = 3, kLast = 4 };

constexpr size_t kHeaderBytes = 7;
constexpr size_t kBatchHeaderBytes = 12;
constexpr char kLogDataTag = 3;  // of an entry that PutLogData wrote
constexpr absl::string_view kMarkMagic = "PHsy";
constexpr size_t kMarkBytes = 12;
// Batch header, tag, length, mark.
constexpr size_t kHeadBytes = kBatchHeaderBytes + 2 + kMarkBytes;
// The fields of a version edit up to its sequence number are shorter.
constexpr size_t kEditHeadBytes = 512;
// Tag kColumnFamilyAdd (201) as a varint, length of the name, name.
constexpr absl::string_view kAddsBodies =
    "\xc9\x01\x05"
    "blobs";

// The number in the first `size` bytes, little-endian.
uint64_t LoadLittle(absl::string_view bytes, size_t size) {
  uint64_t value = 0;
  for (size_t i = size; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

// RocksDB stores a checksum rotated and shifted, since a log may hold bytes of a log.
uint32_t Unmask(uint32_t masked) {
  const uint32_t rotated = masked - 0xa282ead8u;
  return (rotated >> 17) | (rotated << 15);
}

// The size with its header that the fragment at the start of `rest` says; 0: it cannot be one.
size_t FragmentBytes(absl::string_view rest) {
  if (rest.size() < kHeaderBytes || rest[6] == 0) return 0;  // type 0: allocated and never written
  const size_t bytes = kHeaderBytes + LoadLittle(rest.substr(4), 2);
  return bytes <= rest.size() ? bytes : 0;
}

bool Intact(absl::string_view fragment) {
  return fragment.size() >= kHeaderBytes &&
         Crc32c(fragment.substr(6)) == Unmask(static_cast<uint32_t>(LoadLittle(fragment, 4)));
}

// The number in the sync mark of a batch that begins with `head`; 0: it has none.
uint64_t MarkOf(absl::string_view head) {
  if (head.size() < kHeadBytes || head[kBatchHeaderBytes] != kLogDataTag) return 0;
  const absl::string_view mark = head.substr(kBatchHeaderBytes + 2, kMarkBytes);
  if (static_cast<size_t>(head[kBatchHeaderBytes + 1]) != kMarkBytes || mark.substr(0, 4) != kMarkMagic) return 0;
  return LoadLittle(mark.substr(4), 8);
}

// Calls take(type, payload, offset) for each intact fragment of the block, and fault(offset)
// where there is none.
template <typename Take, typename Fault>
void ReadBlock(absl::string_view block, Take take, Fault fault) {
  size_t at = 0;
  while (block.size() - at >= kHeaderBytes) {
    const absl::string_view rest = block.substr(at);
    const size_t bytes = FragmentBytes(rest);
    if (Intact(rest.substr(0, bytes))) {
      take(rest[6], rest.substr(kHeaderBytes, bytes - kHeaderBytes), at);
      at += bytes;
      continue;
    }
    fault(at);
    // The next fragment follows where this one says that it ends, else with the next block.
    // No other byte is tried: a message may hold the bytes of a log.
    const absl::string_view next = rest.substr(bytes);
    at = bytes > 0 && Intact(next.substr(0, FragmentBytes(next))) ? at + bytes : block.size();
  }
  if (block.find_first_not_of('\0', at) != absl::string_view::npos) fault(at);
}

// Takes a varint off the front; nullopt: there is none.
std::optional<uint64_t> TakeVarint(absl::string_view* bytes) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && !bytes->empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes->front());
    bytes->remove_prefix(1);
    value |= uint64_t{byte & 0x7fu} << shift;
    if ((byte & 0x80) == 0) return value;
  }
  return std::nullopt;
}

// The last sequence number in a version edit. RocksDB writes it after these fields, and
// before those that have another form.
std::optional<uint64_t> LastSequenceOf(absl::string_view edit) {
  constexpr uint64_t kComparator = 1, kLogNumber = 2, kNextFile = 3, kLastSequence = 4, kPreviousLog = 9,
                     kMinLogToKeep = 10, kMaxColumnFamily = 203, kDbId = 8193;
  while (const std::optional<uint64_t> tag = TakeVarint(&edit)) {
    const std::optional<uint64_t> value = TakeVarint(&edit);
    if (!value.has_value() || *tag == kLastSequence) return value;
    switch (*tag) {
      case kComparator:
      case kDbId:
        if (*value > edit.size()) return std::nullopt;
        edit.remove_prefix(*value);
        break;
      case kLogNumber:
      case kNextFile:
      case kPreviousLog:
      case kMinLogToKeep:
      case kMaxColumnFamily:
        break;
      default:
        return std::nullopt;
    }
  }
  return std::nullopt;
}

}  // namespace

std::string EncodeSyncMark(uint64_t synced_sequence) {
  std::string mark(kMarkMagic);
  for (int shift = 0; shift < 64; shift += 8) mark.push_back(static_cast<char>(synced_sequence >> shift));
  return mark;
}

void WalScanner::Add(absl::string_view block) {
  ReadBlock(
      block, [&](char type, absl::string_view payload, size_t at) { TakeFragment(type, payload, offset_ + at); },
      [&](size_t at) { Fault(offset_ + at); });
  offset_ += block.size();
}

void WalScanner::TakeFragment(char type, absl::string_view payload, uint64_t offset) {
  const bool begins = type == kFull || type == kFirst;
  // Other types carry no batch: the compression of the log, the size of timestamps.
  if (!begins && type != kMiddle && type != kLast) return;
  if (begins == in_record_) Fault(offset);  // a record without its end, or an end without its record
  if (begins) {
    in_record_ = true;
    record_offset_ = offset;
    head_.clear();
  }
  if (!in_record_) return;
  absl::StrAppend(&head_, payload.substr(0, kHeadBytes - std::min(kHeadBytes, head_.size())));
  found_.synced_sequence = std::max(found_.synced_sequence, MarkOf(head_));
  if (type == kFull || type == kLast) TakeRecord();
}

void WalScanner::TakeRecord() {
  in_record_ = false;
  if (head_.size() < kBatchHeaderBytes) return Fault(record_offset_);
  const uint64_t first = LoadLittle(head_, 8);
  const uint64_t last = first + LoadLittle(absl::string_view(head_).substr(8), 4) - 1;
  if (found_.fault_offset.has_value()) {
    found_.last_sequence_after_fault = std::max(found_.last_sequence_after_fault, last);
    return;
  }
  if (found_.last_sequence == 0) found_.first_sequence = first;
  found_.last_sequence = last;
}

void WalScanner::Fault(uint64_t offset) {
  if (!found_.fault_offset.has_value()) found_.fault_offset = in_record_ ? record_offset_ : offset;
  in_record_ = false;
}

WalFindings WalScanner::Finish() {
  if (in_record_) Fault(record_offset_);
  return found_;
}

void WholeRecords::Add(absl::string_view block) {
  const auto take = [this](char type, absl::string_view payload, size_t) {
    const bool begins = type == kFull || type == kFirst;
    if (!begins && type != kMiddle && type != kLast) return;
    if (begins == in_record_) faulty_ = true;
    if (begins) {
      in_record_ = true;
      record_.clear();
    }
    if (!in_record_) return;
    absl::StrAppend(&record_, payload);
    if (type != kFull && type != kLast) return;
    in_record_ = false;
    if (record_.size() < kBatchHeaderBytes) {
      faulty_ = true;
      return;
    }
    take_(LoadLittle(record_, 8), static_cast<uint32_t>(LoadLittle(absl::string_view(record_).substr(8), 4)), record_);
  };
  ReadBlock(block, take, [this](size_t) {
    faulty_ = true;
    in_record_ = false;
  });
}

void ManifestScanner::Add(absl::string_view block) {
  const auto take = [this](char type, absl::string_view payload, size_t at) {
    const bool begins = type == kFull || type == kFirst;
    whole_ = whole_ && begins != in_record_;
    if (begins) {
      head_.clear();
      in_record_ = true;
      record_offset_ = offset_ + at;
    }
    if (!in_record_) return;
    absl::StrAppend(&head_, payload.substr(0, kEditHeadBytes - std::min(kEditHeadBytes, head_.size())));
    if (type != kFull && type != kLast) return;
    in_record_ = false;
    last_sequence_ = std::max(last_sequence_, LastSequenceOf(head_).value_or(0));
    names_bodies_ = names_bodies_ || absl::StrContains(head_, kAddsBodies);
    if (whole_) whole_bytes_ = offset_ + at + kHeaderBytes + payload.size();
  };
  ReadBlock(block, take, [&](size_t at) {
    if (!fault_offset_.has_value()) {
      fault_offset_ = in_record_ ? record_offset_ : offset_ + at;
      fault_end_ = offset_ + at + FragmentBytes(block.substr(at));
    }
    whole_ = in_record_ = false;
  });
  offset_ += block.size();
}

std::optional<uint64_t> ManifestScanner::torn_at() const {
  return fault_end_ == offset_ ? fault_offset_ : std::nullopt;
}

}  // namespace posthouse::store
