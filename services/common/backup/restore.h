// Restore: makes a store from a backup, in a data directory where there is none.
//
// The store is put together beside its place and moved there when it is whole, so a crash
// leaves nothing that looks like a store. Then the directory has two marks for the first start:
//   RESTORED  the store is older than what clients saw: its incarnation rises (loss_check.h), so
//             that no UID, UIDVALIDITY or MODSEQ is given out again
//   HOLD      of a queue: its messages may have been delivered after the backup, so they
//             are held until an operator releases them
//
// Threads: one. Blocks. No process may have the data directory open.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "posthouse/backup/v1/backup.pb.h"
#include "services/common/backup/transfer.h"

namespace posthouse::backup {

inline constexpr char kHoldFile[] = "HOLD";

struct RestoreOptions {
  std::string directory;  // the repository
  std::string store;      // its folder there: "mailbox-a"
  std::string id;         // of the backup
  std::string data_dir;   // the store goes to <data_dir>/<service>
  bool hold_queue = true;
};

struct Restored {
  v1::Backup backup;
  std::string path;  // of the store
};

// kFailedPrecondition: there is a store already. kNotFound: no such backup. kDataLoss: an object is
// damaged. After an error nothing is in place.
absl::StatusOr<Restored> Restore(const RestoreOptions& options, Transfer& transfer);

// The newest id that each of `stores` has. kNotFound: there is none.
absl::StatusOr<std::string> NewestCommonId(const std::string& directory, const std::vector<std::string>& stores);

}  // namespace posthouse::backup
