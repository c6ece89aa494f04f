#include "services/common/store/rocks/space_return.h"

#include <rocksdb/db.h>

#include <algorithm>
#include <string>

#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/rocks_status.h"

namespace posthouse::store {
namespace {

constexpr double kGarbageShare = 0.2;  // of the blob bytes: worth rewriting live blobs

uint64_t Number(const ReopenableDb::Handles& open, const std::string& property) {
  uint64_t value = 0;
  open.db->GetIntProperty(open.blobs, property, &value);
  return value;
}

}  // namespace

SpaceReturn::SpaceReturn(const ReopenableDb& db, SpaceWatch& space, metrics::Counter& runs, SpaceReturnOptions options)
    : db_(db), space_(space), runs_(runs), options_(options), thread_([this] { Loop(); }) {}

SpaceReturn::~SpaceReturn() { Stop(); }

void SpaceReturn::Stop() {
  // Ends a compaction that runs.
  if (const ReopenableDb::Ref open = db_.Get(); open != nullptr) open->closing = true;
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    wake_.Signal();
  }
  if (thread_.joinable()) thread_.join();
}

void SpaceReturn::Removed(uint64_t bytes) {
  absl::MutexLock lock(&mutex_);
  if (removed_ == 0) wake_.Signal();
  removed_ += bytes;
}

void SpaceReturn::Loop() {
  mutex_.Lock();
  while (!stopping_) {
    if (removed_ == 0) {
      wake_.Wait(&mutex_);
      continue;
    }
    // Not in the middle of a sweep, whose later removals would need another run.
    uint64_t seen = 0;
    for (absl::Duration waited; !stopping_ && seen != removed_ && waited < options_.at_most_waits;
         waited += options_.pause) {
      seen = removed_;
      wake_.WaitWithTimeout(&mutex_, options_.pause);
    }
    if (stopping_) break;
    const uint64_t removed = removed_;
    mutex_.Unlock();
    const bool worthwhile = Worthwhile(removed);
    if (worthwhile) log::LogIfError(Run(), "giving the space of removed blobs back");
    mutex_.Lock();
    if (worthwhile) removed_ -= std::min(removed, removed_);
    // A full disk makes fewer bytes worth a run, so it is looked at again.
    if (!stopping_ && removed_ > 0) wake_.WaitWithTimeout(&mutex_, options_.between);
  }
  mutex_.Unlock();
}

bool SpaceReturn::Worthwhile(uint64_t removed) const {
  if (space_.Full()) return true;
  if (removed < options_.at_bytes) return false;
  const ReopenableDb::Ref open = db_.Get();
  if (open == nullptr) return false;
  const auto all = static_cast<double>(Number(*open, rocksdb::DB::Properties::kTotalBlobFileSize) +
                                       Number(*open, rocksdb::DB::Properties::kTotalSstFilesSize));
  return static_cast<double>(removed) >= options_.at_share * all;
}

absl::Status SpaceReturn::Compact(const ReopenableDb::Handles& open, bool rewrite, double age_cutoff) {
  rocksdb::CompactRangeOptions options;
  options.canceled = &open.closing;
  options.max_subcompactions = 1;
  // Tombstones leave only with the bottommost level.
  options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
  options.blob_garbage_collection_policy =
      rewrite ? rocksdb::BlobGarbageCollectionPolicy::kForce : rocksdb::BlobGarbageCollectionPolicy::kDisable;
  options.blob_garbage_collection_age_cutoff = age_cutoff;
  PH_RETURN_IF_ERROR(FromRocks(open.db->CompactRange(options, open.blobs, nullptr, nullptr), "compacting blobs"));
  return FromRocks(open.fs->why(), "compacting blobs");
}

absl::Status SpaceReturn::Run() {
  PH_ASSIGN_OR_RETURN(const CapacityInfo before, space_.Capacity());
  const ReopenableDb::Ref open = db_.Get();
  if (open == nullptr || open->read_only || !open->Valid()) return absl::UnavailableError("the store is not open");
  if (open->frugal) {
    // What its memtables hold must fit as tables; else the flush would only fail.
    uint64_t owed = 0;
    open->db->GetAggregatedIntProperty(rocksdb::DB::Properties::kCurSizeAllMemTables, &owed);
    if (owed > before.free_bytes) return absl::ResourceExhaustedError("no room to write what was removed");
  }
  // Both families: a log goes when neither needs it.
  PH_RETURN_IF_ERROR(FromRocks(open->db->Flush(rocksdb::FlushOptions(), {open->rows, open->blobs}), "flush"));
  PH_RETURN_IF_ERROR(FromRocks(open->fs->why(), "flush"));
  PH_RETURN_IF_ERROR(Compact(*open, /*rewrite=*/false, -1));
  const uint64_t garbage = Number(*open, rocksdb::DB::Properties::kLiveBlobFileGarbageSize);
  const uint64_t all = Number(*open, rocksdb::DB::Properties::kTotalBlobFileSize);
  if (garbage > 0 && static_cast<double>(garbage) >= kGarbageShare * static_cast<double>(all)) {
    PH_ASSIGN_OR_RETURN(const CapacityInfo now, space_.Capacity());
    const double live = static_cast<double>(all - std::min(all, garbage));
    const double cutoff = live <= 0 ? 1.0 : std::min(1.0, static_cast<double>(now.free_bytes) / 2 / live);
    PH_RETURN_IF_ERROR(Compact(*open, /*rewrite=*/true, cutoff));
  }
  runs_.Add();
  const absl::StatusOr<CapacityInfo> after = space_.Capacity();
  LOG_EVENT(kInfo, "store_space_returned")
      .Int("free_before", static_cast<int64_t>(before.free_bytes))
      .Int("free_after", after.ok() ? static_cast<int64_t>(after->free_bytes) : -1);
  return absl::OkStatus();
}

}  // namespace posthouse::store
