// Backups: makes and verifies backups of the stores of a process, one job at a time, on a thread of its own.
//
// A run first takes an image of each store, then copies the images. The instants are in the order queue, mailbox,
// directory: a message that left the queue after its instant is in the mailbox's image, and what a mailbox refers to is
// in the directory's. So everything that was acknowledged before the first instant is in the backup as a whole.
//
// An image is the folder IMAGE in the store's directory. It keeps the space of files that the store removes meanwhile.
// A store that becomes full ends the run. Threads: any.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "posthouse/backup/v1/backup.pb.h"
#include "services/common/backup/backup_metrics.h"
#include "services/common/backup/repository.h"
#include "services/common/backup/settings.h"
#include "services/common/metrics/metrics.h"
#include "services/common/store/store.h"

namespace posthouse::backup {

// A store of the process.
struct Target {
  std::string service;  // "queue", "mailbox" or "directory"
  std::string shard;
  std::string folder;  // of its files
  store::Store* store = nullptr;
};

class Backups {
 public:
  // The stores outlive it. Reads the newest backups for the metrics; a directory that cannot be read is logged. Without
  // settings.directory there are no metrics, and calls answer kFailedPrecondition.
  Backups(Settings settings, std::vector<Target> targets, metrics::Registry& registry);
  ~Backups();

  absl::StatusOr<v1::RunResponse> Run(const std::string& id);
  absl::StatusOr<v1::VerifyResponse> Verify(const std::string& id);
  absl::StatusOr<v1::ListResponse> List();  // reads the directory
  // Ends a job, which fails, and refuses others. Blocks until it has ended.
  void Stop();

 private:
  struct Work;  // one store's part of a job
  absl::Status Configured() const;
  absl::Status Start(std::vector<std::shared_ptr<Work>> works, v1::Job::Kind kind);
  void RunJob(const std::vector<std::shared_ptr<Work>>& works);
  void VerifyJob(const std::vector<std::shared_ptr<Work>>& works);
  absl::Status TakeImage(Work& work);
  absl::Status Copy(Work& work);
  absl::Status ReadBack(Work& work);
  Transfer TransferOf(Work& work);
  void Update(Work& work, v1::Job::State state, const absl::Status& status = absl::OkStatus());
  void Finish(Work& work, const absl::Status& status);
  std::string NameOf(const Target& target) const { return StoreName(target.service, target.shard); }

  const Settings settings_;
  const std::vector<Target> targets_;                    // in the order of their instants
  std::vector<std::unique_ptr<BackupMetrics>> metrics_;  // of the targets
  std::atomic<bool> stopping_{false};
  absl::Mutex mutex_;
  std::vector<v1::Job> jobs_ ABSL_GUARDED_BY(mutex_);  // the newest of each target
  bool running_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Mutex thread_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);
  std::thread thread_ ABSL_GUARDED_BY(thread_mutex_);
};

}  // namespace posthouse::backup
