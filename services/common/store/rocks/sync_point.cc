#include "services/common/store/rocks/sync_point.h"

#include <rocksdb/env.h>

#include <cstddef>
#include <utility>

#include "absl/strings/string_view.h"
#include "services/common/log/log.h"
#include "services/common/store/rocks/big_endian.h"
#include "services/common/store/rocks/crc32c.h"
#include "services/common/store/rocks/rocks_status.h"

namespace posthouse::store {
namespace {

constexpr absl::string_view kMagic = "PHsync1\n";
constexpr size_t kFileBytes = 8 + 8 + 8 + 4;

std::string FileOf(const std::string& path) { return path + "/SYNCED"; }

std::string Encode(const SyncedTo& point) {
  std::string bytes(kMagic);
  AppendBigEndian(&bytes, point.sequence, 8);
  AppendBigEndian(&bytes, point.base, 8);
  AppendBigEndian(&bytes, Crc32c(bytes), 4);
  return bytes;
}

std::optional<SyncedTo> Decode(absl::string_view bytes) {
  if (bytes.size() != kFileBytes || bytes.substr(0, kMagic.size()) != kMagic) return std::nullopt;
  if (ReadBigEndian(bytes.substr(24)) != Crc32c(bytes.substr(0, 24))) return std::nullopt;
  return SyncedTo{ReadBigEndian(bytes.substr(8, 8)), ReadBigEndian(bytes.substr(16, 8))};
}

}  // namespace

std::optional<SyncedTo> SyncPoint::Read(rocksdb::Env& env, const std::string& path) {
  const std::string file = FileOf(path);
  std::string bytes;
  const rocksdb::Status read = rocksdb::ReadFileToString(&env, file, &bytes);
  if (read.IsNotFound() || read.IsPathNotFound()) return std::nullopt;
  std::optional<SyncedTo> point = Decode(bytes);
  if (!point.has_value()) {
    // A power loss may tear it, and the marks in the log remain.
    LOG_EVENT(kWarning, "store_sync_point_unreadable").Str("file", file).Err(FromRocks(read, "reading it"));
  }
  return point;
}

std::unique_ptr<SyncPoint> SyncPoint::Begin(rocksdb::Env& env, const std::string& path, const SyncedTo& synced) {
  const std::string file = FileOf(path);
  const std::string temporary = file + ".new";
  rocksdb::Status status = rocksdb::WriteStringToFile(&env, Encode(synced), temporary, /*should_sync=*/true);
  if (status.ok()) status = env.RenameFile(temporary, file);
  std::unique_ptr<rocksdb::RandomRWFile> opened;
  if (status.ok()) status = env.NewRandomRWFile(file, &opened, rocksdb::EnvOptions());
  if (!status.ok()) {
    LOG_EVENT(kWarning, "store_sync_point_not_written").Err(FromRocks(status, file));
    opened = nullptr;
    env.DeleteFile(temporary).PermitUncheckedError();
  }
  return std::unique_ptr<SyncPoint>(new SyncPoint(std::move(opened), synced));
}

SyncPoint::SyncPoint(std::unique_ptr<rocksdb::RandomRWFile> file, const SyncedTo& synced)
    : file_(std::move(file)), reached_(synced) {}

SyncPoint::~SyncPoint() = default;

void SyncPoint::Reached(uint64_t sequence) {
  reached_.sequence = sequence;
  if (file_ == nullptr) return;
  const rocksdb::Status written = file_->Write(0, Encode(reached_));
  if (written.ok()) return;
  // The file keeps an older number, which stays true.
  LOG_EVENT(kWarning, "store_sync_point_not_written").Err(FromRocks(written, "writing the sync point"));
  file_ = nullptr;
}

}  // namespace posthouse::store
