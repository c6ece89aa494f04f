// FreezingFs: the file system under one open RocksDB, which stops at the first failed write.
//
// Debian builds RocksDB with assertions. One of them ends the process when RocksDB
// writes again to a file whose last write failed, and RocksDB does so: in its info log
// (the full disk), and when two threads sync one closed log. So RocksDB never sees a
// failed write. FreezingFs keeps the first error, answers OK, and from then on drops
// every change of any file, as if the power had gone at that instant. What was written
// before is on its way to the disk; nothing that RocksDB derives from the write that
// failed ever is. The files are as a crash leaves them, which RocksDB recovers from.
//
// A frozen database is of no more use: its memory holds rows that the disk lacks.
// Readers check frozen() after each read, and the committer after each write; then
// ReopenableDb closes it and opens the files again with a new FreezingFs.
//
// The info log ("LOG") does not matter: its failed writes are dropped and freeze
// nothing. Errors of calls that open, rename or remove a file go to RocksDB.
//
// Threads: any.
#pragma once

#include <rocksdb/file_system.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace posthouse::store {

class FreezingFs final : public rocksdb::FileSystemWrapper {
 public:
  // Called once, when the file system freezes, on the thread whose write failed. It must
  // not call into RocksDB.
  using OnFreeze = std::function<void(const rocksdb::IOStatus& why)>;

  FreezingFs(std::shared_ptr<rocksdb::FileSystem> target, OnFreeze on_freeze);
  const char* Name() const override { return "FreezingFs"; }

  bool frozen() const { return frozen_.load(); }
  // The first failed write; OK before.
  rocksdb::IOStatus why() const;
  // Freezes without an error, and without OnFreeze: for a database that is only read.
  void Seal() { frozen_.store(true); }

  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus ReopenWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                       std::unique_ptr<rocksdb::FSWritableFile>* file,
                                       rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus ReuseWritableFile(const std::string& name, const std::string& old_name,
                                      const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSWritableFile>* file,
                                      rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewDirectory(const std::string& name, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* directory,
                                 rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewLogger(const std::string& name, const rocksdb::IOOptions& options,
                              std::shared_ptr<rocksdb::Logger>* logger, rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& name, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus Truncate(const std::string& name, size_t size, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus CreateDir(const std::string& name, const rocksdb::IOOptions& options,
                              rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus CreateDirIfMissing(const std::string& name, const rocksdb::IOOptions& options,
                                       rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteDir(const std::string& name, const rocksdb::IOOptions& options,
                              rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus LinkFile(const std::string& from, const std::string& to, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* debug) override;

 private:
  friend class FreezingFile;
  friend class FreezingDirectory;
  // Does `work` unless frozen. OK in any case; an error freezes.
  template <typename Work>
  rocksdb::IOStatus Write(Work&& work);
  void Freeze(const rocksdb::IOStatus& why);

  const OnFreeze on_freeze_;
  std::atomic<bool> frozen_{false};
  mutable absl::Mutex mutex_;
  rocksdb::IOStatus why_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::store
