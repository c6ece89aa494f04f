#include "services/common/store/rocks/replaced_files.h"

#include <algorithm>
#include <utility>

#include "services/common/store/rocks/crc32c.h"
#include "services/common/store/rocks/wal_scanner.h"

namespace posthouse::store {
namespace {

// Of RocksDB's version edits (db/version_edit.h).
constexpr uint64_t kDeletedFile = 6, kColumnFamily = 200;
constexpr size_t kHeaderBytes = 7;
enum FragmentType : char { kFull = 1, kFirst = 2, kMiddle = 3, kLast = 4 };

void PutLittle(uint64_t value, size_t size, std::string* bytes) {
  for (size_t i = 0; i < size; ++i) bytes->push_back(static_cast<char>(value >> (8 * i)));
}

void PutVarint(uint64_t value, std::string* bytes) {
  for (; value >= 0x80; value >>= 7) bytes->push_back(static_cast<char>(value | 0x80));
  bytes->push_back(static_cast<char>(value));
}

class FileOfString final : public rocksdb::FSSequentialFile {
 public:
  explicit FileOfString(const std::string& bytes) : bytes_(bytes) {}
  rocksdb::IOStatus Read(size_t n, const rocksdb::IOOptions&, rocksdb::Slice* result, char* scratch,
                         rocksdb::IODebugContext*) override {
    const size_t taken = bytes_.copy(scratch, n, at_);
    *result = rocksdb::Slice(scratch, taken);
    at_ += taken;
    return rocksdb::IOStatus::OK();
  }
  rocksdb::IOStatus Skip(uint64_t n) override {
    at_ += static_cast<size_t>(std::min<uint64_t>(n, bytes_.size() - at_));
    return rocksdb::IOStatus::OK();
  }

 private:
  const std::string& bytes_;  // of the file system, which outlives its files
  size_t at_ = 0;
};

}  // namespace

void AddRecord(absl::string_view payload, std::string* file) {
  bool first = true;
  do {
    size_t left = WalScanner::kBlockBytes - file->size() % WalScanner::kBlockBytes;
    if (left < kHeaderBytes) {
      file->append(left, '\0');
      left = WalScanner::kBlockBytes;
    }
    const absl::string_view part = payload.substr(0, left - kHeaderBytes);
    payload.remove_prefix(part.size());
    const FragmentType type = payload.empty() ? (first ? kFull : kLast) : (first ? kFirst : kMiddle);
    std::string typed(1, type);
    typed.append(part.data(), part.size());
    const uint32_t crc = Crc32c(typed);
    PutLittle(((crc >> 15) | (crc << 17)) + 0xa282ead8u, 4, file);  // masked, as RocksDB stores it
    PutLittle(part.size(), 2, file);
    file->append(typed);
    first = false;
  } while (!payload.empty());
}

std::string ManifestWithout(std::string manifest, const std::vector<ManifestTable>& tables) {
  for (const ManifestTable& table : tables) {
    std::string edit;
    PutVarint(kDeletedFile, &edit);
    PutVarint(table.level, &edit);
    PutVarint(table.number, &edit);
    if (table.family != 0) {
      PutVarint(kColumnFamily, &edit);
      PutVarint(table.family, &edit);
    }
    AddRecord(edit, &manifest);
  }
  return manifest;
}

ReplacedFilesFs::ReplacedFilesFs(std::shared_ptr<rocksdb::FileSystem> target, ReplacedFiles files)
    : FileSystemWrapper(std::move(target)), files_(std::move(files)) {}

rocksdb::IOStatus ReplacedFilesFs::NewSequentialFile(const std::string& name, const rocksdb::FileOptions& options,
                                                     std::unique_ptr<rocksdb::FSSequentialFile>* file,
                                                     rocksdb::IODebugContext* debug) {
  const auto found = files_.find(name);
  if (found == files_.end()) return target()->NewSequentialFile(name, options, file, debug);
  *file = std::make_unique<FileOfString>(found->second);
  return rocksdb::IOStatus::OK();
}

}  // namespace posthouse::store
