#include "services/common/store/rocks/damage.h"

#include <rocksdb/db.h>
#include <rocksdb/metadata.h>

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "services/common/log/log.h"
#include "services/common/store/rocks/readable_rows.h"
#include "services/common/store/rocks/rocks_status.h"

namespace posthouse::store {
namespace {

// "... in /path/000089.sst offset 123 size 456" -> "/path/000089.sst offset 123 size 456".
// Errors of another form are a place of their own.
std::string PlaceOf(absl::string_view error) {
  const size_t offset = error.find(" offset ");
  const size_t in = error.rfind(" in ", offset);
  return std::string(offset == error.npos || in == error.npos ? error : error.substr(in + 4));
}

}  // namespace

Damage::Damage(const ReopenableDb& db, metrics::Gauge& places)
    : db_(db), places_(places), thread_([this] { Loop(); }) {}

Damage::~Damage() { Stop(); }

void Damage::Stop() {
  if (const ReopenableDb::Ref open = db_.Get(); open != nullptr) open->closing = true;
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    wake_.Signal();
  }
  if (thread_.joinable()) thread_.join();
}

void Damage::Note(const rocksdb::Status& error) {
  if (!error.IsCorruption()) return;
  std::string place = PlaceOf(error.ToString());
  {
    absl::MutexLock lock(&mutex_);
    if (known_.size() >= kMaxPlaces || !known_.insert(place).second) return;
    places_.Set(static_cast<double>(known_.size()));
    std::string file = place.substr(0, place.find(" offset "));
    if (files_.insert(file).second) to_name_.push_back(std::move(file));
    wake_.Signal();
  }
  LOG_EVENT(kError, "store_damaged").Str("place", place).Err(FromRocks(error, "reading the store's files"));
}

void Damage::Loop() {
  mutex_.Lock();
  while (!stopping_) {
    if (to_name_.empty()) {
      wake_.Wait(&mutex_);
      continue;
    }
    const std::string file = std::move(to_name_.front());
    to_name_.pop_front();
    mutex_.Unlock();
    NameRows(file);
    mutex_.Lock();
  }
  mutex_.Unlock();
}

// Reads what lies in the range of the file's keys.
void Damage::NameRows(const std::string& file) {
  const ReopenableDb::Ref open = db_.Get();
  if (open == nullptr) return;
  std::vector<rocksdb::LiveFileMetaData> live;
  open->db->GetLiveFilesMetaData(&live);
  for (const rocksdb::LiveFileMetaData& table : live) {
    if (!absl::EndsWith(file, table.name)) continue;
    const bool bodies = table.column_family_name == "blobs";
    const auto row = [&open](absl::string_view, absl::string_view) {
      return open->closing ? absl::CancelledError("the store closes") : absl::OkStatus();
    };
    const auto lost = [&](const Unreadable& range) {
      LOG_EVENT(kError, "store_rows_lost").Str("file", file).Str("rows", Describe(range, bodies));
    };
    const std::string end = table.largestkey + std::string(1, '\0');
    const absl::Status walked =
        WalkReadable(*open->db, bodies ? open->blobs : open->rows, table.smallestkey, end, row, lost);
    if (!absl::IsCancelled(walked)) log::LogIfError(walked, "naming the rows of a damaged file");
  }
}

}  // namespace posthouse::store
