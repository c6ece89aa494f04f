// Repository: the backups of one store in a directory (posthouse/backup/v1/backup.proto has the format).
//
//   <directory>/<store>/objects/<ab>/<sha256>   files of stores, each once
//                       backups/<id>.json       one for each backup; written last
//                       new/                    objects that are being written
//                       LOCK                    held by the one writer
//
// A crash leaves objects that no backup names, and Prune() removes them. Nothing that a
// backup names is ever changed. Threads: one at a time. Blocks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "posthouse/backup/v1/backup.pb.h"
#include "services/common/backup/settings.h"
#include "services/common/backup/transfer.h"
#include "services/common/store/store.h"

namespace posthouse::backup {

inline constexpr uint32_t kFormat = 1;

// The name of a store's folder: "mailbox-a". Bytes that are no letter, digit, dot, dash or underscore become %XX.
std::string StoreName(const std::string& service, const std::string& shard);
// An id for a backup that begins now: "20261129T083428123Z-1a2b3c4d".
std::string NewId(absl::Time now);
bool IsId(const std::string& text);

struct Listing {
  std::vector<v1::Backup> backups;  // newest first
  // Files in backups/ that this program cannot read, with the reason: damaged, or of a newer format.
  std::vector<std::string> unreadable;
};

struct Verification {
  uint64_t objects = 0;
  std::vector<std::string> damaged;  // "000012.blob: ..."
};

class Repository {
 public:
  // To read. kNotFound: the directory has no folder for the store.
  static absl::StatusOr<std::unique_ptr<Repository>> Open(const std::string& directory, const std::string& store);
  // To write; makes what is missing. kFailedPrecondition: another process writes.
  static absl::StatusOr<std::unique_ptr<Repository>> OpenToWrite(const std::string& directory,
                                                                 const std::string& store);
  // The stores that have a folder in `directory`.
  static absl::StatusOr<std::vector<std::string>> Stores(const std::string& directory);
  ~Repository();

  // `with_files` false: without their lists of files.
  absl::StatusOr<Listing> List(bool with_files);
  // kNotFound; kDataLoss: it cannot be read.
  absl::StatusOr<v1::Backup> Get(const std::string& id);
  // The newest one, which List() has first. kNotFound: there is none.
  absl::StatusOr<v1::Backup> Newest();

  // Adds the image in `folder`. `head` has what describes the backup; the rest is filled in. Copies the files that no
  // earlier backup has.
  absl::StatusOr<v1::Backup> Add(v1::Backup head, const store::StoreImage& image, const std::string& folder,
                                 Transfer& transfer);
  // The bytes that Add() would read.
  absl::StatusOr<uint64_t> BytesToCopy(const store::StoreImage& image, const std::string& folder);

  // Removes backups that `retention` no longer keeps, and the objects that none of the others names. Returns how many
  // backups went. Keeps all objects while a backup cannot be read.
  absl::StatusOr<uint64_t> Prune(const Retention& retention, absl::Time now);

  // Reads every object of the backup. A damaged one gets a name that ends in ".damaged", so that the next backup copies
  // the file again if the store still has it. Needs OpenToWrite().
  absl::StatusOr<Verification> Verify(const v1::Backup& backup, Transfer& transfer);

  std::string ObjectPath(const std::string& sha256) const;

 private:
  Repository(std::string folder, int lock) : folder_(std::move(folder)), lock_(lock) {}
  absl::StatusOr<v1::File> AddFile(const store::StoreImage::File& file, const std::string& stamp,
                                   const std::string& folder, Transfer& transfer, uint64_t* copied);
  // The files of the newest backup of this lineage, by name, size and stamp, whose objects are there.
  absl::StatusOr<std::function<const v1::File*(const v1::File&)>> Known(const std::string& lineage);

  const std::string folder_;
  const int lock_;  // -1: not held
};

}  // namespace posthouse::backup
