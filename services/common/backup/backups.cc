#include "services/common/backup/backups.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "services/common/async/sync.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/time/calm_clock.h"
#include "services/common/time/proto_time.h"
#include "services/common/version/version.h"

namespace posthouse::backup {
namespace {

namespace fs = std::filesystem;

constexpr absl::Duration kLookAtSpace = absl::Seconds(1);

std::string ImageOf(const Target& target) { return target.folder + "/IMAGE"; }

void RemoveImage(const Target& target) {
  std::error_code error;
  fs::remove_all(ImageOf(target), error);
  if (error) LOG_EVENT(kError, "backup_image_stays").Str("folder", ImageOf(target)).Str("error", error.message());
}

std::vector<Target> InOrder(std::vector<Target> targets) {
  const auto rank = [](const Target& target) {
    return target.service == "queue" ? 0 : target.service == "mailbox" ? 1 : 2;
  };
  std::sort(targets.begin(), targets.end(), [&](const Target& a, const Target& b) {
    return std::pair(rank(a), a.shard) < std::pair(rank(b), b.shard);
  });
  return targets;
}

bool IsFull(const Target& target) {
  const absl::StatusOr<store::CapacityInfo> capacity = SyncWait(target.store->Capacity());
  return capacity.ok() && capacity->full;
}

// The file with the store's name is no part of the engine's image.
absl::Status AddShard(const Target& target, store::StoreImage* image) {
  std::error_code error;
  if (!fs::exists(target.folder + "/SHARD", error)) return absl::OkStatus();
  fs::copy_file(target.folder + "/SHARD", ImageOf(target) + "/SHARD", error);
  if (error) return absl::UnavailableError(absl::StrCat("copying ", target.folder, "/SHARD: ", error.message()));
  image->files.push_back({"SHARD", fs::file_size(ImageOf(target) + "/SHARD", error), /*immutable=*/false});
  return absl::OkStatus();
}

}  // namespace

struct Backups::Work {
  size_t index = 0;  // of its target
  v1::Job job;
  absl::Time instant;
  absl::Time started;  // monotonic
  bool was_full = false;
  store::StoreImage image;
};

Backups::Backups(Settings settings, std::vector<Target> targets, metrics::Registry& registry)
    : settings_(std::move(settings)), targets_(InOrder(std::move(targets))), jobs_(targets_.size()) {
  for (const Target& target : targets_) RemoveImage(target);  // of a crash
  if (settings_.directory.empty()) return;
  for (const Target& target : targets_) {
    metrics_.push_back(std::make_unique<BackupMetrics>(registry, NameOf(target)));
    const absl::StatusOr<std::unique_ptr<Repository>> repository =
        Repository::Open(settings_.directory, NameOf(target));
    if (absl::IsNotFound(repository.status())) continue;
    const absl::StatusOr<v1::Backup> newest = repository.ok() ? (*repository)->Newest() : repository.status();
    if (newest.ok()) {
      metrics_.back()->last_success.Set(absl::ToDoubleSeconds(FromProto(newest->instant()) - absl::UnixEpoch()));
      metrics_.back()->size_bytes.Set(static_cast<double>(newest->size_bytes()));
    } else if (!absl::IsNotFound(newest.status())) {
      LOG_EVENT(kWarning, "backup_directory_unreadable").Str("store", NameOf(target)).Err(newest.status());
    }
  }
}

Backups::~Backups() { Stop(); }

void Backups::Stop() {
  stopping_ = true;
  absl::MutexLock lock(&thread_mutex_);
  if (thread_.joinable()) thread_.join();
}

absl::Status Backups::Configured() const {
  if (!settings_.directory.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError("this process makes no backups: backup.directory is not set");
}

absl::Status Backups::Start(std::vector<std::shared_ptr<Work>> works, v1::Job::Kind kind) {
  absl::MutexLock thread_lock(&thread_mutex_);
  if (stopping_) return absl::UnavailableError("the process is stopping");
  {
    absl::MutexLock lock(&mutex_);
    if (running_) return absl::FailedPreconditionError("a backup or a verification is running: wait for its end");
    running_ = true;
    for (const auto& work : works) {
      work->job.set_kind(kind);
      work->job.set_state(v1::Job::STATE_WAITING);
      ToProto(absl::Now(), work->job.mutable_started());
      work->started = MonotonicNow();
      jobs_[work->index] = work->job;
    }
  }
  if (thread_.joinable()) thread_.join();  // of the job before, which has ended
  thread_ = std::thread([this, works = std::move(works), kind] {
    for (const auto& work : works) metrics_[work->index]->running.Set(1);
    if (kind == v1::Job::KIND_RUN) {
      RunJob(works);
    } else {
      VerifyJob(works);
    }
    for (const auto& work : works) metrics_[work->index]->running.Set(0);
    absl::MutexLock lock(&mutex_);
    running_ = false;
  });
  return absl::OkStatus();
}

absl::StatusOr<v1::RunResponse> Backups::Run(const std::string& id) {
  PH_RETURN_IF_ERROR(Configured());
  v1::RunResponse response;
  response.set_id(id.empty() ? NewId(absl::Now()) : id);
  if (!IsId(response.id())) return absl::InvalidArgumentError(absl::StrCat("\"", id, "\" is no id of a backup"));
  std::vector<std::shared_ptr<Work>> works;
  for (size_t i = 0; i < targets_.size(); ++i) {
    works.push_back(std::make_shared<Work>());
    works.back()->index = i;
    works.back()->job.set_id(response.id());
    response.add_stores(NameOf(targets_[i]));
  }
  PH_RETURN_IF_ERROR(Start(std::move(works), v1::Job::KIND_RUN));
  return response;
}

absl::StatusOr<v1::VerifyResponse> Backups::Verify(const std::string& id) {
  PH_RETURN_IF_ERROR(Configured());
  v1::VerifyResponse response;
  std::vector<std::shared_ptr<Work>> works;
  for (size_t i = 0; i < targets_.size(); ++i) {
    const absl::StatusOr<std::unique_ptr<Repository>> repository =
        Repository::Open(settings_.directory, NameOf(targets_[i]));
    const absl::StatusOr<v1::Backup> backup = !repository.ok() ? repository.status()
                                              : id.empty()     ? (*repository)->Newest()
                                                               : (*repository)->Get(id);
    if (absl::IsNotFound(backup.status())) continue;
    PH_RETURN_IF_ERROR(backup.status());
    works.push_back(std::make_shared<Work>());
    works.back()->index = i;
    works.back()->job.set_id(backup->id());
    response.add_stores(NameOf(targets_[i]));
  }
  if (works.empty()) {
    return absl::NotFoundError(id.empty() ? "there is no backup" : absl::StrCat("there is no backup ", id));
  }
  PH_RETURN_IF_ERROR(Start(std::move(works), v1::Job::KIND_VERIFY));
  return response;
}

absl::StatusOr<v1::ListResponse> Backups::List() {
  PH_RETURN_IF_ERROR(Configured());
  v1::ListResponse response;
  for (size_t i = 0; i < targets_.size(); ++i) {
    v1::StoreBackups& store = *response.add_stores();
    store.set_store(NameOf(targets_[i]));
    {
      absl::MutexLock lock(&mutex_);
      if (jobs_[i].kind() != v1::Job::KIND_UNSPECIFIED) *store.mutable_job() = jobs_[i];
    }
    const absl::StatusOr<std::unique_ptr<Repository>> repository = Repository::Open(settings_.directory, store.store());
    if (absl::IsNotFound(repository.status())) continue;
    PH_RETURN_IF_ERROR(repository.status());
    PH_ASSIGN_OR_RETURN(const Listing listing, (*repository)->List(/*with_files=*/false));
    for (const v1::Backup& backup : listing.backups) *store.add_backups() = backup;
    for (const std::string& why : listing.unreadable) LOG_EVENT(kWarning, "backup_unreadable").Str("error", why);
  }
  return response;
}

// ---- the job's thread

void Backups::Update(Work& work, v1::Job::State state, const absl::Status& status) {
  work.job.set_state(state);
  if (!status.ok()) work.job.set_error(std::string(status.message()));
  if (state == v1::Job::STATE_DONE || state == v1::Job::STATE_FAILED) ToProto(absl::Now(), work.job.mutable_ended());
  absl::MutexLock lock(&mutex_);
  jobs_[work.index] = work.job;
}

void Backups::Finish(Work& work, const absl::Status& status) {
  BackupMetrics& metrics = *metrics_[work.index];
  const Target& target = targets_[work.index];
  const bool run = work.job.kind() == v1::Job::KIND_RUN;
  const absl::Duration took = MonotonicNow() - work.started;
  if (run) {
    (status.ok() ? metrics.succeeded : metrics.failed).Add();
    metrics.last_duration.Set(absl::ToDoubleSeconds(took));
  }
  if (!status.ok()) {
    LOG_EVENT(kError, run ? "backup_failed" : "backup_verification_failed")
        .Str("store", NameOf(target))
        .Str("id", work.job.id())
        .Seconds("took", took)
        .Err(status);
  }
  Update(work, status.ok() ? v1::Job::STATE_DONE : v1::Job::STATE_FAILED, status);
}

Transfer Backups::TransferOf(Work& work) {
  TransferOptions options;
  options.max_bytes_per_second = settings_.max_bytes_per_second;
  options.progress = [this, &work](uint64_t bytes) {
    work.job.set_done_bytes(work.job.done_bytes() + bytes);
    absl::MutexLock lock(&mutex_);
    jobs_[work.index].set_done_bytes(work.job.done_bytes());
  };
  options.stop = [this, &work, next = MonotonicNow()]() mutable -> absl::Status {
    if (stopping_) return absl::CancelledError("the process is stopping");
    if (MonotonicNow() < next) return absl::OkStatus();
    next = MonotonicNow() + kLookAtSpace;
    if (work.was_full || work.job.kind() != v1::Job::KIND_RUN || !IsFull(targets_[work.index])) return absl::OkStatus();
    return absl::ResourceExhaustedError("the volume of the store became full: the image gave its space back");
  };
  return Transfer(std::move(options));
}

absl::Status Backups::TakeImage(Work& work) {
  if (stopping_) return absl::CancelledError("the process is stopping");
  const Target& target = targets_[work.index];
  Update(work, v1::Job::STATE_IMAGING);
  RemoveImage(target);
  work.was_full = IsFull(target);
  work.instant = absl::Now();
  PH_ASSIGN_OR_RETURN(work.image, target.store->TakeImage(ImageOf(target)));
  PH_RETURN_IF_ERROR(AddShard(target, &work.image));
  Update(work, v1::Job::STATE_COPYING);
  return absl::OkStatus();
}

absl::Status Backups::Copy(Work& work) {
  const Target& target = targets_[work.index];
  BackupMetrics& metrics = *metrics_[work.index];
  PH_ASSIGN_OR_RETURN(const std::unique_ptr<Repository> repository,
                      Repository::OpenToWrite(settings_.directory, NameOf(target)));
  PH_ASSIGN_OR_RETURN(const uint64_t bytes, repository->BytesToCopy(work.image, ImageOf(target)));
  work.job.set_total_bytes(bytes);
  Update(work, v1::Job::STATE_COPYING);
  Transfer transfer = TransferOf(work);
  v1::Backup head;
  head.set_id(work.job.id());
  head.set_service(target.service);
  head.set_shard(target.shard);
  head.set_version(std::string(kVersion));
  ToProto(work.instant, head.mutable_instant());
  absl::StatusOr<v1::Backup> added = repository->Add(std::move(head), work.image, ImageOf(target), transfer);
  metrics.copied_bytes.Add(static_cast<double>(work.job.done_bytes()));
  PH_RETURN_IF_ERROR(added.status());
  metrics.last_success.Set(absl::ToDoubleSeconds(work.instant - absl::UnixEpoch()));
  metrics.size_bytes.Set(static_cast<double>(added->size_bytes()));
  LOG_EVENT(kInfo, "backup_done")
      .Str("store", NameOf(target))
      .Str("id", work.job.id())
      .Int("files", static_cast<int64_t>(added->file_count()))
      .Int("size_bytes", static_cast<int64_t>(added->size_bytes()))
      .Int("copied_bytes", static_cast<int64_t>(added->copied_bytes()))
      .Seconds("took", MonotonicNow() - work.started);
  // The backup is there: old ones that stay are no failure of it.
  log::LogIfError(repository->Prune(settings_.retention, absl::Now()).status(), "removing old backups");
  return absl::OkStatus();
}

void Backups::RunJob(const std::vector<std::shared_ptr<Work>>& works) {
  std::vector<absl::Status> images;
  for (const auto& work : works) images.push_back(TakeImage(*work));
  for (size_t i = 0; i < works.size(); ++i) {
    absl::Status status = images[i];
    if (status.ok()) status = Copy(*works[i]);
    RemoveImage(targets_[works[i]->index]);
    Finish(*works[i], status);
  }
}

absl::Status Backups::ReadBack(Work& work) {
  const Target& target = targets_[work.index];
  Update(work, v1::Job::STATE_COPYING);
  PH_ASSIGN_OR_RETURN(const std::unique_ptr<Repository> repository,
                      Repository::OpenToWrite(settings_.directory, NameOf(target)));
  PH_ASSIGN_OR_RETURN(const v1::Backup backup, repository->Get(work.job.id()));
  work.job.set_total_bytes(backup.size_bytes());
  Update(work, v1::Job::STATE_COPYING);
  Transfer transfer = TransferOf(work);
  PH_ASSIGN_OR_RETURN(const Verification found, repository->Verify(backup, transfer));
  if (!found.damaged.empty()) {
    metrics_[work.index]->damaged_objects.Add(static_cast<double>(found.damaged.size()));
    return absl::DataLossError(
        absl::StrCat("the backup ", backup.id(), " cannot be restored: ", absl::StrJoin(found.damaged, "; ")));
  }
  LOG_EVENT(kInfo, "backup_verified")
      .Str("store", NameOf(target))
      .Str("id", backup.id())
      .Int("objects", static_cast<int64_t>(found.objects))
      .Seconds("took", MonotonicNow() - work.started);
  return absl::OkStatus();
}

void Backups::VerifyJob(const std::vector<std::shared_ptr<Work>>& works) {
  for (const auto& work : works) Finish(*work, ReadBack(*work));
}

}  // namespace posthouse::backup
