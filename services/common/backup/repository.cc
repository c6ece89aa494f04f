#include "services/common/backup/repository.h"

#include <fcntl.h>
#include <google/protobuf/util/json_util.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <set>
#include <system_error>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "services/common/durable_file/durable_file.h"
#include "services/common/ids/ids.h"
#include "services/common/log/log.h"
#include "services/common/private_dir/private_dir.h"
#include "services/common/status/status.h"
#include "services/common/time/proto_time.h"

namespace posthouse::backup {
namespace {

namespace fs = std::filesystem;

constexpr char kSuffix[] = ".json";

absl::Status Failed(absl::string_view what, const std::string& path, const std::error_code& error) {
  return absl::UnavailableError(absl::StrCat(what, " ", path, ": ", error.message()));
}

// The names in a directory, sorted.
absl::StatusOr<std::vector<std::string>> Names(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(directory, error), end; !error && at != end; at.increment(error)) {
    names.push_back(at->path().filename().string());
  }
  if (error == std::errc::no_such_file_or_directory) return absl::NotFoundError(absl::StrCat(directory, " is missing"));
  if (error) return Failed("listing", directory, error);
  std::sort(names.begin(), names.end());
  return names;
}

bool IsSha256(absl::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), absl::ascii_isxdigit);
}

// A backup names files of a store and objects: nothing that leads out of a directory.
bool IsPlainName(absl::string_view name) {
  return !name.empty() && name != "." && name != ".." && !absl::StrContains(name, '/') &&
         std::none_of(name.begin(), name.end(), absl::ascii_iscntrl);
}

absl::StatusOr<v1::Backup> Parse(const std::string& path, const std::string& id) {
  PH_ASSIGN_OR_RETURN(const std::string text, ReadWhole(path));
  v1::Backup backup;
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  if (!google::protobuf::util::JsonStringToMessage(text, &backup, options).ok()) {
    return absl::DataLossError(absl::StrCat(path, " is damaged: it is no backup in JSON"));
  }
  if (backup.format() > kFormat) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " has format ", backup.format(), "; this program knows up to ", kFormat));
  }
  if (backup.id() != id)
    return absl::DataLossError(absl::StrCat(path, " is damaged: it says that it is ", backup.id()));
  for (const v1::File& file : backup.files()) {
    if (!IsPlainName(file.name()) || !IsSha256(file.object())) {
      return absl::DataLossError(absl::StrCat(path, " is damaged: bad file \"", absl::CHexEscape(file.name()), "\""));
    }
  }
  return backup;
}

// The identity of an unchanging file. Hard links keep it.
std::string StampOf(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return "";
  return absl::StrCat(info.st_mtim.tv_sec, ".", absl::Dec(info.st_mtim.tv_nsec, absl::kZeroPad9));
}

bool HasSize(const std::string& path, uint64_t size) {
  struct stat info = {};
  return stat(path.c_str(), &info) == 0 && static_cast<uint64_t>(info.st_size) == size;
}

}  // namespace

std::string StoreName(const std::string& service, const std::string& shard) {
  std::string name = service;
  if (!shard.empty()) name.push_back('-');
  for (const char c : shard) {
    const auto byte = static_cast<unsigned char>(c);
    if (absl::ascii_isalnum(byte) || c == '.' || c == '-' || c == '_') {
      name.push_back(c);
    } else {
      absl::StrAppend(&name, "%", absl::AsciiStrToUpper(absl::BytesToHexString({&c, 1})));
    }
  }
  return name;
}

std::string NewId(absl::Time now) {
  const auto milliseconds = absl::ToUnixMillis(now) % 1000;
  return absl::StrCat(absl::FormatTime("%Y%m%dT%H%M%S", now, absl::UTCTimeZone()),
                      absl::Dec(milliseconds, absl::kZeroPad3), "Z-", absl::BytesToHexString(RandomBytes(4)));
}

bool IsId(const std::string& text) {
  if (text.size() != 28 || text[8] != 'T' || text[18] != 'Z' || text[19] != '-') return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (i == 8 || i == 18 || i == 19) continue;
    if (i < 18 ? !absl::ascii_isdigit(c) : !absl::ascii_isxdigit(c) || absl::ascii_isupper(c)) return false;
  }
  return true;
}

absl::StatusOr<std::unique_ptr<Repository>> Repository::Open(const std::string& directory, const std::string& store) {
  const std::string folder = absl::StrCat(directory, "/", store);
  std::error_code error;
  if (!fs::is_directory(folder + "/backups", error)) {
    return absl::NotFoundError(absl::StrCat(folder, " has no backups"));
  }
  return std::unique_ptr<Repository>(new Repository(folder, -1));
}

absl::StatusOr<std::unique_ptr<Repository>> Repository::OpenToWrite(const std::string& directory,
                                                                    const std::string& store) {
  const std::string folder = absl::StrCat(directory, "/", store);
  for (const char* name : {"/objects", "/backups", "/new"}) {
    std::error_code error;
    if (!fs::is_directory(folder + name, error)) PH_RETURN_IF_ERROR(OpenPrivateDirectory(folder + name));
  }
  const std::string path = folder + "/LOCK";
  const int lock = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock < 0) return absl::ErrnoToStatus(errno, absl::StrCat("opening ", path));
  if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
    close(lock);
    return absl::FailedPreconditionError(absl::StrCat("another process writes or verifies backups in ", folder));
  }
  return std::unique_ptr<Repository>(new Repository(folder, lock));
}

absl::StatusOr<std::vector<std::string>> Repository::Stores(const std::string& directory) {
  PH_ASSIGN_OR_RETURN(const std::vector<std::string> names, Names(directory));
  std::vector<std::string> stores;
  std::error_code error;
  for (const std::string& name : names) {
    if (fs::is_directory(absl::StrCat(directory, "/", name, "/backups"), error)) stores.push_back(name);
  }
  return stores;
}

Repository::~Repository() {
  if (lock_ >= 0) close(lock_);
}

std::string Repository::ObjectPath(const std::string& sha256) const {
  return absl::StrCat(folder_, "/objects/", sha256.substr(0, 2), "/", sha256);
}

absl::StatusOr<Listing> Repository::List(bool with_files) {
  PH_ASSIGN_OR_RETURN(const std::vector<std::string> names, Names(folder_ + "/backups"));
  Listing listing;
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    absl::string_view id = *name;
    if (!absl::ConsumeSuffix(&id, kSuffix)) continue;  // ".new" of a crash
    absl::StatusOr<v1::Backup> backup = Parse(absl::StrCat(folder_, "/backups/", *name), std::string(id));
    if (!backup.ok()) {
      listing.unreadable.push_back(std::string(backup.status().message()));
      continue;
    }
    if (!with_files) backup->clear_files();
    listing.backups.push_back(*std::move(backup));
  }
  return listing;
}

absl::StatusOr<v1::Backup> Repository::Get(const std::string& id) {
  const std::string path = absl::StrCat(folder_, "/backups/", id, kSuffix);
  std::error_code error;
  if (!IsId(id) || !fs::exists(path, error)) {
    return absl::NotFoundError(absl::StrCat("no backup ", absl::CHexEscape(id), " in ", folder_));
  }
  return Parse(path, id);
}

absl::StatusOr<v1::Backup> Repository::Newest() {
  PH_ASSIGN_OR_RETURN(const std::vector<std::string> names, Names(folder_ + "/backups"));
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    absl::string_view id = *name;
    if (!absl::ConsumeSuffix(&id, kSuffix)) continue;
    absl::StatusOr<v1::Backup> backup = Parse(absl::StrCat(folder_, "/backups/", *name), std::string(id));
    if (backup.ok()) return backup;
    log::LogIfError(backup.status(), "looking for the newest backup");
  }
  return absl::NotFoundError(absl::StrCat("no backup in ", folder_));
}

// ---- adding

absl::StatusOr<std::function<const v1::File*(const v1::File&)>> Repository::Known(const std::string& lineage) {
  using Key = std::tuple<std::string, uint64_t, std::string>;
  const auto files = std::make_shared<std::map<Key, v1::File>>();
  absl::StatusOr<v1::Backup> newest = Newest();
  if (!newest.ok() && !absl::IsNotFound(newest.status())) return newest.status();
  if (newest.ok() && newest->lineage() == lineage) {
    for (const v1::File& file : newest->files()) {
      if (file.stamp().empty() || !HasSize(ObjectPath(file.object()), file.size_bytes())) continue;
      files->emplace(Key(file.name(), file.size_bytes(), file.stamp()), file);
    }
  }
  return [files](const v1::File& file) -> const v1::File* {
    const auto at = files->find(Key(file.name(), file.size_bytes(), file.stamp()));
    return file.stamp().empty() || at == files->end() ? nullptr : &at->second;
  };
}

absl::StatusOr<uint64_t> Repository::BytesToCopy(const store::StoreImage& image, const std::string& folder) {
  PH_ASSIGN_OR_RETURN(const auto known, Known(image.lineage));
  uint64_t bytes = 0;
  for (const store::StoreImage::File& file : image.files) {
    v1::File asked;
    asked.set_name(file.name);
    asked.set_size_bytes(file.size_bytes);
    if (file.immutable) asked.set_stamp(StampOf(absl::StrCat(folder, "/", file.name)));
    if (known(asked) == nullptr) bytes += file.size_bytes;
  }
  return bytes;
}

absl::StatusOr<v1::File> Repository::AddFile(const store::StoreImage::File& file, const std::string& stamp,
                                             const std::string& folder, Transfer& transfer, uint64_t* copied) {
  const std::string from = absl::StrCat(folder, "/", file.name);
  const std::string fresh = absl::StrCat(folder_, "/new/", absl::BytesToHexString(RandomBytes(8)));
  PH_ASSIGN_OR_RETURN(const Digest digest, transfer.Copy(from, fresh));
  const std::string object = ObjectPath(digest.sha256);
  if (digest.size_bytes != file.size_bytes) {
    unlink(fresh.c_str());
    return absl::DataLossError(absl::StrCat(from, " has ", digest.size_bytes, " bytes instead of ", file.size_bytes));
  }
  if (HasSize(object, digest.size_bytes)) {
    unlink(fresh.c_str());
  } else {
    const std::string parent = object.substr(0, object.rfind('/'));
    if (mkdir(parent.c_str(), 0700) == 0) PH_RETURN_IF_ERROR(SyncDirectory(folder_ + "/objects"));
    if (rename(fresh.c_str(), object.c_str()) != 0) {
      return absl::ErrnoToStatus(errno, absl::StrCat("renaming ", fresh, " to ", object));
    }
    PH_RETURN_IF_ERROR(SyncDirectory(parent));
    *copied += digest.size_bytes;
  }
  v1::File added;
  added.set_name(file.name);
  added.set_size_bytes(digest.size_bytes);
  added.set_object(digest.sha256);
  added.set_stamp(stamp);
  return added;
}

absl::StatusOr<v1::Backup> Repository::Add(v1::Backup head, const store::StoreImage& image, const std::string& folder,
                                           Transfer& transfer) {
  v1::Backup backup = std::move(head);
  if (!IsId(backup.id())) return absl::InvalidArgumentError("a backup needs an id");
  const std::string path = absl::StrCat(folder_, "/backups/", backup.id(), kSuffix);
  std::error_code error;
  if (fs::exists(path, error)) return absl::AlreadyExistsError(absl::StrCat(path, " exists"));
  PH_ASSIGN_OR_RETURN(const auto known, Known(image.lineage));
  backup.set_format(kFormat);
  backup.set_lineage(image.lineage);
  backup.set_incarnation(image.incarnation);
  uint64_t copied = 0, size = 0;
  for (const store::StoreImage::File& file : image.files) {
    v1::File asked;
    asked.set_name(file.name);
    asked.set_size_bytes(file.size_bytes);
    if (file.immutable) asked.set_stamp(StampOf(absl::StrCat(folder, "/", file.name)));
    if (const v1::File* same = known(asked); same != nullptr) {
      *backup.add_files() = *same;
    } else {
      PH_ASSIGN_OR_RETURN(*backup.add_files(), AddFile(file, asked.stamp(), folder, transfer, &copied));
    }
    size += file.size_bytes;
  }
  backup.set_size_bytes(size);
  backup.set_copied_bytes(copied);
  backup.set_file_count(static_cast<uint64_t>(backup.files_size()));
  ToProto(absl::Now(), backup.mutable_finished());
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.preserve_proto_field_names = true;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(backup, &text, options).ok()) {
    return absl::InternalError("a backup has no JSON: a file's name is not UTF-8");
  }
  PH_RETURN_IF_ERROR(WriteDurably(path, text));
  return backup;
}

// ---- removing

absl::StatusOr<uint64_t> Repository::Prune(const Retention& retention, absl::Time now) {
  PH_ASSIGN_OR_RETURN(const Listing listing, List(/*with_files=*/true));
  uint64_t removed = 0, kept = 0;
  absl::flat_hash_set<std::string> named;
  for (const v1::Backup& backup : listing.backups) {
    if (kept < retention.keep_last || FromProto(backup.instant()) + retention.keep_for > now) {
      ++kept;
      for (const v1::File& file : backup.files()) named.insert(file.object());
      continue;
    }
    const std::string path = absl::StrCat(folder_, "/backups/", backup.id(), kSuffix);
    if (unlink(path.c_str()) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("removing ", path));
    ++removed;
    LOG_EVENT(kInfo, "backup_removed").Str("folder", folder_).Str("id", backup.id());
  }
  if (removed > 0) PH_RETURN_IF_ERROR(SyncDirectory(folder_ + "/backups"));
  PH_ASSIGN_OR_RETURN(const std::vector<std::string> unfinished, Names(folder_ + "/new"));
  for (const std::string& name : unfinished) unlink(absl::StrCat(folder_, "/new/", name).c_str());
  if (!listing.unreadable.empty()) {
    LOG_EVENT(kWarning, "backup_objects_kept").Str("folder", folder_).Str("why", listing.unreadable[0]);
    return removed;
  }
  PH_ASSIGN_OR_RETURN(const std::vector<std::string> parents, Names(folder_ + "/objects"));
  for (const std::string& parent : parents) {
    const std::string directory = absl::StrCat(folder_, "/objects/", parent);
    PH_ASSIGN_OR_RETURN(const std::vector<std::string> objects, Names(directory));
    for (const std::string& object : objects) {
      if (IsSha256(object) && !named.contains(object)) unlink(absl::StrCat(directory, "/", object).c_str());
    }
  }
  return removed;
}

// ---- reading back

absl::StatusOr<Verification> Repository::Verify(const v1::Backup& backup, Transfer& transfer) {
  if (lock_ < 0) return absl::FailedPreconditionError("the repository is open for reading only");
  Verification result;
  absl::flat_hash_set<std::string> seen;
  for (const v1::File& file : backup.files()) {
    if (!seen.insert(file.object()).second) continue;
    ++result.objects;
    const std::string path = ObjectPath(file.object());
    const absl::StatusOr<Digest> digest = transfer.Read(path);
    if (digest.ok() && digest->sha256 == file.object()) continue;
    if (!digest.ok() && !absl::IsNotFound(digest.status()) && !absl::IsDataLoss(digest.status()) &&
        !absl::IsUnknown(digest.status())) {
      return digest.status();  // told to stop, or a volume that does not answer
    }
    result.damaged.push_back(digest.ok() ? absl::StrCat(file.name(), ": ", path, " has other bytes")
                                         : absl::StrCat(file.name(), ": ", digest.status().message()));
    if (digest.ok()) rename(path.c_str(), (path + ".damaged").c_str());
  }
  return result;
}

}  // namespace posthouse::backup
