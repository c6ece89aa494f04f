#include "services/common/store/rocks/copying_fs.h"

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/log/log.h"
#include "services/common/store/rocks/rocks_status.h"

namespace posthouse::store {

using rocksdb::FileOptions;
using rocksdb::FSDirectory;
using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

namespace {

void LogNotCopied(const std::string& file, const IOStatus& why) {
  LOG_EVENT(kWarning, "store_manifest_not_copied").Str("file", file).Err(FromRocks(why, "writing the copy"));
}

// A manifest with its copy. The copy gets what the manifest got, and never more.
class CopiedFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  CopiedFile(std::string name, std::unique_ptr<FSWritableFile> manifest, std::unique_ptr<FSWritableFile> copy)
      : FSWritableFileOwnerWrapper(std::move(manifest)), name_(std::move(name)), copy_(std::move(copy)) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    return Both(FSWritableFileOwnerWrapper::Append(data, options, debug),
                [&] { return copy_->Append(data, options, debug); });
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo& info,
                  IODebugContext* debug) override {
    return Both(FSWritableFileOwnerWrapper::Append(data, options, info, debug),
                [&] { return copy_->Append(data, options, debug); });
  }
  IOStatus Flush(const IOOptions& options, IODebugContext* debug) override {
    return Both(FSWritableFileOwnerWrapper::Flush(options, debug), [&] { return copy_->Flush(options, debug); });
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    return Both(FSWritableFileOwnerWrapper::Sync(options, debug), [&] { return copy_->Sync(options, debug); });
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return Both(FSWritableFileOwnerWrapper::Fsync(options, debug), [&] { return copy_->Fsync(options, debug); });
  }
  IOStatus Close(const IOOptions& options, IODebugContext* debug) override {
    IOStatus closed = FSWritableFileOwnerWrapper::Close(options, debug);
    if (copy_ != nullptr) copy_->Close(options, debug).PermitUncheckedError();
    return closed;
  }

 private:
  template <typename Work>
  IOStatus Both(IOStatus done, Work&& work) {
    if (!done.ok() || copy_ == nullptr) return done;
    if (const IOStatus copied = work(); !copied.ok()) {
      LogNotCopied(name_, copied);
      copy_ = nullptr;
    }
    return done;
  }

  const std::string name_;
  std::unique_ptr<FSWritableFile> copy_;
};

}  // namespace

class CopyingDirectory final : public rocksdb::FSDirectoryWrapper {
 public:
  CopyingDirectory(CopyingFs& fs, std::unique_ptr<FSDirectory> target)
      : FSDirectoryWrapper(std::move(target)), fs_(fs) {}

  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return Synced(FSDirectoryWrapper::Fsync(options, debug));
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* debug,
                               const rocksdb::DirFsyncOptions& directory_options) override {
    return Synced(FSDirectoryWrapper::FsyncWithDirOptions(options, debug, directory_options));
  }

 private:
  IOStatus Synced(IOStatus status) {
    if (status.ok()) fs_.DirectorySynced();
    return status;
  }
  CopyingFs& fs_;
};

CopyingFs::CopyingFs(std::shared_ptr<rocksdb::FileSystem> target, const std::string& path)
    : FileSystemWrapper(std::move(target)), path_(path), copies_(absl::StrCat(path, "/", kCopiesDirectory)) {}

std::unique_ptr<FSWritableFile> CopyingFs::NewCopy(const std::string& manifest, const FileOptions& options,
                                                   IODebugContext* debug) {
  std::unique_ptr<FSWritableFile> copy;
  std::unique_ptr<FSDirectory> directory;
  IOStatus status;
  if (!target()->FileExists(copies_, IOOptions(), debug).ok()) {
    status = target()->CreateDirIfMissing(copies_, IOOptions(), debug);
    if (status.ok()) status = target()->NewDirectory(path_, IOOptions(), &directory, debug);
    if (status.ok()) status = directory->Fsync(IOOptions(), debug);
  }
  if (status.ok()) status = target()->NewWritableFile(absl::StrCat(copies_, "/", manifest), options, &copy, debug);
  if (status.ok()) status = target()->NewDirectory(copies_, IOOptions(), &directory, debug);
  if (status.ok()) status = directory->Fsync(IOOptions(), debug);
  if (status.ok()) return copy;
  LogNotCopied(absl::StrCat(path_, "/", manifest), status);
  return nullptr;
}

IOStatus CopyingFs::NewWritableFile(const std::string& name, const FileOptions& options,
                                    std::unique_ptr<FSWritableFile>* file, IODebugContext* debug) {
  std::unique_ptr<FSWritableFile> real;
  if (IOStatus status = target()->NewWritableFile(name, options, &real, debug); !status.ok()) return status;
  const std::string base = name.substr(name.rfind('/') + 1);
  if (!absl::StartsWith(base, "MANIFEST-")) {
    *file = std::move(real);
    return IOStatus::OK();
  }
  {
    absl::MutexLock lock(&mutex_);
    newest_ = base;
  }
  *file = std::make_unique<CopiedFile>(name, std::move(real), NewCopy(base, options, debug));
  return IOStatus::OK();
}

IOStatus CopyingFs::RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                               IODebugContext* debug) {
  IOStatus status = target()->RenameFile(from, to, options, debug);
  if (status.ok() && absl::EndsWith(to, "/CURRENT")) current_renamed_.store(true);
  return status;
}

IOStatus CopyingFs::NewDirectory(const std::string& name, const IOOptions& options,
                                 std::unique_ptr<FSDirectory>* directory, IODebugContext* debug) {
  std::unique_ptr<FSDirectory> real;
  if (IOStatus status = target()->NewDirectory(name, options, &real, debug); !status.ok()) return status;
  *directory = std::make_unique<CopyingDirectory>(*this, std::move(real));
  return IOStatus::OK();
}

void CopyingFs::DirectorySynced() {
  if (!current_renamed_.exchange(false)) return;
  std::string newest;
  {
    absl::MutexLock lock(&mutex_);
    newest = newest_;
  }
  std::vector<std::string> names;
  if (!target()->GetChildren(copies_, IOOptions(), &names, nullptr).ok()) return;
  for (const std::string& name : names) {
    if (!absl::StartsWith(name, "MANIFEST-") || name == newest) continue;
    target()->DeleteFile(absl::StrCat(copies_, "/", name), IOOptions(), nullptr).PermitUncheckedError();
  }
}

}  // namespace posthouse::store
