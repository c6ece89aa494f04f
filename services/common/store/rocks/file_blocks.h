// BlockReader: a file from its start, in blocks of WalScanner::kBlockBytes. Threads: one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rocksdb {
class Env;
class SequentialFile;
}  // namespace rocksdb

namespace posthouse::store {

class BlockReader {
 public:
  // kNotFound: no file.
  static absl::StatusOr<BlockReader> Open(rocksdb::Env& env, const std::string& file);
  BlockReader(BlockReader&&) noexcept;
  ~BlockReader();
  // The next block; the last one may be shorter, and an empty one is the end. Valid until the next call.
  absl::StatusOr<absl::string_view> Next();

 private:
  BlockReader(std::string name, std::unique_ptr<rocksdb::SequentialFile> file);

  std::string name_;
  std::unique_ptr<rocksdb::SequentialFile> file_;
  std::vector<char> buffer_;
};

// Gives `scanner` all blocks of the file. False: no file.
template <typename Scanner>
absl::StatusOr<bool> ScanFile(rocksdb::Env& env, const std::string& file, Scanner& scanner) {
  absl::StatusOr<BlockReader> reader = BlockReader::Open(env, file);
  if (absl::IsNotFound(reader.status())) return false;
  if (!reader.ok()) return reader.status();
  while (true) {
    const absl::StatusOr<absl::string_view> block = reader->Next();
    if (!block.ok()) return block.status();
    if (block->empty()) return true;
    scanner.Add(*block);
  }
}

}  // namespace posthouse::store
