#include "services/common/store/rocks/manifest_copy.h"

#include <rocksdb/env.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/copying_fs.h"
#include "services/common/store/rocks/file_blocks.h"
#include "services/common/store/rocks/loss_check.h"
#include "services/common/store/rocks/rocks_status.h"
#include "services/common/store/rocks/wal_scanner.h"

namespace posthouse::store {
namespace {

constexpr absl::string_view kPrefix = "MANIFEST-";

std::optional<uint64_t> NumberOf(absl::string_view name) {
  uint64_t number = 0;
  if (!absl::ConsumePrefix(&name, kPrefix) || !absl::SimpleAtoi(name, &number)) return std::nullopt;
  return number;
}

absl::StatusOr<std::vector<std::string>> List(rocksdb::Env& env, const std::string& path) {
  std::vector<std::string> names;
  const rocksdb::Status listed = env.GetChildren(path, &names);
  if (listed.IsNotFound() || listed.IsPathNotFound()) return std::vector<std::string>();
  PH_RETURN_IF_ERROR(FromRocks(listed, absl::StrCat("listing ", path)));
  return names;
}

std::map<uint64_t, std::string> ManifestsOf(const std::vector<std::string>& names) {
  std::map<uint64_t, std::string> manifests;
  for (const std::string& name : names) {
    if (const std::optional<uint64_t> number = NumberOf(name); number.has_value()) manifests[*number] = name;
  }
  return manifests;
}

// A store that was used, and not one whose first opening a crash ended.
bool HasData(const std::vector<std::string>& names) {
  return std::any_of(names.begin(), names.end(), [](const std::string& name) {
    return name == "SYNCED" || absl::EndsWith(name, ".sst") || absl::EndsWith(name, ".blob") ||
           absl::EndsWith(name, ".log");
  });
}

struct Scanned {
  bool found = false;
  uint64_t whole = 0;  // bytes of the whole records before the first fault
  uint64_t size = 0;
};

absl::StatusOr<Scanned> Scan(rocksdb::Env& env, const std::string& file) {
  ManifestScanner scanner;
  Scanned scanned;
  PH_ASSIGN_OR_RETURN(scanned.found, ScanFile(env, file, scanner));
  scanned.whole = scanner.whole_bytes();
  scanned.size = scanner.size();
  return scanned;
}

// The number of equal bytes at the beginning, at most `bytes`.
absl::StatusOr<uint64_t> CommonBytes(rocksdb::Env& env, const std::string& a, const std::string& b, uint64_t bytes) {
  if (bytes == 0) return bytes;
  PH_ASSIGN_OR_RETURN(BlockReader left, BlockReader::Open(env, a));
  PH_ASSIGN_OR_RETURN(BlockReader right, BlockReader::Open(env, b));
  for (uint64_t at = 0; at < bytes;) {
    PH_ASSIGN_OR_RETURN(const absl::string_view x, left.Next());
    PH_ASSIGN_OR_RETURN(const absl::string_view y, right.Next());
    const size_t compared = std::min({x.size(), y.size(), static_cast<size_t>(bytes - at)});
    const auto differs = std::mismatch(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(compared), y.begin());
    at += static_cast<uint64_t>(differs.first - x.begin());
    if (compared == 0 || static_cast<size_t>(differs.first - x.begin()) < compared) return std::min(at, bytes);
  }
  return bytes;
}

absl::Status NoCurrent(const std::string& path, absl::string_view why) {
  return absl::DataLossError(absl::StrCat(
      path, "/CURRENT is damaged or missing, and ", why,
      ". Nothing was changed. Copy the directory first. Then put an undamaged copy of the store's directory back."));
}

// The right manifest, by the content of CURRENT and the names of the manifests.
absl::Status ChooseManifest(const std::string& path, const std::map<uint64_t, std::string>& manifests,
                            const std::string& current, ManifestPlan* plan) {
  if (manifests.empty()) return NoCurrent(path, "there is no manifest, which it names");
  if (manifests.size() > 1) {
    std::string names;
    for (const auto& [number, name] : manifests) absl::StrAppend(&names, names.empty() ? "" : " or ", name);
    return absl::DataLossError(absl::StrCat(
        path, "/CURRENT is damaged or missing, and may have been ", names,
        ". Nothing was changed. Copy the directory first. Then write the name of the newer one and a line feed into "
        "CURRENT; should that be refused, the name of the older one."));
  }
  plan->manifest = manifests.begin()->second;
  plan->write_current = true;
  plan->why = current.empty() ? absl::StrCat(path, "/CURRENT is missing or empty")
                              : absl::StrCat(path, "/CURRENT does not name the store's manifest");
  return absl::OkStatus();
}

absl::Status Compare(rocksdb::Env& env, const std::string& path, ManifestPlan* plan) {
  const std::string manifest = absl::StrCat(path, "/", plan->manifest);
  const std::string copy = absl::StrCat(path, "/", kCopiesDirectory, "/", plan->manifest);
  PH_ASSIGN_OR_RETURN(const Scanned real, Scan(env, manifest));
  PH_ASSIGN_OR_RETURN(const Scanned other, Scan(env, copy));
  const uint64_t both = std::min(real.whole, other.whole);
  PH_ASSIGN_OR_RETURN(const uint64_t common, CommonBytes(env, manifest, copy, both));
  if (common < both) {
    return absl::DataLossError(absl::StrCat(
        manifest, " and ", copy, " differ at byte ", common,
        ", and both look undamaged: one of them is of another store. Nothing was changed. Copy the directory first. "
        "Then put the right manifest back, and remove the directory ",
        path, "/", kCopiesDirectory, "."));
  }
  plan->from_copy = other.whole > real.whole;
  plan->cut = !plan->from_copy && real.size > real.whole;
  plan->bytes = std::max(real.whole, other.whole);
  const absl::string_view fault = !real.found              ? " is missing"
                                  : real.size > real.whole ? " is damaged at byte "
                                                           : " has lost its end, at byte ";
  if (plan->from_copy || plan->cut) {
    absl::StrAppend(&plan->why, plan->why.empty() ? "" : "; ", manifest, fault);
    if (real.found) absl::StrAppend(&plan->why, real.whole);
  }
  return absl::OkStatus();
}

// Puts a file of the first `bytes` of `source` in place of the file `name`, which goes to damaged-logs.
rocksdb::Status Replace(rocksdb::Env& env, const std::string& path, const std::string& source, uint64_t bytes,
                        const std::string& name, absl::Status* read) {
  const std::string fresh = path + "/restored-manifest";
  std::unique_ptr<rocksdb::WritableFile> to;
  rocksdb::Status status = env.NewWritableFile(fresh, &to, rocksdb::EnvOptions());
  if (!status.ok()) return status;
  absl::StatusOr<BlockReader> from = BlockReader::Open(env, source);
  *read = from.status();
  while (bytes > 0 && read->ok() && status.ok()) {
    const absl::StatusOr<absl::string_view> block = from->Next();
    *read =
        block.ok() && block->empty() ? absl::DataLossError(absl::StrCat(source, " became shorter")) : block.status();
    if (!read->ok()) break;
    const size_t taken = std::min(block->size(), static_cast<size_t>(bytes));
    status = to->Append(rocksdb::Slice(block->data(), taken));
    bytes -= taken;
  }
  if (status.ok() && read->ok()) status = to->Sync();
  if (status.ok() && read->ok()) status = to->Close();
  if (!status.ok() || !read->ok()) return status;
  KeepDamaged(env, path, name);
  return env.RenameFile(fresh, absl::StrCat(path, "/", name));
}

rocksdb::Status WriteCurrent(rocksdb::Env& env, const std::string& path, const std::string& manifest) {
  const std::string fresh = path + "/restored-current";
  rocksdb::Status status = rocksdb::WriteStringToFile(&env, manifest + "\n", fresh, /*should_sync=*/true);
  if (!status.ok()) return status;
  KeepDamaged(env, path, "CURRENT");
  return env.RenameFile(fresh, path + "/CURRENT");
}

}  // namespace

absl::StatusOr<ManifestPlan> PlanManifest(rocksdb::Env& env, const std::string& path) {
  ManifestPlan plan;
  PH_ASSIGN_OR_RETURN(const std::vector<std::string> names, List(env, path));
  PH_ASSIGN_OR_RETURN(const std::vector<std::string> copied, List(env, absl::StrCat(path, "/", kCopiesDirectory)));
  const std::map<uint64_t, std::string> manifests = ManifestsOf(names);
  const std::map<uint64_t, std::string> copies = ManifestsOf(copied);
  std::string current;
  const rocksdb::Status read = rocksdb::ReadFileToString(&env, path + "/CURRENT", &current);
  const bool absent = read.IsNotFound() || read.IsPathNotFound();
  if (!absent) PH_RETURN_IF_ERROR(FromRocks(read, absl::StrCat("reading ", path, "/CURRENT")));
  const bool whole = absl::EndsWith(current, "\n");
  const std::string named(absl::StripSuffix(current, "\n"));
  const std::optional<uint64_t> number = NumberOf(named);
  if (copies.empty()) {
    if ((absent || current.empty()) && HasData(names)) {
      PH_RETURN_IF_ERROR(ChooseManifest(path, manifests, current, &plan));
    }
    return plan;
  }
  if (absent && !HasData(names)) return plan;  // RocksDB begins anew
  if (whole && number.has_value() && *number > copies.rbegin()->first && manifests.contains(*number)) {
    return plan;  // of a release that made no copies
  }
  if (whole && number.has_value() && copies.contains(*number) && copies.at(*number) == named) {
    plan.manifest = named;
  } else {
    PH_RETURN_IF_ERROR(ChooseManifest(path, copies, current, &plan));
  }
  PH_RETURN_IF_ERROR(Compare(env, path, &plan));
  if (!plan.write_current && !plan.from_copy && !plan.cut) plan.manifest.clear();
  return plan;
}

absl::StatusOr<bool> RestoreManifest(rocksdb::Env& env, const std::string& path) {
  PH_ASSIGN_OR_RETURN(const ManifestPlan plan, PlanManifest(env, path));
  if (plan.manifest.empty()) return false;
  LOG_EVENT(kError, "store_manifest_restored")
      .Str("file", absl::StrCat(path, "/", plan.manifest))
      .Str("damage", plan.why)
      .Str("from", plan.from_copy ? "its copy" : "itself");
  absl::Status read;
  rocksdb::Status status;
  if (plan.from_copy || plan.cut) {
    const std::string source = plan.from_copy ? absl::StrCat(path, "/", kCopiesDirectory, "/", plan.manifest)
                                              : absl::StrCat(path, "/", plan.manifest);
    status = Replace(env, path, source, plan.bytes, plan.manifest, &read);
  }
  PH_RETURN_IF_ERROR(read);
  if (status.ok() && plan.write_current) status = WriteCurrent(env, path, plan.manifest);
  std::unique_ptr<rocksdb::Directory> directory;
  if (status.ok()) status = env.NewDirectory(path, &directory);
  if (status.ok()) status = directory->Fsync();
  PH_RETURN_IF_ERROR(FromRocks(status, absl::StrCat("restoring ", path, "/", plan.manifest)));
  return true;
}

}  // namespace posthouse::store
