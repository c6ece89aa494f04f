// CopyingFs: the file system under a store's RocksDB, which writes each manifest twice.
//
// The manifest names the tables and logs that make up the store. It is the one file whose
// damage RocksDB can take for something harmless: it cannot tell a manifest that lost its end
// from one whose last record a power loss tore, and removes the tables that the rest does not
// name. So a second file, copies/MANIFEST-000012, gets the same bytes, and RestoreManifest()
// (manifest_copy.h) compares the two when the store is opened.
//
// RocksDB acts on a record (removes a log, a table) only after it synced it. The sync ends
// here when both files are synced; so both have every record that was acted on. There are two
// copies while RocksDB moves on to a new manifest: the old one goes once CURRENT names
// the new one, durably. A copy that cannot be written (a full volume) stays as it is: what it
// has is true, and the store goes on.
//
// No commit waits for a copy, unless it begins a new log. Threads: any.
#pragma once

#include <rocksdb/file_system.h>

#include <atomic>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

namespace posthouse::store {

inline constexpr absl::string_view kCopiesDirectory = "copies";

class CopyingFs final : public rocksdb::FileSystemWrapper {
 public:
  // For the store in the directory `path`.
  CopyingFs(std::shared_ptr<rocksdb::FileSystem> target, const std::string& path);
  const char* Name() const override { return "CopyingFs"; }

  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewDirectory(const std::string& name, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* directory,
                                 rocksdb::IODebugContext* debug) override;

 private:
  friend class CopyingDirectory;
  // Null, with a line in the log, when it cannot be made.
  std::unique_ptr<rocksdb::FSWritableFile> NewCopy(const std::string& manifest, const rocksdb::FileOptions& options,
                                                   rocksdb::IODebugContext* debug);
  void DirectorySynced();

  const std::string path_;
  const std::string copies_;
  std::atomic<bool> current_renamed_{false};
  absl::Mutex mutex_;
  std::string newest_ ABSL_GUARDED_BY(mutex_);  // the manifest that was begun last
};

}  // namespace posthouse::store
