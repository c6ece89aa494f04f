// WalScanner: what a write-ahead log of RocksDB still has, and what was synced of it.
//
// RocksDB stops its recovery at the first damaged record, since it cannot tell a tail that
// a power loss tore from a byte that rotted in the middle. This scanner tells them apart:
// it goes on after the damage, and each batch of the Committer carries a sync mark.
//
// A sync mark is the first entry of a batch (WriteBatch::PutLogData). It says: all changes
// up to this sequence number were synced before this batch was written. So the number is
// true whatever became of its own batch. Batches that older releases wrote have no mark.
//
// The format (RocksDB's wiki, "Write Ahead Log File Format"): blocks of 32 KiB; in each
// block fragments of
//   checksum:le32 (CRC-32C of type and payload, masked)  length:le16  type:1  payload
// and zero bytes where no fragment header fits. A record is one fragment of type FULL, or
// FIRST, any number of MIDDLE, LAST. Its payload is a WriteBatch: sequence:le64 of the first
// change, count:le32 of changes, entries. Pure: does no I/O. Threads: one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace posthouse::store {

// For WriteBatch::PutLogData.
std::string EncodeSyncMark(uint64_t synced_sequence);

// What one log file contains.
struct WalFindings {
  // Of the whole records before the fault; 0: none.
  uint64_t first_sequence = 0;
  uint64_t last_sequence = 0;
  // Where the first fault begins: a damaged fragment, or a record without its end. A torn
  // tail is a fault, too.
  std::optional<uint64_t> fault_offset;
  // Of the whole records that were found after the fault; 0: none.
  uint64_t last_sequence_after_fault = 0;
  // The highest number in a sync mark, before or after the fault; 0: none.
  uint64_t synced_sequence = 0;
};

class WalScanner {
 public:
  static constexpr size_t kBlockBytes = 32 * 1024;

  // The next kBlockBytes of the file; the last block may be shorter.
  void Add(absl::string_view block);
  // After the last block.
  WalFindings Finish();

 private:
  void TakeFragment(char type, absl::string_view payload, uint64_t offset);
  void TakeRecord();
  void Fault(uint64_t offset);

  WalFindings found_;
  uint64_t offset_ = 0;  // of the next block
  // The record in progress.
  bool in_record_ = false;
  uint64_t record_offset_ = 0;
  std::string head_;  // its first bytes
};

// WholeRecords: the intact records of a log, one by one, also those behind damage.
class WholeRecords {
 public:
  // `sequence`: of its first change; `changes`: how many. `batch`: the record, valid during the call.
  using Take = std::function<void(uint64_t sequence, uint32_t changes, absl::string_view batch)>;
  explicit WholeRecords(Take take) : take_(std::move(take)) {}
  // The next WalScanner::kBlockBytes of the file; the last block may be shorter.
  void Add(absl::string_view block);
  bool faulty() const { return faulty_ || in_record_; }  // after the last block

 private:
  const Take take_;
  bool in_record_ = false;
  bool faulty_ = false;
  std::string record_;
};

// ManifestScanner: up to which change the table files may have everything.
//
// A manifest has the same format; its records are RocksDB's version edits. A log goes only
// when its changes are in tables, and the edit that says so has the newest sequence
// number of that time. So when the oldest log begins later, the manifest lost its end, which
// RocksDB takes for a torn tail: then it would remove the newest tables. Threads: one.
class ManifestScanner {
 public:
  // The next WalScanner::kBlockBytes of the file; the last block may be shorter.
  void Add(absl::string_view block);
  uint64_t last_sequence() const { return last_sequence_; }  // 0: no edit has one
  // An intact edit adds the family "blobs", the message bodies.
  bool names_bodies() const { return names_bodies_; }
  // Of the whole records before the first fault.
  uint64_t whole_bytes() const { return whole_bytes_; }
  uint64_t size() const { return offset_; }  // of the file
  // Where the last record begins, when its last fragment has the right length and a wrong
  // checksum. After the last block.
  std::optional<uint64_t> torn_at() const;

 private:
  uint64_t last_sequence_ = 0;
  uint64_t offset_ = 0;  // of the next block
  bool in_record_ = false;
  uint64_t record_offset_ = 0;
  // Of the record with the first fault, and where the faulty fragment says that it ends.
  std::optional<uint64_t> fault_offset_;
  uint64_t fault_end_ = 0;
  std::string head_;  // of the record in progress
  bool names_bodies_ = false;
  uint64_t whole_bytes_ = 0;
  bool whole_ = true;  // no fault so far
};

}  // namespace posthouse::store
