#include "services/common/store/rocks/file_blocks.h"

#include <rocksdb/env.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/rocks_status.h"
#include "services/common/store/rocks/wal_scanner.h"

namespace posthouse::store {

BlockReader::BlockReader(std::string name, std::unique_ptr<rocksdb::SequentialFile> file)
    : name_(std::move(name)), file_(std::move(file)), buffer_(WalScanner::kBlockBytes) {}
BlockReader::BlockReader(BlockReader&&) noexcept = default;
BlockReader::~BlockReader() = default;

absl::StatusOr<BlockReader> BlockReader::Open(rocksdb::Env& env, const std::string& file) {
  std::unique_ptr<rocksdb::SequentialFile> opened;
  const rocksdb::Status status = env.NewSequentialFile(file, &opened, rocksdb::EnvOptions());
  if (status.IsNotFound() || status.IsPathNotFound()) return absl::NotFoundError(absl::StrCat(file, " is missing"));
  PH_RETURN_IF_ERROR(FromRocks(status, absl::StrCat("opening ", file)));
  return BlockReader(file, std::move(opened));
}

absl::StatusOr<absl::string_view> BlockReader::Next() {
  size_t filled = 0;
  while (filled < buffer_.size()) {
    rocksdb::Slice read;
    const rocksdb::Status status = file_->Read(buffer_.size() - filled, &read, buffer_.data() + filled);
    PH_RETURN_IF_ERROR(FromRocks(status, absl::StrCat("reading ", name_)));
    if (read.empty()) break;
    if (read.data() != buffer_.data() + filled) std::copy_n(read.data(), read.size(), buffer_.data() + filled);
    filled += read.size();
  }
  return absl::string_view(buffer_.data(), filled);
}

}  // namespace posthouse::store
