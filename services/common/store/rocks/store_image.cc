#include "services/common/store/rocks/store_image.h"

#include <rocksdb/db.h>
#include <rocksdb/metadata.h>
#include <rocksdb/options.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <limits>
#include <system_error>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/rocks_status.h"

namespace posthouse::store {
namespace {

namespace fs = std::filesystem;

// Logs of fewer bytes are copied as they are; larger ones are flushed first, so that the next image need not copy
// their rows again.
constexpr uint64_t kFlushAbove = uint64_t{4} << 20;

absl::Status Failed(absl::string_view what, const std::string& path, const std::error_code& error) {
  return absl::UnavailableError(absl::StrCat("image of a store: ", what, " ", path, ": ", error.message()));
}

absl::Status Write(const std::string& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary);
  file << content;
  file.close();
  return file.good() ? absl::OkStatus() : absl::UnavailableError(absl::StrCat("image of a store: writing ", path));
}

// The first `size` bytes: of a log, what follows belongs to later commits.
absl::Status CopyStart(const std::string& from, const std::string& to, uint64_t size) {
  std::error_code error;
  fs::copy_file(from, to, error);
  if (error) return Failed("copying", from, error);
  const uint64_t copied = fs::file_size(to, error);
  if (error) return Failed("copying", from, error);
  if (copied < size) return absl::UnavailableError(absl::StrCat("image of a store: ", from, " is too short"));
  fs::resize_file(to, size, error);
  return error ? Failed("copying", from, error) : absl::OkStatus();
}

absl::Status Add(const rocksdb::LiveFileStorageInfo& file, const std::string& directory, StoreImage* image) {
  const std::string from = absl::StrCat(file.directory, "/", file.relative_filename);
  const std::string to = absl::StrCat(directory, "/", file.relative_filename);
  bool immutable = false;
  switch (file.file_type) {
    case rocksdb::kTableFile:
    case rocksdb::kBlobFile: {
      immutable = true;
      std::error_code error;
      fs::create_hard_link(from, to, error);
      if (error) return Failed("linking", from, error);
      break;
    }
    case rocksdb::kCurrentFile:
      PH_RETURN_IF_ERROR(Write(to, file.replacement_contents));
      break;
    case rocksdb::kDescriptorFile:
    case rocksdb::kWalFile:
      PH_RETURN_IF_ERROR(CopyStart(from, to, file.size));
      break;
    default:
      return absl::OkStatus();  // OPTIONS, IDENTITY
  }
  image->files.push_back({file.relative_filename, file.size, immutable});
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<StoreImage> TakeImageOf(const ReopenableDb::Handles& open, const std::string& directory) {
  if (mkdir(directory.c_str(), 0700) != 0) {
    return Failed("creating", directory, std::error_code(errno, std::generic_category()));
  }
  absl::Cleanup remove = [&directory] {
    std::error_code ignored;
    fs::remove_all(directory, ignored);
  };
  StoreImage image;
  PH_RETURN_IF_ERROR(FromRocks(open.db->GetDbIdentity(image.lineage), "image of a store"));
  // Until the links are there.
  PH_RETURN_IF_ERROR(FromRocks(open.db->DisableFileDeletions(), "image of a store"));
  absl::Cleanup enable = [&open] {
    log::LogIfError(FromRocks(open.db->EnableFileDeletions(/*force=*/false), open.db->GetName()),
                    "allowing a store to remove files");
  };
  rocksdb::LiveFilesStorageInfoOptions options;
  options.wal_size_for_flush = open.frugal ? std::numeric_limits<uint64_t>::max() : kFlushAbove;
  std::vector<rocksdb::LiveFileStorageInfo> files;
  PH_RETURN_IF_ERROR(FromRocks(open.db->GetLiveFilesStorageInfo(options, &files), "image of a store"));
  for (const rocksdb::LiveFileStorageInfo& file : files) PH_RETURN_IF_ERROR(Add(file, directory, &image));
  // After a failed write RocksDB's files may name what is not on the disk.
  if (!open.Valid()) return absl::UnavailableError("image of a store: recovering from an I/O error");
  std::move(remove).Cancel();
  return image;
}

}  // namespace posthouse::store
