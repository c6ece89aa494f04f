// FaultFs: a RocksDB file system that can lose power, fail, and die on cue.
//
// It passes everything on to the real file system and remembers for each file that is
// written through it how many bytes are synced, and whether the directory entry is.
// PowerLoss() then changes the files as a power failure may. Tests only.
#pragma once

#include <rocksdb/file_system.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace posthouse::store {

class FaultFs final : public rocksdb::FileSystemWrapper {
 public:
  enum class Op { kAppend, kSync, kSyncDone };

  explicit FaultFs(unsigned seed = 1);
  const char* Name() const override { return "FaultFs"; }

  // From now on nothing that is written or synced reaches the files. So what destructors
  // still write does not count.
  void CutPower();
  // After CutPower() and with all files closed: truncates every file to what was
  // synced, plus a random part of what was not, possibly with a damaged last
  // byte; removes files whose directory was not synced since. Power is back.
  void PowerLoss();

  // Drops the unsynced bytes of every file while it is open, as a kernel may after a
  // failed fsync.
  void DropUnsynced();

  // Called before each append and sync, and after each sync, of `file`. RocksDB gets the
  // hook's error, and the operation does not happen.
  using Hook = std::function<rocksdb::IOStatus(Op op, const std::string& file)>;
  void SetHook(Hook hook);

  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override;
  // Writes in place are not followed: without power they do not happen, else they are durable.
  rocksdb::IOStatus NewRandomRWFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSRandomRWFile>* file,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewDirectory(const std::string& name, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* directory,
                                 rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& name, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;

 private:
  friend class FaultFile;
  friend class FaultDirectory;
  friend class FaultRandomRWFile;
  struct File {
    uint64_t written = 0;
    uint64_t synced = 0;
    bool entry_synced = false;
  };
  rocksdb::IOStatus Call(Op op, const std::string& file);
  bool powered();
  void Written(const std::string& file, uint64_t bytes);
  void Synced(const std::string& file);
  void DirectorySynced(const std::string& directory);

  absl::Mutex mutex_;
  std::map<std::string, File> files_ ABSL_GUARDED_BY(mutex_);
  bool powered_ ABSL_GUARDED_BY(mutex_) = true;
  Hook hook_ ABSL_GUARDED_BY(mutex_);
  std::mt19937 random_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::store
