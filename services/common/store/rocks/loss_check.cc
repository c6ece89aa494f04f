#include "services/common/store/rocks/loss_check.h"

#include <rocksdb/db.h>
#include <rocksdb/env.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/crc32c.h"
#include "services/common/store/rocks/file_blocks.h"
#include "services/common/store/rocks/key_encoding.h"
#include "services/common/store/rocks/rocks_status.h"
#include "services/common/store/rocks/sync_point.h"
#include "services/common/store/rocks/wal_scanner.h"

namespace posthouse::store {
namespace {

constexpr char kMarker[] = "/RESTORED";
constexpr char kKeptLogs[] = "/damaged-logs";
constexpr char kIncarnationFile[] = "/INCARNATION";

// What the logs of a store have and say together.
struct LogsReport {
  uint64_t first_sequence = 0;   // oldest change; 0: none
  uint64_t last_sequence = 0;    // newest change that RocksDB will recover from them; 0: none
  uint64_t synced_sequence = 0;  // of the marks
  uint64_t after_fault = 0;      // newest intact change after the fault
  std::string file;              // with the first fault; "": none has one
  uint64_t offset = 0;
};

// The log files by number.
absl::StatusOr<std::map<uint64_t, std::string>> ListLogs(rocksdb::Env& env, const std::string& path) {
  std::map<uint64_t, std::string> logs;
  std::vector<std::string> names;
  const rocksdb::Status listed = env.GetChildren(path, &names);
  if (listed.IsNotFound() || listed.IsPathNotFound()) return logs;  // a new store
  PH_RETURN_IF_ERROR(FromRocks(listed, absl::StrCat("listing ", path)));
  for (const std::string& name : names) {
    absl::string_view stem = name;
    uint64_t number = 0;
    if (absl::ConsumeSuffix(&stem, ".log") && absl::SimpleAtoi(stem, &number)) logs[number] = name;
  }
  return logs;
}

// nullopt: the file is gone, so its changes are in table files.
absl::StatusOr<std::optional<WalFindings>> ScanLog(rocksdb::Env& env, const std::string& file) {
  WalScanner scanner;
  PH_ASSIGN_OR_RETURN(const bool found, ScanFile(env, file, scanner));
  return found ? std::optional<WalFindings>(scanner.Finish()) : std::nullopt;
}

struct Manifest {
  std::string name;
  bool found = false;
  uint64_t last_sequence = 0;  // 0: unknown
  bool names_bodies = false;
  uint64_t whole_bytes = 0, size = 0;
  std::optional<uint64_t> torn_at;  // these four: see ManifestScanner
};

// The opening of the store reports what is wrong with a manifest that cannot be read.
absl::StatusOr<Manifest> ScanManifest(rocksdb::Env& env, const std::string& path) {
  Manifest manifest;
  std::string current;
  if (!rocksdb::ReadFileToString(&env, path + "/CURRENT", &current).ok()) return manifest;
  manifest.name = std::string(absl::StripAsciiWhitespace(current));
  ManifestScanner scanner;
  if (!absl::StartsWith(manifest.name, "MANIFEST-") || absl::StrContains(manifest.name, '/')) return manifest;
  PH_ASSIGN_OR_RETURN(manifest.found, ScanFile(env, absl::StrCat(path, "/", manifest.name), scanner));
  manifest.last_sequence = scanner.last_sequence();
  manifest.names_bodies = scanner.names_bodies();
  manifest.whole_bytes = scanner.whole_bytes();
  manifest.size = scanner.size();
  manifest.torn_at = scanner.torn_at();
  return manifest;
}

absl::StatusOr<LogsReport> ScanLogs(rocksdb::Env& env, const std::string& path) {
  LogsReport report;
  PH_ASSIGN_OR_RETURN(const auto logs, ListLogs(env, path));
  bool stopped = false;  // RocksDB's recovery stops at a fault, unless the next log goes on where it stopped
  for (const auto& [number, name] : logs) {
    PH_ASSIGN_OR_RETURN(const std::optional<WalFindings> found, ScanLog(env, absl::StrCat(path, "/", name)));
    if (!found.has_value()) continue;
    report.synced_sequence = std::max(report.synced_sequence, found->synced_sequence);
    if (stopped && found->first_sequence == report.last_sequence + 1) stopped = false;
    if (stopped) {
      report.after_fault = std::max({report.after_fault, found->last_sequence, found->last_sequence_after_fault});
      continue;
    }
    if (report.first_sequence == 0) report.first_sequence = found->first_sequence;
    report.last_sequence = std::max(report.last_sequence, found->last_sequence);
    if (!found->fault_offset.has_value()) continue;
    stopped = true;
    report.after_fault = std::max(report.after_fault, found->last_sequence_after_fault);
    report.file = name;
    report.offset = *found->fault_offset;
  }
  return report;
}

// The newest change that RocksDB has once it recovered from its manifest and its logs.
absl::StatusOr<uint64_t> Recoverable(rocksdb::Env& env, const std::string& path) {
  class NoLog final : public rocksdb::Logger {
   public:
    using rocksdb::Logger::Logv;
    void Logv(const char*, va_list) override {}
  };
  rocksdb::DBOptions options;
  options.env = &env;
  options.info_log = std::make_shared<NoLog>();
  options.max_open_files = 64;
  options.track_and_verify_wals_in_manifest = true;  // as the store: else RocksDB would drop what it tracked
  std::vector<rocksdb::ColumnFamilyHandle*> families;
  rocksdb::DB* raw = nullptr;
  const rocksdb::Status opened = rocksdb::DB::OpenForReadOnly(
      options, path, {{rocksdb::kDefaultColumnFamilyName, {}}, {"blobs", {}}}, &families, &raw);
  PH_RETURN_IF_ERROR(FromRocks(opened, "reading the store"));
  const std::unique_ptr<rocksdb::DB> db(raw);
  const uint64_t sequence = db->GetLatestSequenceNumber();
  for (rocksdb::ColumnFamilyHandle* family : families) db->DestroyColumnFamilyHandle(family);
  return sequence;
}

absl::Status LossError(absl::string_view damage, uint64_t have, uint64_t acknowledged) {
  return absl::DataLossError(absl::StrCat(
      damage, "; ", acknowledged - have, " acknowledged changes (", have + 1, " to ", acknowledged,
      ") would be lost. Nothing was changed. Copy the directory first. Then put an undamaged copy of the file back, or "
      "start once with --accept-data-loss to go on without these changes."));
}

}  // namespace

absl::Status CheckForLoss(rocksdb::Env& env, const std::string& path) {
  // Before the logs: should another process write them now, they have what this says.
  const std::optional<SyncedTo> synced = SyncPoint::Read(env, path);
  PH_ASSIGN_OR_RETURN(const LogsReport logs, ScanLogs(env, path));
  PH_ASSIGN_OR_RETURN(const Manifest manifest, ScanManifest(env, path));
  // RocksDB would make a missing family anew, and pass over its changes in the logs. Without it, a
  // manifest is of a first opening that a crash ended before any change.
  const bool lost_family = logs.last_sequence > 0 && manifest.found && !manifest.names_bodies;
  // A manifest that is cut before its first edit with a number has none. If opening it finds
  // corruption, that says more.
  const bool lost_end = logs.first_sequence > manifest.last_sequence + 1 && !manifest.name.empty() &&
                        (manifest.last_sequence > 0 || !absl::IsDataLoss(Recoverable(env, path).status()));
  if (lost_family || lost_end) {
    const bool cut = manifest.size == manifest.whole_bytes;
    return LossError(absl::StrCat(path, "/", manifest.name,
                                  cut ? " has lost its end, at byte " : " is damaged at byte ", manifest.whole_bytes),
                     lost_family ? 0 : manifest.last_sequence,
                     lost_family ? logs.last_sequence : logs.first_sequence - 1);
  }
  const uint64_t acknowledged = std::max(logs.synced_sequence, synced.has_value() ? synced->sequence : 0);
  const uint64_t found = std::max(logs.last_sequence, synced.has_value() ? synced->base : 0);
  if (acknowledged <= found) return absl::OkStatus();
  // The logs alone do not have it all. A log that was flushed to table files need not.
  const absl::StatusOr<uint64_t> recoverable = Recoverable(env, path);
  if (recoverable.ok() && *recoverable >= acknowledged) return absl::OkStatus();
  // The opening of the store reports more about other damage.
  if (!recoverable.ok() && (!absl::IsDataLoss(recoverable.status()) || logs.file.empty())) return absl::OkStatus();
  const uint64_t have = recoverable.ok() ? *recoverable : found;
  return LossError(logs.file.empty() ? absl::StrCat(path, ": the end of the log is missing")
                                     : absl::StrCat(path, "/", logs.file, " is damaged at byte ", logs.offset),
                   have, acknowledged);
}

absl::Status DropTornManifestEnd(rocksdb::Env& env, const std::string& path) {
  PH_ASSIGN_OR_RETURN(const Manifest manifest, ScanManifest(env, path));
  if (manifest.torn_at.value_or(0) == 0) return absl::OkStatus();
  const std::string file = absl::StrCat(path, "/", manifest.name);
  std::string bytes;
  PH_RETURN_IF_ERROR(FromRocks(rocksdb::ReadFileToString(&env, file, &bytes), absl::StrCat("reading ", file)));
  if (bytes.size() <= *manifest.torn_at) return absl::OkStatus();
  LOG_EVENT(kWarning, "store_manifest_end_dropped")
      .Str("file", file)
      .Int("offset", static_cast<int64_t>(*manifest.torn_at))
      .Int("bytes", static_cast<int64_t>(bytes.size() - *manifest.torn_at));
  // Should it be damage after all, the record may still be wanted.
  KeepDamaged(env, path, manifest.name);
  bytes.resize(*manifest.torn_at);
  const std::string whole = absl::StrCat(path, "/manifest-without-its-torn-end");
  rocksdb::Status status = rocksdb::WriteStringToFile(&env, bytes, whole, /*should_sync=*/true);
  if (status.ok()) status = env.RenameFile(whole, file);
  std::unique_ptr<rocksdb::Directory> directory;
  if (status.ok()) status = env.NewDirectory(path, &directory);
  if (status.ok()) status = directory->Fsync();
  return FromRocks(status, absl::StrCat("dropping the torn end of ", file));
}

void KeepDamaged(rocksdb::Env& env, const std::string& path, const std::string& name) {
  constexpr int kMostOfAName = 100;
  const std::string file = absl::StrCat(path, "/", name);
  if (env.FileExists(file).IsNotFound()) return;
  std::string kept = absl::StrCat(path, kKeptLogs, "/", name);
  rocksdb::Status status = env.CreateDirIfMissing(path + kKeptLogs);
  for (int i = 1; env.FileExists(kept).ok() && i < kMostOfAName; ++i) {
    kept = absl::StrCat(path, kKeptLogs, "/", name, ".", i);
  }
  if (status.ok()) status = env.LinkFile(file, kept);
  log::LogIfError(FromRocks(status, kept), "keeping a damaged file");
}

absl::Status AcceptLoss(rocksdb::Env& env, const std::string& path, const absl::Status& why) {
  LOG_EVENT(kError, "store_loss_accepted").Str("path", path).Err(why);
  // First, so that a crash from here on loses no number that was given out.
  PH_RETURN_IF_ERROR(FromRocks(
      rocksdb::WriteStringToFile(&env, absl::StrCat(why.message(), "\n"), path + kMarker, /*should_sync=*/true),
      "writing the marker RESTORED"));
  std::unique_ptr<rocksdb::Directory> directory;
  PH_RETURN_IF_ERROR(FromRocks(env.NewDirectory(path, &directory), path));
  PH_RETURN_IF_ERROR(FromRocks(directory->Fsync(), path));
  // Opening the database removes the logs; their undamaged part may still be wanted.
  PH_ASSIGN_OR_RETURN(const auto logs, ListLogs(env, path));
  for (const auto& [number, name] : logs) KeepDamaged(env, path, name);
  const rocksdb::Status removed = env.DeleteFile(path + "/SYNCED");
  if (!removed.ok() && env.FileExists(path + "/SYNCED").ok()) return FromRocks(removed, "removing SYNCED");
  return FromRocks(directory->Fsync(), path);
}

namespace {

// "3 <CRC-32C of it>\n"; nothing when there is no such file, or it is damaged.
std::string EncodeIncarnation(uint64_t incarnation) {
  const std::string number = absl::StrCat(incarnation);
  return absl::StrCat(number, " ", Crc32c(number), "\n");
}

std::optional<uint64_t> IncarnationFile(rocksdb::Env& env, const std::string& path) {
  std::string text;
  if (!rocksdb::ReadFileToString(&env, path + kIncarnationFile, &text).ok()) return std::nullopt;
  uint64_t incarnation = 0;
  if (!absl::SimpleAtoi(text.substr(0, text.find(' ')), &incarnation)) return std::nullopt;
  return text == EncodeIncarnation(incarnation) ? std::optional<uint64_t>(incarnation) : std::nullopt;
}

absl::Status WriteIncarnationFile(rocksdb::Env& env, const std::string& path, uint64_t incarnation) {
  const std::string fresh = absl::StrCat(path, kIncarnationFile, ".new");
  rocksdb::Status status =
      rocksdb::WriteStringToFile(&env, EncodeIncarnation(incarnation), fresh, /*should_sync=*/true);
  if (status.ok()) status = env.RenameFile(fresh, path + kIncarnationFile);
  std::unique_ptr<rocksdb::Directory> directory;
  if (status.ok()) status = env.NewDirectory(path, &directory);
  if (status.ok()) status = directory->Fsync();
  return FromRocks(status, "writing the incarnation");
}

}  // namespace

absl::Status CopyIncarnation(rocksdb::Env& env, const std::string& from, const std::string& to) {
  const std::optional<uint64_t> incarnation = IncarnationFile(env, from);
  return incarnation.has_value() ? WriteIncarnationFile(env, to, *incarnation) : absl::OkStatus();
}

absl::StatusOr<IncarnationCheck> CheckIncarnation(rocksdb::Env& env, rocksdb::DB& db, const std::string& path) {
  IncarnationCheck check;
  std::string stored;
  const rocksdb::Status read = db.Get(rocksdb::ReadOptions(), IncarnationKey(), &stored);
  if (!read.ok() && !read.IsNotFound() && !read.IsCorruption()) return FromRocks(read, "reading the incarnation");
  if (read.IsCorruption() || (read.ok() && !absl::SimpleAtoi(stored, &check.incarnation))) {
    LOG_EVENT(kError, "store_incarnation_damaged").Str("path", path).Err(FromRocks(read, "reading it"));
    check.incarnation = 0;
  }
  // The row may be lost; it must not begin again.
  const uint64_t in_file = IncarnationFile(env, path).value_or(0);
  const uint64_t in_row = check.incarnation;
  check.incarnation = std::max(in_row, in_file);
  const std::string marker = path + kMarker;
  if (!env.FileExists(marker).ok()) {
    if (in_file < in_row) log::LogIfError(WriteIncarnationFile(env, path, in_row), "copying the incarnation");
    return check;
  }
  ++check.incarnation;
  check.raised = true;
  PH_RETURN_IF_ERROR(WriteIncarnationFile(env, path, check.incarnation));
  rocksdb::WriteOptions sync;
  sync.sync = true;
  PH_RETURN_IF_ERROR(
      FromRocks(db.Put(sync, IncarnationKey(), absl::StrCat(check.incarnation)), "writing the incarnation"));
  // The marker must not go before the number is in a table: the sync point does not cover it.
  PH_RETURN_IF_ERROR(FromRocks(db.Flush(rocksdb::FlushOptions()), "writing the incarnation"));
  PH_RETURN_IF_ERROR(FromRocks(env.DeleteFile(marker), "removing the marker RESTORED"));
  LOG_EVENT(kWarning, "store_incarnation_raised")
      .Str("path", path)
      .Int("incarnation", static_cast<int64_t>(check.incarnation));
  return check;
}

}  // namespace posthouse::store
