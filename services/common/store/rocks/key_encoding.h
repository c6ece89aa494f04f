// The keys of a RocksStore, byte for byte. No other file builds or splits one.
// A part of variable length is the last one, or ends with a zero byte, which Validate()
// keeps out of its text. Numbers are big-endian. So byte order is the order of tenant,
// partition and key, and a partition is one contiguous range.
//
// Column family "default"
//   key                         value                      written by, removed by
//   's' "schema"                decimal format number      Open, RaiseFormat (format.h)
//   's' "incarnation"           decimal number             Open, after a loss or a restore (loss_check.h)
//   'r' tenant 0 partition 0 key   the row                 Commit; Commit, Drop
// Column family "blobs"
//   'h' tenant 0 name           tag 1, size:be64, stream:be64; makes the blob exist
//   'b' tenant 0 name           body of a blob of at most one piece (stream 0)
//   'c' stream:be64 index:be32  one piece (1 MiB, the last shorter) of a larger blob
//   'u' stream:be64             empty-bodied mark: this stream is not finished
//
// The combinations that a crash can leave, and what Open does:
//   'h' with 'b', or 'h' with 'c'   a blob: nothing to do ('h', the last 'c' and the
//                                   removal of 'u' are one batch, as are 'h' and 'b')
//   'u' with or without 'c'         an unfinished writer: Open removes mark and pieces
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "services/common/store/store.h"

namespace posthouse::store {

// The rows of the store itself: its format and its incarnation.
std::string FormatKey();
std::string IncarnationKey();

// Where the rows of a partition, or of all partitions of a tenant, begin; and the key of one row.
std::string PartitionPrefix(const Partition& partition);
std::string TenantPrefix(absl::string_view tenant);
std::string RowKey(const Partition& partition, absl::string_view key);
// The partition of a row key; nothing when `encoded` is not a row.
std::optional<Partition> PartitionOfRowKey(absl::string_view encoded);

// The row that makes a body exist: its size, and where its pieces are.
struct BlobHeader {
  uint64_t size_bytes = 0;
  uint64_t stream = 0;  // 0: the body is one row
  friend bool operator==(const BlobHeader&, const BlobHeader&) = default;
};

// The keys of a body: header, whole body, piece of a stream, and the mark of an unfinished stream.
std::string BlobHeaderPrefix(absl::string_view tenant);
std::string BlobHeaderKey(absl::string_view tenant, absl::string_view name);
std::string BlobBodyKey(absl::string_view tenant, absl::string_view name);
std::string BlobPieceKey(uint64_t stream, uint32_t index);
std::string UnfinishedKey(uint64_t stream);
std::optional<uint64_t> StreamOfUnfinishedKey(absl::string_view encoded);
inline constexpr absl::string_view kUnfinishedPrefix = "u";

// DecodeBlobHeader() answers nothing for a value of another form.
std::string EncodeBlobHeader(const BlobHeader& header);
std::optional<BlobHeader> DecodeBlobHeader(absl::string_view value);

}  // namespace posthouse::store
