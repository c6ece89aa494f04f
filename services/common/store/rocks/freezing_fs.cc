#include "services/common/store/rocks/freezing_fs.h"

#include <memory>
#include <string>
#include <utility>

namespace posthouse::store {

using rocksdb::FSDirectory;
using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

template <typename Work>
IOStatus FreezingFs::Write(Work&& work) {
  if (frozen()) return IOStatus::OK();
  if (const IOStatus status = work(); !status.ok() && !status.IsNotSupported()) Freeze(status);
  return IOStatus::OK();
}

// A sync that fails for lack of space (NFS, thin volumes) may have dropped what was written
// before, as any failed sync. The error must not look like one of an append.
IOStatus OfSync(IOStatus status) {
  return status.IsNoSpace() ? IOStatus::IOError("sync: " + status.ToString()) : status;
}

// A file that RocksDB writes. `target` is null when the file system was frozen already.
class FreezingFile final : public FSWritableFile {
 public:
  // `fs` is null for the info log, whose errors do not matter.
  FreezingFile(FreezingFs* fs, std::unique_ptr<FSWritableFile> target) : fs_(fs), target_(std::move(target)) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    return Write([&] { return target_->Append(data, options, debug); });
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo& info,
                  IODebugContext* debug) override {
    return Write([&] { return target_->Append(data, options, info, debug); });
  }
  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            IODebugContext* debug) override {
    return Write([&] { return target_->PositionedAppend(data, offset, options, debug); });
  }
  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            const rocksdb::DataVerificationInfo& info, IODebugContext* debug) override {
    return Write([&] { return target_->PositionedAppend(data, offset, options, info, debug); });
  }
  IOStatus Truncate(uint64_t size, const IOOptions& options, IODebugContext* debug) override {
    return Write([&] { return target_->Truncate(size, options, debug); });
  }
  IOStatus Close(const IOOptions& options, IODebugContext* debug) override {
    // Also when frozen: the descriptor must go. What RocksDB still buffers does not
    // come here any more.
    if (target_ == nullptr) return IOStatus::OK();
    const IOStatus closed = target_->Close(options, debug);
    return Write([&] { return closed; });
  }
  IOStatus Flush(const IOOptions& options, IODebugContext* debug) override {
    return Write([&] { return target_->Flush(options, debug); });
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    return Write([&] { return OfSync(target_->Sync(options, debug)); });
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return Write([&] { return OfSync(target_->Fsync(options, debug)); });
  }
  IOStatus RangeSync(uint64_t offset, uint64_t bytes, const IOOptions& options, IODebugContext* debug) override {
    return Write([&] { return target_->RangeSync(offset, bytes, options, debug); });
  }
  IOStatus InvalidateCache(size_t offset, size_t length) override {
    return target_ == nullptr ? IOStatus::OK() : target_->InvalidateCache(offset, length);
  }
  // Only a hint: without the blocks, the append fails.
  IOStatus Allocate(uint64_t offset, uint64_t length, const IOOptions& options, IODebugContext* debug) override {
    return Stopped() ? IOStatus::OK() : target_->Allocate(offset, length, options, debug);
  }
  void PrepareWrite(size_t offset, size_t length, const IOOptions& options, IODebugContext* debug) override {
    if (!Stopped()) target_->PrepareWrite(offset, length, options, debug);
  }

  bool IsSyncThreadSafe() const override { return target_ == nullptr || target_->IsSyncThreadSafe(); }
  bool use_direct_io() const override { return target_ != nullptr && target_->use_direct_io(); }
  size_t GetRequiredBufferAlignment() const override {
    return target_ == nullptr ? FSWritableFile::GetRequiredBufferAlignment() : target_->GetRequiredBufferAlignment();
  }
  uint64_t GetFileSize(const IOOptions& options, IODebugContext* debug) override {
    return target_ == nullptr ? 0 : target_->GetFileSize(options, debug);
  }
  void SetWriteLifeTimeHint(rocksdb::Env::WriteLifeTimeHint hint) override {
    if (target_ != nullptr) target_->SetWriteLifeTimeHint(hint);
  }
  void SetPreallocationBlockSize(size_t size) override {
    if (target_ != nullptr) target_->SetPreallocationBlockSize(size);
  }
  size_t GetUniqueId(char* id, size_t max_size) const override {
    return target_ == nullptr ? 0 : target_->GetUniqueId(id, max_size);
  }

 private:
  bool Stopped() const { return target_ == nullptr || (fs_ != nullptr && fs_->frozen()); }

  template <typename Work>
  IOStatus Write(Work&& work) {
    if (target_ == nullptr) return IOStatus::OK();
    if (fs_ != nullptr) return fs_->Write(work);
    (void)work();
    return IOStatus::OK();
  }

  FreezingFs* const fs_;
  const std::unique_ptr<FSWritableFile> target_;
};

class FreezingDirectory final : public rocksdb::FSDirectoryWrapper {
 public:
  FreezingDirectory(FreezingFs& fs, std::unique_ptr<FSDirectory> target)
      : FSDirectoryWrapper(std::move(target)), fs_(fs) {}

  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return fs_.Write([&] { return FSDirectoryWrapper::Fsync(options, debug); });
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* debug,
                               const rocksdb::DirFsyncOptions& directory_options) override {
    return fs_.Write([&] { return FSDirectoryWrapper::FsyncWithDirOptions(options, debug, directory_options); });
  }

 private:
  FreezingFs& fs_;
};

FreezingFs::FreezingFs(std::shared_ptr<rocksdb::FileSystem> target, OnFreeze on_freeze)
    : FileSystemWrapper(std::move(target)), on_freeze_(std::move(on_freeze)) {}

IOStatus FreezingFs::why() const {
  absl::MutexLock lock(&mutex_);
  return why_;
}

void FreezingFs::Freeze(const IOStatus& why) {
  {
    absl::MutexLock lock(&mutex_);
    if (frozen_.load()) return;
    why_ = why;
    frozen_.store(true);
  }
  if (on_freeze_) on_freeze_(why);
}

IOStatus FreezingFs::NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                     std::unique_ptr<FSWritableFile>* file, IODebugContext* debug) {
  std::unique_ptr<FSWritableFile> real;
  if (!frozen()) {
    if (IOStatus status = target()->NewWritableFile(name, options, &real, debug); !status.ok()) return status;
  }
  *file = std::make_unique<FreezingFile>(this, std::move(real));
  return IOStatus::OK();
}

IOStatus FreezingFs::ReopenWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                        std::unique_ptr<FSWritableFile>* file, IODebugContext* debug) {
  std::unique_ptr<FSWritableFile> real;
  if (!frozen()) {
    if (IOStatus status = target()->ReopenWritableFile(name, options, &real, debug); !status.ok()) return status;
  }
  *file = std::make_unique<FreezingFile>(this, std::move(real));
  return IOStatus::OK();
}

IOStatus FreezingFs::ReuseWritableFile(const std::string& name, const std::string& old_name,
                                       const rocksdb::FileOptions& options, std::unique_ptr<FSWritableFile>* file,
                                       IODebugContext* debug) {
  std::unique_ptr<FSWritableFile> real;
  if (!frozen()) {
    IOStatus status = target()->ReuseWritableFile(name, old_name, options, &real, debug);
    if (!status.ok()) return status;
  }
  *file = std::make_unique<FreezingFile>(this, std::move(real));
  return IOStatus::OK();
}

IOStatus FreezingFs::NewDirectory(const std::string& name, const IOOptions& options,
                                  std::unique_ptr<FSDirectory>* directory, IODebugContext* debug) {
  std::unique_ptr<FSDirectory> real;
  if (IOStatus status = target()->NewDirectory(name, options, &real, debug); !status.ok()) return status;
  *directory = std::make_unique<FreezingDirectory>(*this, std::move(real));
  return IOStatus::OK();
}

namespace {

// Makes the files of info logs, none when `sealed`.
class LogFileFs final : public rocksdb::FileSystemWrapper {
 public:
  LogFileFs(std::shared_ptr<rocksdb::FileSystem> target, bool sealed)
      : FileSystemWrapper(std::move(target)), sealed_(sealed) {}
  const char* Name() const override { return "LogFileFs"; }
  IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                           std::unique_ptr<FSWritableFile>* file, IODebugContext* debug) override {
    std::unique_ptr<FSWritableFile> real;
    // Without a file (a full disk) the lines are dropped.
    if (!sealed_ && !target()->NewWritableFile(name, options, &real, debug).ok()) real = nullptr;
    *file = std::make_unique<FreezingFile>(nullptr, std::move(real));
    return IOStatus::OK();
  }
  IOStatus NewLogger(const std::string& name, const IOOptions& options, std::shared_ptr<rocksdb::Logger>* logger,
                     IODebugContext* debug) override {
    return FileSystem::NewLogger(name, options, logger, debug);  // with the file from above
  }

 private:
  const bool sealed_;
};

}  // namespace

IOStatus FreezingFs::NewLogger(const std::string& name, const IOOptions& options,
                               std::shared_ptr<rocksdb::Logger>* logger, IODebugContext* debug) {
  return LogFileFs(target_, frozen()).NewLogger(name, options, logger, debug);
}

IOStatus FreezingFs::DeleteFile(const std::string& name, const IOOptions& options, IODebugContext* debug) {
  return frozen() ? IOStatus::OK() : target()->DeleteFile(name, options, debug);
}

IOStatus FreezingFs::Truncate(const std::string& name, size_t size, const IOOptions& options, IODebugContext* debug) {
  return frozen() ? IOStatus::OK() : target()->Truncate(name, size, options, debug);
}

IOStatus FreezingFs::CreateDir(const std::string& name, const IOOptions& options, IODebugContext* debug) {
  return frozen() ? IOStatus::OK() : target()->CreateDir(name, options, debug);
}

IOStatus FreezingFs::CreateDirIfMissing(const std::string& name, const IOOptions& options, IODebugContext* debug) {
  return frozen() ? IOStatus::OK() : target()->CreateDirIfMissing(name, options, debug);
}

IOStatus FreezingFs::DeleteDir(const std::string& name, const IOOptions& options, IODebugContext* debug) {
  return frozen() ? IOStatus::OK() : target()->DeleteDir(name, options, debug);
}

IOStatus FreezingFs::RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                                IODebugContext* debug) {
  return frozen() ? IOStatus::OK() : target()->RenameFile(from, to, options, debug);
}

IOStatus FreezingFs::LinkFile(const std::string& from, const std::string& to, const IOOptions& options,
                              IODebugContext* debug) {
  return frozen() ? IOStatus::OK() : target()->LinkFile(from, to, options, debug);
}

}  // namespace posthouse::store
