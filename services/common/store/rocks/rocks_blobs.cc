#include "services/common/store/rocks/rocks_blobs.h"

#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/async/task.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/committer.h"
#include "services/common/store/rocks/point_read.h"
#include "services/common/store/rocks/reopenable_db.h"
#include "services/common/store/rocks/rocks_status.h"
#include "services/common/store/rocks/space_return.h"
#include "services/common/store/rocks/space_watch.h"
#include "services/common/store/rocks/tiered_reader.h"

namespace posthouse::store {
namespace {

constexpr size_t kPieceBytes = kMaxBlobPieceBytes;
constexpr size_t kMaxLazyBodyBytes = 256 * 1024;
constexpr size_t kMaxLazyTotalBytes = 16 * 1024 * 1024;
// Senders that stop in the middle of long messages must not use up the memory of the process, nor shut out short ones.
constexpr uint64_t kMaxUnwrittenBytes = 128 * 1024 * 1024;
constexpr size_t kAlwaysHeldBytes = 128 * 1024;

absl::string_view View(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

absl::Status FullError() { return absl::ResourceExhaustedError("store is full: only removals are accepted"); }

// Not Cord(std::string&&): Debian's GCC and our Clang mangle that constructor differently.
absl::Cord HeaderValue(const BlobHeader& header) {
  const std::string value = EncodeBlobHeader(header);
  return absl::Cord(absl::string_view(value));
}

std::unique_ptr<CommitOp> UnsyncedOp() {
  auto op = std::make_unique<CommitOp>();
  op->sync = false;
  return op;
}

}  // namespace

// ---- writing

class RocksBlobs::Writer final : public BlobWriter {
 public:
  Writer(RocksBlobs& blobs, std::string tenant, std::string name)
      : blobs_(blobs), tenant_(std::move(tenant)), name_(std::move(name)) {}

  ~Writer() override {
    if (stream_ == 0 || finished_) return;
    // Abandoned. If a crash loses this op too, the mark lets the next Open remove the pieces.
    std::unique_ptr<CommitOp> op = UnsyncedOp();
    for (uint32_t i = 0; i < pieces_; ++i) op->blob_rows.push_back({BlobPieceKey(stream_, i), std::nullopt});
    op->blob_rows.push_back({UnfinishedKey(stream_), std::nullopt});
    blobs_.committer_.RunLazily(std::move(op));
  }

  Task<absl::Status> Append(absl::Cord bytes) override {
    PH_CO_RETURN_IF_ERROR(ValidateBlobName(tenant_, name_));
    if (finished_) co_return absl::FailedPreconditionError("blob is finished");
    PH_CO_RETURN_IF_ERROR(failed_);
    if (blobs_.space_.Full()) co_return FullError();
    if (tail_.size() + bytes.size() > kAlwaysHeldBytes && !blobs_.unwritten_->HasRoom(bytes.size())) {
      failed_ = absl::ResourceExhaustedError("too many long bodies are being written at once");
      tail_.Clear();
      held_.Set(0);
      co_return failed_;
    }
    tail_.Append(std::move(bytes));
    held_.Set(tail_.size());
    // Only above one piece: a blob of exactly one piece is written as a small one.
    while (tail_.size() > kPieceBytes) {
      PH_CO_RETURN_IF_ERROR(CheckEpoch());
      std::unique_ptr<CommitOp> op = UnsyncedOp();
      TakePiece(*op);
      failed_ = co_await blobs_.committer_.Run(std::move(op));
      if (!failed_.ok()) co_return failed_;
    }
    co_return absl::OkStatus();
  }

  Task<absl::Status> Finish() override {
    PH_CO_RETURN_IF_ERROR(ValidateBlobName(tenant_, name_));
    if (finished_) co_return absl::FailedPreconditionError("blob is finished");
    PH_CO_RETURN_IF_ERROR(failed_);
    if (blobs_.space_.Full()) co_return FullError();
    if (stream_ == 0) {
      finished_ = true;
      held_.Set(0);
      co_return co_await blobs_.FinishSmall(tenant_, name_, std::move(tail_));
    }
    PH_CO_RETURN_IF_ERROR(CheckEpoch());
    const uint64_t size = written_bytes_ + tail_.size();
    const std::string header_key = BlobHeaderKey(tenant_, name_);
    PH_CO_RETURN_IF_ERROR(co_await blobs_.CheckFree(header_key));
    std::unique_ptr<CommitOp> op = UnsyncedOp();
    TakePiece(*op);
    op->blob_rows.push_back({header_key, HeaderValue({size, stream_})});
    op->blob_rows.push_back({UnfinishedKey(stream_), std::nullopt});
    const absl::Status published = co_await blobs_.Publish(header_key, std::move(op));
    // After an unknown outcome the blob may exist, so its pieces stay. If it does not, the
    // next Open removes them.
    finished_ = published.ok() || published.code() == absl::StatusCode::kDeadlineExceeded;
    if (!published.ok()) failed_ = published;
    co_return published;
  }

 private:
  // Fails when the database was opened again since: unsynced pieces may be gone.
  absl::Status CheckEpoch() {
    if (stream_ != 0 && epoch_ != blobs_.db_.epoch()) {
      failed_ = absl::UnavailableError("the store recovered from an I/O error: write the blob again");
    }
    return failed_;
  }

  void TakePiece(CommitOp& op) {
    if (stream_ == 0) {
      stream_ = blobs_.NewStream();
      epoch_ = blobs_.db_.epoch();
      op.blob_rows.push_back({UnfinishedKey(stream_), absl::Cord("1")});
    }
    const size_t size = std::min(tail_.size(), kPieceBytes);
    op.blob_rows.push_back({BlobPieceKey(stream_, pieces_++), tail_.Subcord(0, size)});
    tail_.RemovePrefix(size);
    held_.Set(tail_.size());
    written_bytes_ += size;
  }

  RocksBlobs& blobs_;
  const std::string tenant_;
  const std::string name_;
  absl::Cord tail_;                              // not yet written: at most a piece between calls
  MemoryBudget::Share held_{blobs_.unwritten_};  // the size of tail_
  uint64_t stream_ = 0;
  uint64_t epoch_ = 0;  // of the database when the stream began
  uint32_t pieces_ = 0;
  uint64_t written_bytes_ = 0;
  absl::Status failed_;
  bool finished_ = false;
};

RocksBlobs::RocksBlobs(const ReopenableDb& db, TieredReader& reader, Committer& committer, SpaceWatch& space,
                       SpaceReturn& space_return)
    : db_(db),
      reader_(reader),
      committer_(committer),
      space_(space),
      space_return_(space_return),
      unwritten_(std::make_shared<MemoryBudget>(kMaxUnwrittenBytes)) {}
RocksBlobs::~RocksBlobs() = default;

absl::Status RocksBlobs::SweepUnfinished(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* family) {
  const std::string end = PrefixEnd(kUnfinishedPrefix);
  const rocksdb::Slice upper(end);
  rocksdb::ReadOptions options;
  options.iterate_upper_bound = &upper;
  const std::unique_ptr<rocksdb::Iterator> it(db.NewIterator(options, family));
  rocksdb::WriteBatch batch;
  int64_t streams = 0;
  for (it->Seek(std::string(kUnfinishedPrefix)); it->Valid(); it->Next()) {
    const std::optional<uint64_t> stream = StreamOfUnfinishedKey(View(it->key()));
    if (!stream.has_value()) {
      LOG_EVENT(kError, "store_damaged").Str("place", "malformed mark of an unfinished blob");
      continue;
    }
    batch.DeleteRange(family, BlobPieceKey(*stream, 0), BlobPieceKey(*stream + 1, 0));
    batch.Delete(family, it->key());
    ++streams;
  }
  if (it->status().IsCorruption()) {
    // Pieces that are not found stay as garbage.
    LOG_EVENT(kError, "store_damaged").Err(FromRocks(it->status(), "looking for unfinished blobs"));
  } else {
    PH_RETURN_IF_ERROR(FromRocks(it->status(), "looking for unfinished blobs"));
  }
  if (streams == 0) return absl::OkStatus();
  LOG_EVENT(kInfo, "store_swept_unfinished_blobs").Int("blobs", streams);
  return FromRocks(db.Write(rocksdb::WriteOptions(), &batch), "removing unfinished blobs");
}

std::unique_ptr<BlobWriter> RocksBlobs::Create(const std::string& tenant, const std::string& name) {
  return std::make_unique<Writer>(*this, tenant, name);
}

bool RocksBlobs::Reserve(const std::string& header_key) {
  absl::MutexLock lock(&mutex_);
  return pending_.try_emplace(header_key).second;
}

void RocksBlobs::Release(const std::string& header_key) {
  absl::MutexLock lock(&mutex_);
  pending_.erase(header_key);
}

std::optional<absl::Cord> RocksBlobs::FindPending(const std::string& header_key) const {
  absl::MutexLock lock(&mutex_);
  const auto it = pending_.find(header_key);
  return it == pending_.end() ? std::nullopt : it->second.body;
}

// OK: the name was free and is now reserved. The caller releases it.
Task<absl::Status> RocksBlobs::CheckFree(std::string header_key) {
  const absl::Status taken = absl::AlreadyExistsError("a blob of this name exists");
  if (!Reserve(header_key)) co_return taken;
  const absl::StatusOr<BlobHeader> header = co_await ReadHeader(header_key);
  if (header.status().code() == absl::StatusCode::kNotFound) co_return absl::OkStatus();
  Release(header_key);
  co_return header.ok() ? taken : header.status();
}

Task<absl::Status> RocksBlobs::FinishSmall(std::string tenant, std::string name, absl::Cord body) {
  const std::string header_key = BlobHeaderKey(tenant, name);
  PH_CO_RETURN_IF_ERROR(co_await CheckFree(header_key));
  std::unique_ptr<CommitOp> op = UnsyncedOp();
  op->blob_rows.push_back({header_key, HeaderValue({body.size(), 0})});
  // Rows are never empty, so an empty body is only a header.
  if (!body.empty()) op->blob_rows.push_back({BlobBodyKey(tenant, name), body});
  if (body.size() > kMaxLazyBodyBytes || committer_.lazy_bytes() > kMaxLazyTotalBytes) {
    co_return co_await Publish(header_key, std::move(op));
  }
  {
    absl::MutexLock lock(&mutex_);
    pending_[header_key].body = std::move(body);
  }
  // Readers look into pending_ first and at the disk second, so none misses the body.
  op->on_written = [this, header_key] { Release(header_key); };
  if (committer_.RunLazily(std::move(op))) co_return absl::OkStatus();
  Release(header_key);
  co_return absl::UnavailableError("store is closing");
}

Task<absl::Status> RocksBlobs::Publish(std::string header_key, std::unique_ptr<CommitOp> op) {
  absl::Status written = co_await committer_.Run(std::move(op));
  Release(header_key);
  co_return written;
}

uint64_t RocksBlobs::NewStream() {
  absl::MutexLock lock(&mutex_);
  // Not the largest number, since SweepUnfinished() adds one.
  return absl::Uniform<uint64_t>(random_, 1, ~uint64_t{0} - 1);
}

// ---- reading

Task<absl::StatusOr<BlobHeader>> RocksBlobs::ReadHeader(std::string header_key) {
  rocksdb::PinnableSlice value;
  const auto read = [&](const ReopenableDb::Handles& open, const rocksdb::ReadOptions& options) {
    return GetKey(*open.db, options, open.blobs, header_key, &value);
  };
  PH_CO_RETURN_IF_ERROR(co_await reader_.Run(read));
  const std::optional<BlobHeader> header = DecodeBlobHeader(View(value));
  if (!header.has_value()) co_return absl::DataLossError("malformed blob header");
  co_return *header;
}

Task<absl::StatusOr<absl::Cord>> RocksBlobs::Get(std::string tenant, std::string name, uint64_t offset,
                                                 uint64_t length) {
  PH_CO_RETURN_IF_ERROR(ValidateBlobName(tenant, name));
  if (length > kMaxBlobPieceBytes * 16) co_return absl::InvalidArgumentError("blob range too long");
  const std::string header_key = BlobHeaderKey(tenant, name);
  if (std::optional<absl::Cord> body = FindPending(header_key)) {
    co_return offset < body->size() ? body->Subcord(offset, length) : absl::Cord();
  }
  // The header and, for the many small blobs, the body in one read.
  std::vector<std::string> keys = {header_key, BlobBodyKey(tenant, name)};
  std::vector<rocksdb::PinnableSlice> values;
  const auto read = [&](const ReopenableDb::Handles& open, const rocksdb::ReadOptions& options) {
    std::vector<rocksdb::Status> statuses;
    GetKeys(*open.db, options, open.blobs, keys, &values, &statuses);
    for (size_t i = 0; i < keys.size(); ++i) {
      // Only the body row may be absent: large and empty blobs have none.
      const bool may_be_absent = i > 0 && keys[0] == header_key;
      if (!statuses[i].ok() && !(statuses[i].IsNotFound() && may_be_absent)) return statuses[i];
    }
    return rocksdb::Status::OK();
  };
  absl::Status status = co_await reader_.Run(read);
  if (absl::IsNotFound(status)) co_return absl::NotFoundError(absl::StrCat("no blob ", name));
  PH_CO_RETURN_IF_ERROR(status);
  const std::optional<BlobHeader> header = DecodeBlobHeader(View(values[0]));
  if (!header.has_value()) co_return absl::DataLossError(absl::StrCat("malformed header of blob ", name));
  if (offset >= header->size_bytes || length == 0) co_return absl::Cord();
  length = std::min(length, header->size_bytes - offset);
  if (header->stream == 0) {
    if (values[1].size() != header->size_bytes) {
      co_return absl::DataLossError(absl::StrCat("blob ", name, " is not as long as its header says"));
    }
    co_return absl::Cord(View(values[1]).substr(offset, length));
  }
  const auto first = static_cast<uint32_t>(offset / kPieceBytes);
  const auto last = static_cast<uint32_t>((offset + length - 1) / kPieceBytes);
  keys.clear();
  for (uint32_t i = first; i <= last; ++i) keys.push_back(BlobPieceKey(header->stream, i));
  status = co_await reader_.Run(read);
  // A piece is absent. If the header is too, the blob was deleted meanwhile; else it is damaged.
  if (absl::IsNotFound(status)) {
    const absl::StatusOr<BlobHeader> again = co_await ReadHeader(header_key);
    if (!again.ok()) co_return again.status();
    co_return absl::DataLossError(absl::StrCat("blob ", name, " lacks a piece"));
  }
  PH_CO_RETURN_IF_ERROR(status);
  absl::Cord joined;
  for (const rocksdb::PinnableSlice& piece : values) joined.Append(View(piece));
  const uint64_t skip = offset - uint64_t{first} * kPieceBytes;
  if (joined.size() < skip + length) co_return absl::DataLossError(absl::StrCat("blob ", name, " has a short piece"));
  co_return joined.Subcord(skip, length);
}

Task<absl::StatusOr<uint64_t>> RocksBlobs::Size(std::string tenant, std::string name) {
  PH_CO_RETURN_IF_ERROR(ValidateBlobName(tenant, name));
  const std::string header_key = BlobHeaderKey(tenant, name);
  if (const std::optional<absl::Cord> body = FindPending(header_key)) co_return body->size();
  const absl::StatusOr<BlobHeader> header = co_await ReadHeader(header_key);
  if (absl::IsNotFound(header.status())) co_return absl::NotFoundError(absl::StrCat("no blob ", name));
  if (!header.ok()) co_return header.status();
  co_return header->size_bytes;
}

Task<absl::Status> RocksBlobs::Delete(std::string tenant, std::string name) {
  PH_CO_RETURN_IF_ERROR(ValidateBlobName(tenant, name));
  const std::string header_key = BlobHeaderKey(tenant, name);
  std::unique_ptr<CommitOp> op = UnsyncedOp();
  uint64_t size = 0;
  if (!FindPending(header_key).has_value()) {
    const absl::StatusOr<BlobHeader> header = co_await ReadHeader(header_key);
    if (absl::IsNotFound(header.status())) co_return absl::OkStatus();
    if (!header.ok()) co_return header.status();
    size = header->size_bytes;
    if (header->stream != 0) {
      const auto pieces = static_cast<uint32_t>((header->size_bytes + kPieceBytes - 1) / kPieceBytes);
      for (uint32_t i = 0; i < pieces; ++i) op->blob_rows.push_back({BlobPieceKey(header->stream, i), std::nullopt});
    }
  }
  // A pending body is written before this op, which then removes it.
  op->blob_rows.push_back({header_key, std::nullopt});
  op->blob_rows.push_back({BlobBodyKey(tenant, name), std::nullopt});
  // Unsynced: a power loss may bring the blob back as garbage, which List finds.
  PH_CO_RETURN_IF_ERROR(co_await committer_.Run(std::move(op)));
  space_return_.Removed(size);
  co_return absl::OkStatus();
}

Task<absl::StatusOr<BlobPage>> RocksBlobs::List(std::string tenant, std::string cursor, size_t limit) {
  PH_CO_RETURN_IF_ERROR(ValidateListLimit(limit));
  // Pending blobs are on the disk once this empty request has passed the queue.
  PH_CO_RETURN_IF_ERROR(co_await committer_.Run(UnsyncedOp()));
  const std::string prefix = BlobHeaderPrefix(tenant);
  const std::string start = cursor.empty() ? prefix : BlobHeaderKey(tenant, cursor) + std::string(1, '\0');
  const std::string end = PrefixEnd(prefix);
  BlobPage page;
  const auto read = [&](const ReopenableDb::Handles& open, rocksdb::ReadOptions options) {
    page = {};
    const rocksdb::Slice upper(end);
    options.iterate_upper_bound = &upper;
    const std::unique_ptr<rocksdb::Iterator> it(open.db->NewIterator(options, open.blobs));
    for (it->Seek(start); it->Valid(); it->Next()) {
      if (page.blobs.size() == limit) {
        page.next = page.blobs.back().name;
        break;
      }
      const std::optional<BlobHeader> header = DecodeBlobHeader(View(it->value()));
      if (!header.has_value()) return rocksdb::Status::Corruption("malformed blob header");
      page.blobs.push_back({std::string(View(it->key()).substr(prefix.size())), header->size_bytes});
    }
    return it->status();
  };
  PH_CO_RETURN_IF_ERROR(co_await reader_.RunOnPool(read));
  co_return page;
}

}  // namespace posthouse::store
