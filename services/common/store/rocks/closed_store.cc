#include "services/common/store/rocks/closed_store.h"

#include <rocksdb/env.h>
#include <rocksdb/metadata.h>
#include <rocksdb/sst_file_reader.h>
#include <rocksdb/utilities/debug.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/file_blocks.h"
#include "services/common/store/rocks/freezing_fs.h"
#include "services/common/store/rocks/key_encoding.h"
#include "services/common/store/rocks/loss_check.h"
#include "services/common/store/rocks/manifest_copy.h"
#include "services/common/store/rocks/readable_rows.h"
#include "services/common/store/rocks/replaced_files.h"
#include "services/common/store/rocks/rocks_status.h"
#include "services/common/store/rocks/wal_scanner.h"

namespace posthouse::store {
namespace {

constexpr size_t kBodies = 1;  // the family
constexpr size_t kVersionsAtOnce = 200;

using Tables = std::set<uint64_t>;  // by number

struct Table {
  size_t family = 0;
  uint32_t level = 0;
  std::string name, first_key, last_key;
  uint64_t newest = 0;  // sequence number of its newest change
};

// An open database with its families, without some tables; closed in the order of need.
struct View {
  ~View() {
    if (db == nullptr) return;
    for (rocksdb::ColumnFamilyHandle* family : families) db->DestroyColumnFamilyHandle(family);
    db->Close().PermitUncheckedError();
  }
  std::unique_ptr<rocksdb::Env> env;
  std::unique_ptr<rocksdb::DB> db;
  std::vector<rocksdb::ColumnFamilyHandle*> families;
};

// Keys [begin, end) of a family; an empty end: all.
struct Range {
  size_t family = 0;
  std::string begin, end;
};

// What a table that was left out may have hidden: keys from `first` to `last`; no last: all.
struct Shadow {
  size_t family = 0;
  std::string first;
  std::optional<std::string> last;
  uint64_t newest = 0;
  std::string table;
};

// Rows of one partition that may be older than they were.
struct Older {
  std::string first, last;
  uint64_t rows = 0;
};

// The sequence numbers of the newest changes of ascending keys.
class SequenceReader {
 public:
  SequenceReader(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* family) : db_(db), family_(family) {}
  // 0: unknown.
  uint64_t Of(const std::string& key) {
    const auto before = [](const rocksdb::KeyVersion& version, const std::string& k) { return version.user_key < k; };
    auto found = std::lower_bound(versions_.begin(), versions_.end(), key, before);
    if (found == versions_.end()) {
      versions_.clear();
      if (!rocksdb::GetAllKeyVersions(&db_, family_, key, "\xff", kVersionsAtOnce, &versions_).ok()) return 0;
      found = versions_.begin();  // of one key the newest is the first
    }
    return found != versions_.end() && found->user_key == key ? found->sequence : 0;
  }

 private:
  rocksdb::DB& db_;
  rocksdb::ColumnFamilyHandle* const family_;
  std::vector<rocksdb::KeyVersion> versions_;
};

// The number in "... /path/000089.sst ..."; nothing: it names no table.
std::optional<uint64_t> TableNamedIn(const std::string& error) {
  const size_t end = error.find(".sst");
  if (end == error.npos) return std::nullopt;
  size_t begin = end;
  while (begin > 0 && absl::ascii_isdigit(static_cast<unsigned char>(error[begin - 1]))) --begin;
  uint64_t number = 0;
  return absl::SimpleAtoi(error.substr(begin, end - begin), &number) ? std::optional<uint64_t>(number) : std::nullopt;
}

std::string After(const std::string& key) { return key + std::string(1, '\0'); }

}  // namespace

std::vector<rocksdb::ColumnFamilyDescriptor> FamiliesOf(const Tuning& tuning) {
  return {{rocksdb::kDefaultColumnFamilyName, tuning.rows}, {"blobs", tuning.blobs}};
}

struct ClosedStore::Impl {
  explicit Impl(std::string path) : path(std::move(path)) {
    RocksOptions options;
    options.path = this->path;
    tuning = MakeTuning(options);
    // A table that cannot even be opened costs its keys, and not the store.
    tuning.db.paranoid_checks = false;
    tuning.db.skip_checking_sst_file_sizes_on_db_open = true;
  }
  ~Impl() {
    if (lock != nullptr) rocksdb::Env::Default()->UnlockFile(lock).PermitUncheckedError();
  }
  absl::Status ReadManifest();
  absl::StatusOr<std::unique_ptr<View>> Without(const Tables& tables) const;
  absl::Status OpenLogs();
  absl::Status MendLogs(const absl::Status& loss);
  void FindTables(const View& view);
  absl::Status Read(const Tables& without, const std::vector<Range>& ranges, const Row& row);
  void NoteOlder(SequenceReader& sequences, const std::string& key);
  absl::StatusOr<StoreCheck> Finish();

  const std::string path;
  Tuning tuning;
  rocksdb::FileLock* lock = nullptr;
  std::string manifest_name, manifest;  // its whole records
  ReplacedFiles logs;
  std::vector<uint32_t> family_ids;
  std::map<uint64_t, Table> tables;
  Tables unreadable;

  StoreCheck check;
  std::vector<Shadow> shadows;
  std::map<std::pair<std::string, std::string>, Older> older;  // by table and partition
  std::map<Tables, std::vector<Range>> pending;                // by the tables to leave out
};

ClosedStore::ClosedStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ClosedStore::ClosedStore(ClosedStore&&) noexcept = default;
ClosedStore::~ClosedStore() = default;

absl::StatusOr<ClosedStore> ClosedStore::Open(const std::string& path) {
  if (!std::filesystem::exists(path + "/CURRENT") && !std::filesystem::exists(path + "/copies")) {
    return absl::NotFoundError(absl::StrCat(path, " is no store: it has no file CURRENT"));
  }
  rocksdb::Env& env = *rocksdb::Env::Default();
  auto impl = std::make_unique<Impl>(path);
  if (const rocksdb::Status locked = env.LockFile(path + "/LOCK", &impl->lock); !locked.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " is in use: stop the process that has it open. (", locked.ToString(), ")"));
  }
  PH_ASSIGN_OR_RETURN(const ManifestPlan plan, PlanManifest(env, path));
  if (!plan.manifest.empty()) {
    return absl::DataLossError(absl::StrCat(
        plan.why,
        ". Nothing of it is lost: the next start of the service puts it back from its copy. Check again then."));
  }
  PH_RETURN_IF_ERROR(impl->ReadManifest());
  return ClosedStore(std::move(impl));
}

absl::Status ClosedStore::Impl::ReadManifest() {
  rocksdb::Env& env = *rocksdb::Env::Default();
  std::string current;
  PH_RETURN_IF_ERROR(FromRocks(rocksdb::ReadFileToString(&env, path + "/CURRENT", &current), path + "/CURRENT"));
  manifest_name = absl::StrCat(path, "/", absl::StripAsciiWhitespace(current));
  ManifestScanner scanner;
  PH_RETURN_IF_ERROR(ScanFile(env, manifest_name, scanner).status());
  PH_RETURN_IF_ERROR(FromRocks(rocksdb::ReadFileToString(&env, manifest_name, &manifest), manifest_name));
  manifest.resize(std::min<size_t>(manifest.size(), static_cast<size_t>(scanner.whole_bytes())));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<View>> ClosedStore::Impl::Without(const Tables& without) const {
  std::vector<ManifestTable> removed;
  for (const uint64_t number : without) {
    const Table& table = tables.at(number);
    removed.push_back({family_ids[table.family], table.level, number});
  }
  ReplacedFiles replaced = logs;
  if (!removed.empty()) replaced[manifest_name] = ManifestWithout(manifest, removed);
  const auto files = std::make_shared<ReplacedFilesFs>(rocksdb::Env::Default()->GetFileSystem(), std::move(replaced));
  auto view = std::make_unique<View>();
  const auto sealed = std::make_shared<FreezingFs>(files, nullptr);
  sealed->Seal();
  view->env = rocksdb::NewCompositeEnv(sealed);
  rocksdb::DBOptions options = tuning.db;
  options.env = view->env.get();
  rocksdb::DB* opened = nullptr;
  PH_RETURN_IF_ERROR(
      FromRocks(rocksdb::DB::OpenForReadOnly(options, path, FamiliesOf(tuning), &view->families, &opened), path));
  view->db.reset(opened);
  return view;
}

// Chooses how the logs are read, names what they lost, and learns the tables.
absl::Status ClosedStore::Impl::OpenLogs() {
  absl::Status loss = CheckForLoss(*rocksdb::Env::Default(), path);
  absl::StatusOr<std::unique_ptr<View>> view = Without({});
  if (loss.ok() && absl::IsDataLoss(view.status())) loss = view.status();
  if (absl::IsDataLoss(loss)) {
    PH_RETURN_IF_ERROR(MendLogs(loss));
    tuning.db.wal_recovery_mode = rocksdb::WALRecoveryMode::kSkipAnyCorruptedRecords;
    tuning.db.track_and_verify_wals_in_manifest = false;
    view = Without({});
  } else {
    PH_RETURN_IF_ERROR(loss);
  }
  PH_RETURN_IF_ERROR(view.status());
  FindTables(**view);
  return absl::OkStatus();
}

// Replaces damaged logs by their intact records. Only when something acknowledged is missing: behind a torn
// tail there may be batches that were never acknowledged, and must not come before those they follow.
absl::Status ClosedStore::Impl::MendLogs(const absl::Status& loss) {
  rocksdb::Env& env = *rocksdb::Env::Default();
  std::vector<std::string> names;
  PH_RETURN_IF_ERROR(FromRocks(env.GetChildren(path, &names), absl::StrCat("listing ", path)));
  std::map<uint64_t, std::string> by_number;
  for (const std::string& name : names) {
    uint64_t number = 0;
    absl::string_view stem = name;
    if (absl::ConsumeSuffix(&stem, ".log") && absl::SimpleAtoi(stem, &number)) by_number[number] = name;
  }
  uint64_t next = 0;  // sequence number
  bool gap = false;
  for (const auto& [number, name] : by_number) {
    std::string mended;
    WholeRecords records([&](uint64_t sequence, uint32_t changes, absl::string_view batch) {
      if (next != 0 && sequence > next) {
        gap = true;
        check.lost.push_back({absl::StrCat("changes ", next, " to ", sequence - 1), std::string(loss.message())});
      }
      next = std::max(next, sequence + changes);
      AddRecord(batch, &mended);
    });
    PH_RETURN_IF_ERROR(ScanFile(env, absl::StrCat(path, "/", name), records).status());
    if (records.faulty()) logs[absl::StrCat(path, "/", name)] = std::move(mended);
  }
  if (!gap) check.lost.push_back({"the oldest or the newest changes of the log", std::string(loss.message())});
  return absl::OkStatus();
}

void ClosedStore::Impl::FindTables(const View& view) {
  for (rocksdb::ColumnFamilyHandle* family : view.families) family_ids.push_back(family->GetID());
  std::vector<rocksdb::LiveFileMetaData> live;
  view.db->GetLiveFilesMetaData(&live);
  for (const rocksdb::LiveFileMetaData& file : live) {
    const std::string name(absl::StripPrefix(file.name, "/"));
    const size_t family = file.column_family_name == "blobs" ? kBodies : 0;
    const uint64_t number = TableNamedIn(name).value_or(0);
    tables[number] = {
        family, static_cast<uint32_t>(file.level), name, file.smallestkey, file.largestkey, file.largest_seqno};
    rocksdb::SstFileReader reader(rocksdb::Options(tuning.db, family == kBodies ? tuning.blobs : tuning.rows));
    const rocksdb::Status opened = reader.Open(absl::StrCat(path, "/", name));
    if (opened.ok()) continue;
    unreadable.insert(number);
    check.lost.push_back(
        {DescribeInclusive(file.smallestkey, file.largestkey, family == kBodies), FromRocks(opened, name).ToString()});
    shadows.push_back({family, file.smallestkey, file.largestkey, file.largest_seqno, name});
  }
}

absl::Status ClosedStore::Impl::Read(const Tables& without, const std::vector<Range>& ranges, const Row& row) {
  PH_ASSIGN_OR_RETURN(const std::unique_ptr<View> view, Without(without));
  for (const Range& range : ranges) {
    rocksdb::ColumnFamilyHandle* const family = view->families[range.family];
    SequenceReader sequences(*view->db, family);
    const auto take = [&](absl::string_view key, absl::string_view value) {
      if (range.family == kBodies) {
        ++check.bodies;
      } else {
        ++check.rows;
        NoteOlder(sequences, std::string(key));
      }
      return row(range.family, key, value);
    };
    const auto lost = [&](const Unreadable& unread) {
      const std::string error = unread.error.ToString();
      check.lost.push_back({Describe(unread, range.family == kBodies), WithRealNames(error)});
      const std::optional<uint64_t> number = TableNamedIn(error);
      const auto table = number.has_value() ? tables.find(*number) : tables.end();
      if (table == tables.end() || without.contains(*number)) return;
      Tables fewer = without;
      fewer.insert(*number);
      const std::string begin = unread.after.empty() ? range.begin : std::max(After(unread.after), range.begin);
      pending[fewer].push_back({range.family, begin, unread.before.value_or(range.end)});
      shadows.push_back({range.family, begin, unread.before, table->second.newest, table->second.name});
    };
    PH_RETURN_IF_ERROR(WalkReadable(*view->db, family, range.begin, range.end, take, lost));
  }
  return absl::OkStatus();
}

void ClosedStore::Impl::NoteOlder(SequenceReader& sequences, const std::string& key) {
  const auto hides = [&](const Shadow& shadow) {
    return shadow.family != kBodies && shadow.first <= key && (!shadow.last.has_value() || key <= *shadow.last);
  };
  for (const Shadow& shadow : shadows) {
    if (!hides(shadow) || sequences.Of(key) > shadow.newest) continue;
    const std::optional<Partition> partition = PartitionOfRowKey(key);
    Older& noted = older[{shadow.table, partition.has_value() ? PartitionPrefix(*partition) : std::string()}];
    if (noted.rows++ == 0) noted.first = key;
    noted.first = std::min(noted.first, key);
    noted.last = std::max(noted.last, key);
  }
}

absl::StatusOr<StoreCheck> ClosedStore::Impl::Finish() {
  for (const auto& [place, rows] : older) {
    check.older.push_back({absl::StrCat(rows.rows, " of the ", DescribeInclusive(rows.first, rows.last, false)),
                           absl::StrCat("a later change of them, or their removal, may be lost with ", place.first)});
  }
  return std::move(check);
}

absl::StatusOr<StoreCheck> ClosedStore::ReadAll(const Row& row) {
  PH_RETURN_IF_ERROR(impl_->OpenLogs());
  impl_->pending[impl_->unreadable] = {{0, "", ""}, {kBodies, "", ""}};
  while (!impl_->pending.empty()) {
    const auto next = impl_->pending.extract(impl_->pending.begin());
    PH_RETURN_IF_ERROR(impl_->Read(next.key(), next.mapped(), row));
  }
  return impl_->Finish();
}

}  // namespace posthouse::store
