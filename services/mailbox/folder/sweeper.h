// Sweeper: removes bodies that no row names, partitions of folders that no tree names, and old
// delivery and operation ids. At start it finishes interrupted moves.
//
// It runs beside all other work. It keeps a body that is younger than the grace period or was
// pinned since the sweep began (blob_pins.h). When it cannot read a row, it keeps every body of
// that tenant. Memory: kWindow body names at a time. On a full store the grace period of bodies is
// kFullGrace: expunged mail must make room at once, and pins guard what operations still write.
//
// Threads: one sweep at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/ids/ids.h"
#include "services/mailbox/folder/mailbox_deps.h"
#include "services/mailbox/folder/mailboxes.h"

namespace posthouse::mailbox {

class Sweeper {
 public:
  static constexpr size_t kWindow = 500000;
  static constexpr absl::Duration kFullGrace = absl::Minutes(5);

  Sweeper(MailboxDeps& deps, Mailboxes& mailboxes) : deps_(deps), mailboxes_(mailboxes) {}

  struct Result {
    uint64_t blobs = 0;
    uint64_t bytes = 0;
    uint64_t folders = 0;
    uint64_t dedupe_rows = 0;
  };
  // All tenants. kCancelled after Stop().
  Task<absl::StatusOr<Result>> Sweep();
  // Opens every folder that has an intent, which finishes its moves.
  Task<absl::Status> RecoverAll();
  // Ends a running sweep soon. Threads: any.
  void Stop() { stopped_ = true; }

 private:
  struct Candidate {
    ObjectId blob;
    uint64_t size_bytes = 0;
  };
  Task<absl::StatusOr<std::vector<TenantId>>> Tenants();
  Task<absl::Status> SweepBlobs(TenantId tenant, Result& result);
  // Blobs older than the grace time, from `cursor` on, which moves; empty: the end.
  Task<absl::StatusOr<std::vector<Candidate>>> OldBlobs(TenantId tenant, std::string& cursor);
  Task<absl::Status> RemoveReferenced(TenantId tenant, absl::flat_hash_set<ObjectId>& unseen);
  Task<absl::Status> SweepFolders(TenantId tenant, Result& result);
  Task<absl::Status> SweepFolder(TenantId tenant, FolderId folder_id, Result& result);
  Task<absl::Status> PruneLog(store::Partition partition, Modseq log_floor);
  // Finishes the moves out of a folder.
  Task<absl::Status> Recover(TenantId tenant, FolderId folder_id);
  absl::Status UnlessDamaged(const absl::Status& status, const FolderId& folder_id) const;
  Task<absl::Status> PruneDedupeRows(store::Partition partition, Result& result);
  // Folder ids of a tenant after `after`; empty: no more. `caches` gets those of the cache partitions in between.
  Task<absl::StatusOr<std::vector<FolderId>>> NextFolders(TenantId tenant, std::string& after,
                                                          std::vector<FolderId>* caches = nullptr);
  // Drops the cache of a folder that is gone: a reader may write into it after the folder's end.
  Task<absl::Status> SweepCache(TenantId tenant, FolderId folder_id);
  absl::Status Stopped() const;

  MailboxDeps& deps_;
  Mailboxes& mailboxes_;
  std::atomic<bool> stopped_{false};
  absl::Duration grace_;  // of bodies, in this sweep
  absl::Time last_prune_ = absl::InfinitePast();
};

}  // namespace posthouse::mailbox
