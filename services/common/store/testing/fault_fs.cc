#include "services/common/store/testing/fault_fs.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>

namespace posthouse::store {

using rocksdb::FSDirectory;
using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

class FaultFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  FaultFile(FaultFs& fs, std::string name, std::unique_ptr<FSWritableFile> file)
      : FSWritableFileOwnerWrapper(std::move(file)), fs_(fs), name_(std::move(name)) {}

  IOStatus Append(const rocksdb::Slice& data, const IOOptions& options, IODebugContext* debug) override {
    if (IOStatus status = fs_.Call(FaultFs::Op::kAppend, name_); !status.ok()) return status;
    if (!fs_.powered()) return IOStatus::OK();
    IOStatus status = target()->Append(data, options, debug);
    if (status.ok()) fs_.Written(name_, data.size());
    return status;
  }
  IOStatus Append(const rocksdb::Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo&,
                  IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    if (IOStatus status = fs_.Call(FaultFs::Op::kSync, name_); !status.ok()) return status;
    if (!fs_.powered()) return IOStatus::OK();
    IOStatus status = target()->Sync(options, debug);
    if (status.ok()) fs_.Synced(name_);
    if (IOStatus after = fs_.Call(FaultFs::Op::kSyncDone, name_); !after.ok()) return after;
    return status;
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override { return Sync(options, debug); }
  // Only a hint: what it wrote back is not durable.
  IOStatus RangeSync(uint64_t, uint64_t, const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }

 private:
  FaultFs& fs_;
  const std::string name_;
};

class FaultDirectory final : public rocksdb::FSDirectoryWrapper {
 public:
  FaultDirectory(FaultFs& fs, std::string name, std::unique_ptr<FSDirectory> directory)
      : FSDirectoryWrapper(std::move(directory)), fs_(fs), name_(std::move(name)) {}

  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    if (!fs_.powered()) return IOStatus::OK();
    IOStatus status = FSDirectoryWrapper::Fsync(options, debug);
    if (status.ok()) fs_.DirectorySynced(name_);
    return status;
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* debug,
                               const rocksdb::DirFsyncOptions&) override {
    return Fsync(options, debug);
  }

 private:
  FaultFs& fs_;
  const std::string name_;
};

class FaultRandomRWFile final : public rocksdb::FSRandomRWFileOwnerWrapper {
 public:
  FaultRandomRWFile(FaultFs& fs, std::unique_ptr<rocksdb::FSRandomRWFile> file)
      : FSRandomRWFileOwnerWrapper(std::move(file)), fs_(fs) {}

  IOStatus Write(uint64_t offset, const rocksdb::Slice& data, const IOOptions& options,
                 IODebugContext* debug) override {
    return fs_.powered() ? FSRandomRWFileWrapper::Write(offset, data, options, debug) : IOStatus::OK();
  }

 private:
  FaultFs& fs_;
};

FaultFs::FaultFs(unsigned seed) : FileSystemWrapper(rocksdb::FileSystem::Default()), random_(seed) {}

void FaultFs::CutPower() {
  absl::MutexLock lock(&mutex_);
  powered_ = false;
}

void FaultFs::PowerLoss() {
  absl::MutexLock lock(&mutex_);
  for (const auto& [name, file] : files_) {
    std::error_code error;
    if (!std::filesystem::exists(name, error)) continue;
    if (!file.entry_synced) {
      std::filesystem::remove(name, error);
      continue;
    }
    if (file.synced >= file.written) continue;
    const uint64_t kept = file.synced + random_() % (file.written - file.synced + 1);
    std::filesystem::resize_file(name, kept, error);
    if (kept > file.synced && random_() % 2 == 0) {
      std::fstream damage(name, std::ios::in | std::ios::out | std::ios::binary);
      damage.seekp(static_cast<std::streamoff>(kept - 1));
      damage.put('\x5a');
    }
  }
  files_.clear();
  powered_ = true;
}

void FaultFs::DropUnsynced() {
  absl::MutexLock lock(&mutex_);
  for (auto& [name, file] : files_) {
    std::error_code error;
    if (file.synced < file.written) std::filesystem::resize_file(name, file.synced, error);
    file.written = file.synced;
  }
}

void FaultFs::SetHook(Hook hook) {
  absl::MutexLock lock(&mutex_);
  hook_ = std::move(hook);
}

IOStatus FaultFs::NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                  std::unique_ptr<FSWritableFile>* file, IODebugContext* debug) {
  if (!powered()) return IOStatus::IOError("no power");
  std::unique_ptr<FSWritableFile> real;
  IOStatus status = target()->NewWritableFile(name, options, &real, debug);
  if (!status.ok()) return status;
  {
    absl::MutexLock lock(&mutex_);
    files_[name] = File();
  }
  *file = std::make_unique<FaultFile>(*this, name, std::move(real));
  return status;
}

IOStatus FaultFs::NewRandomRWFile(const std::string& name, const rocksdb::FileOptions& options,
                                  std::unique_ptr<rocksdb::FSRandomRWFile>* file, IODebugContext* debug) {
  std::unique_ptr<rocksdb::FSRandomRWFile> real;
  IOStatus status = target()->NewRandomRWFile(name, options, &real, debug);
  if (status.ok()) *file = std::make_unique<FaultRandomRWFile>(*this, std::move(real));
  return status;
}

IOStatus FaultFs::NewDirectory(const std::string& name, const IOOptions& options,
                               std::unique_ptr<FSDirectory>* directory, IODebugContext* debug) {
  std::unique_ptr<FSDirectory> real;
  IOStatus status = target()->NewDirectory(name, options, &real, debug);
  if (status.ok()) *directory = std::make_unique<FaultDirectory>(*this, name, std::move(real));
  return status;
}

IOStatus FaultFs::DeleteFile(const std::string& name, const IOOptions& options, IODebugContext* debug) {
  if (!powered()) return IOStatus::OK();
  IOStatus status = target()->DeleteFile(name, options, debug);
  absl::MutexLock lock(&mutex_);
  if (status.ok()) files_.erase(name);
  return status;
}

// A rename is taken to be durable at once, as RocksDB syncs the directory after each.
IOStatus FaultFs::RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                             IODebugContext* debug) {
  if (!powered()) return IOStatus::IOError("no power");
  IOStatus status = target()->RenameFile(from, to, options, debug);
  if (!status.ok()) return status;
  absl::MutexLock lock(&mutex_);
  const auto it = files_.find(from);
  if (it != files_.end()) {
    files_[to] = it->second;
    files_[to].entry_synced = true;
    files_.erase(from);
  }
  return status;
}

IOStatus FaultFs::Call(Op op, const std::string& file) {
  Hook hook;
  {
    absl::MutexLock lock(&mutex_);
    hook = hook_;
  }
  return hook ? hook(op, file) : IOStatus::OK();
}

bool FaultFs::powered() {
  absl::MutexLock lock(&mutex_);
  return powered_;
}

void FaultFs::Written(const std::string& file, uint64_t bytes) {
  absl::MutexLock lock(&mutex_);
  files_[file].written += bytes;
}

void FaultFs::Synced(const std::string& file) {
  absl::MutexLock lock(&mutex_);
  files_[file].synced = files_[file].written;
}

void FaultFs::DirectorySynced(const std::string& directory) {
  absl::MutexLock lock(&mutex_);
  const std::filesystem::path synced = std::filesystem::path(directory).lexically_normal();
  for (auto& [name, file] : files_) {
    if (std::filesystem::path(name).parent_path().lexically_normal() == synced) file.entry_synced = true;
  }
}

}  // namespace posthouse::store
