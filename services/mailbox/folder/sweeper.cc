#include "services/mailbox/folder/sweeper.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "posthouse/mailbox/v1/store.pb.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/mailbox/rows/folder_index.h"
#include "services/mailbox/rows/head.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"

namespace posthouse::mailbox {
namespace {

constexpr absl::Duration kPruneEvery = absl::Hours(24);

// When a d/ or a/ row was written, in seconds since 1970.
absl::StatusOr<int64_t> WrittenAt(const store::Row& row) {
  const bool operation = row.key.compare(0, 2, kOperationPrefix) == 0;
  const size_t operation_length = row.key.size() > 2 ? static_cast<unsigned char>(row.key[2]) : 0;
  if (operation && row.key.size() > 3 + operation_length) {
    PH_ASSIGN_OR_RETURN(const v1::CopyBatchRow batch, DecodeRow<v1::CopyBatchRow>(row.value));
    return batch.at();
  }
  PH_ASSIGN_OR_RETURN(const v1::DedupeRow done, DecodeRow<v1::DedupeRow>(row.value));
  return done.at();
}

}  // namespace

absl::Status Sweeper::Stopped() const {
  return stopped_ ? absl::CancelledError("the sweeper was stopped") : absl::OkStatus();
}

Task<absl::StatusOr<std::vector<TenantId>>> Sweeper::Tenants() {
  std::vector<TenantId> out;
  store::ReadRequest request;
  request.partition = SystemPartition();
  request.prefix = kTenantPrefix;
  request.limit = store::kMaxPageRows;
  for (bool more = true; more;) {
    PH_CO_ASSIGN_OR_RETURN(const store::ReadResult read, co_await deps_.store.Read(request));
    for (const store::Row& row : read.page) out.emplace_back(RestOfKey(request.after = row.key));
    more = read.more;
  }
  co_return out;
}

Task<absl::StatusOr<std::vector<FolderId>>> Sweeper::NextFolders(TenantId tenant, std::string& after,
                                                                 std::vector<FolderId>* caches) {
  std::vector<FolderId> out;
  // A page may hold nothing but cache partitions.
  while (out.empty()) {
    PH_CO_RETURN_IF_ERROR(Stopped());
    PH_CO_ASSIGN_OR_RETURN(
        const std::vector<store::Partition> page,
        co_await deps_.store.List(tenant.value(), kFolderPartitionPrefix, after, store::kMaxPageRows));
    if (page.empty()) break;
    for (const store::Partition& p : page) {
      after = p.id;
      FolderId folder_id = FolderOfPartition(p.id);
      if (!folder_id.empty()) {
        out.push_back(std::move(folder_id));
      } else if (caches != nullptr) {
        folder_id = FolderOfCachePartition(p.id);
        if (!folder_id.empty()) caches->push_back(std::move(folder_id));
      }
    }
  }
  co_return out;
}

Task<absl::StatusOr<Sweeper::Result>> Sweeper::Sweep() {
  metrics::Timer timer(deps_.metrics.sweep_seconds);
  Result result;
  const absl::StatusOr<store::CapacityInfo> capacity = co_await deps_.store.Capacity();
  const bool full = capacity.ok() && capacity->full;
  grace_ = full ? std::min(deps_.settings.sweep_grace, kFullGrace) : deps_.settings.sweep_grace;
  PH_CO_ASSIGN_OR_RETURN(const std::vector<TenantId> tenants, co_await Tenants());
  absl::Status failed;
  for (const TenantId& tenant : tenants) {
    absl::Status swept = co_await SweepFolders(tenant, result);
    if (swept.ok()) {
      deps_.pins.BeginSweep();
      swept = co_await SweepBlobs(tenant, result);
      deps_.pins.EndSweep();
    }
    PH_CO_RETURN_IF_ERROR(Stopped());
    // A row of one tenant that cannot be read must not keep the garbage of the others.
    if (!swept.ok()) failed = Annotate(swept, absl::StrCat("tenant ", tenant.value()));
  }
  PH_CO_RETURN_IF_ERROR(failed);
  if (deps_.clock() - last_prune_ >= kPruneEvery) last_prune_ = deps_.clock();
  LOG_EVENT(kInfo, "swept")
      .Int("blobs", static_cast<int64_t>(result.blobs))
      .Int("bytes", static_cast<int64_t>(result.bytes))
      .Int("folders", static_cast<int64_t>(result.folders))
      .Int("dedupe_rows", static_cast<int64_t>(result.dedupe_rows));
  co_return result;
}

// ---- bodies

Task<absl::Status> Sweeper::SweepBlobs(TenantId tenant, Result& result) {
  std::string cursor;
  do {
    PH_CO_ASSIGN_OR_RETURN(const std::vector<Candidate> candidates, co_await OldBlobs(tenant, cursor));
    absl::flat_hash_set<ObjectId> unseen;
    for (const Candidate& c : candidates) unseen.insert(c.blob);
    PH_CO_RETURN_IF_ERROR(co_await RemoveReferenced(tenant, unseen));
    for (const Candidate& c : candidates) {
      if (!unseen.contains(c.blob) || !deps_.pins.MayDelete(c.blob)) continue;
      PH_CO_RETURN_IF_ERROR(co_await deps_.store.blobs().Delete(tenant.value(), c.blob.Hex()));
      ++result.blobs;
      result.bytes += c.size_bytes;
      deps_.metrics.swept_blobs.Add();
      deps_.metrics.swept_bytes.Add(static_cast<double>(c.size_bytes));
    }
  } while (!cursor.empty());
  co_return absl::OkStatus();
}

Task<absl::StatusOr<std::vector<Sweeper::Candidate>>> Sweeper::OldBlobs(TenantId tenant, std::string& cursor) {
  const int64_t before = absl::ToUnixMillis(deps_.clock() - grace_);
  std::vector<Candidate> out;
  do {
    PH_CO_RETURN_IF_ERROR(Stopped());
    PH_CO_ASSIGN_OR_RETURN(store::BlobPage page,
                           co_await deps_.store.blobs().List(tenant.value(), cursor, store::kMaxPageRows));
    cursor = std::move(page.next);
    for (const store::BlobInfo& info : page.blobs) {
      const std::optional<ObjectId> blob = ObjectId::FromHex(info.name);
      if (blob.has_value() && blob->unix_millis() < before) out.push_back({*blob, info.size_bytes});
    }
  } while (!cursor.empty() && out.size() < kWindow);
  co_return out;
}

Task<absl::Status> Sweeper::RemoveReferenced(TenantId tenant, absl::flat_hash_set<ObjectId>& unseen) {
  std::string after_folder;
  while (!unseen.empty()) {
    PH_CO_ASSIGN_OR_RETURN(const std::vector<FolderId> folders, co_await NextFolders(tenant, after_folder));
    if (folders.empty()) break;
    for (const FolderId& folder_id : folders) {
      store::ReadRequest request;
      request.partition = FolderPartition(tenant, folder_id);
      request.prefix = kMessagePrefix;
      request.limit = store::kMaxPageRows;
      for (bool more = true; more;) {
        PH_CO_RETURN_IF_ERROR(Stopped());
        PH_CO_ASSIGN_OR_RETURN(const store::ReadResult read, co_await deps_.store.Read(request));
        for (const store::Row& row : read.page) {
          PH_CO_ASSIGN_OR_RETURN(const v1::MessageRow message, DecodeRow<v1::MessageRow>(row.value));
          unseen.erase(BlobOf(message));
          request.after = row.key;
        }
        more = read.more;
      }
    }
  }
  co_return absl::OkStatus();
}

// ---- folders

Task<absl::Status> Sweeper::SweepFolders(TenantId tenant, Result& result) {
  std::string after;
  while (true) {
    std::vector<FolderId> caches;
    PH_CO_ASSIGN_OR_RETURN(const std::vector<FolderId> folders, co_await NextFolders(tenant, after, &caches));
    for (const FolderId& folder_id : folders) {
      PH_CO_RETURN_IF_ERROR(UnlessDamaged(co_await SweepFolder(tenant, folder_id, result), folder_id));
    }
    for (const FolderId& folder_id : caches) {
      if (std::find(folders.begin(), folders.end(), folder_id) != folders.end()) continue;
      PH_CO_RETURN_IF_ERROR(UnlessDamaged(co_await SweepCache(tenant, folder_id), folder_id));
    }
    if (folders.empty()) co_return absl::OkStatus();
    mailboxes_.Trim();  // the accounts that were opened to look at their trees
  }
}

Task<absl::Status> Sweeper::SweepCache(TenantId tenant, FolderId folder_id) {
  PH_CO_RETURN_IF_ERROR(Stopped());
  store::ReadRequest request;
  request.partition = FolderPartition(tenant, folder_id);
  request.keys = {HeadKey()};
  PH_CO_ASSIGN_OR_RETURN(const store::ReadResult read, co_await deps_.store.Read(std::move(request)));
  if (read.values[0].has_value()) co_return absl::OkStatus();  // on the page before
  co_return co_await deps_.store.Drop(CachePartition(tenant, folder_id));
}

Task<absl::Status> Sweeper::SweepFolder(TenantId tenant, FolderId folder_id, Result& result) {
  PH_CO_RETURN_IF_ERROR(Stopped());
  store::ReadRequest request;
  request.partition = FolderPartition(tenant, folder_id);
  request.keys = {HeadKey()};
  PH_CO_ASSIGN_OR_RETURN(const store::ReadResult read, co_await deps_.store.Read(std::move(request)));
  bool orphan = !read.values[0].has_value();  // a drop that a crash cut short
  Head head;
  if (!orphan) {
    PH_CO_ASSIGN_OR_RETURN(head, Head::Decode(*read.values[0]));
    // The tree may be about to name a young one.
    if (absl::FromUnixSeconds(head.created) < deps_.clock() - deps_.settings.sweep_grace) {
      PH_CO_ASSIGN_OR_RETURN(const std::shared_ptr<Account> account,
                             co_await mailboxes_.LoadAccount(tenant, head.account_id));
      orphan = absl::IsNotFound(account->FindById(folder_id).status());
      if (orphan) {  // by memory; another process may have made the folder
        PH_CO_RETURN_IF_ERROR(co_await account->Refresh());
        orphan = absl::IsNotFound(account->FindById(folder_id).status());
      }
    }
  }
  if (orphan) {
    PH_CO_RETURN_IF_ERROR(co_await deps_.store.Drop(FolderPartition(tenant, folder_id)));
    PH_CO_RETURN_IF_ERROR(co_await deps_.store.Drop(CachePartition(tenant, folder_id)));
    ++result.folders;
    deps_.metrics.swept_folders.Add();
    co_return absl::OkStatus();
  }
  if (deps_.clock() - last_prune_ < kPruneEvery) co_return absl::OkStatus();
  PH_CO_RETURN_IF_ERROR(co_await PruneLog(FolderPartition(tenant, folder_id), head.log_floor));
  co_return co_await PruneDedupeRows(FolderPartition(tenant, folder_id), result);
}

// Commits remove the rows that leave the log; the rows before a jump (Head::Jump) are left for here.
Task<absl::Status> Sweeper::PruneLog(store::Partition partition, Modseq log_floor) {
  store::ReadRequest request;
  request.partition = partition;
  request.prefix = kChangePrefix;
  request.limit = 1;  // most folders have none
  while (true) {
    PH_CO_RETURN_IF_ERROR(Stopped());
    PH_CO_ASSIGN_OR_RETURN(const store::ReadResult read, co_await deps_.store.Read(request));
    store::CommitRequest commit;
    commit.partition = partition;
    for (const store::Row& row : read.page) {
      PH_CO_ASSIGN_OR_RETURN(const Modseq modseq, ModseqOfKey(row.key));
      if (modseq <= log_floor) commit.mutations.push_back({row.key, std::nullopt});
    }
    if (commit.mutations.empty()) co_return absl::OkStatus();
    PH_CO_RETURN_IF_ERROR(co_await deps_.store.Commit(std::move(commit)));
    request.limit = store::kMaxMutations;
  }
}

// A damaged folder keeps no other one from being swept or recovered.
absl::Status Sweeper::UnlessDamaged(const absl::Status& status, const FolderId& folder_id) const {
  if (!absl::IsDataLoss(status)) return status;
  deps_.metrics.corrupt_rows.Add();
  LOG_EVENT(kError, "folder_damaged").Str("folder", folder_id.value()).Err(status);
  return absl::OkStatus();
}

Task<absl::Status> Sweeper::PruneDedupeRows(store::Partition partition, Result& result) {
  const int64_t before = absl::ToUnixSeconds(deps_.clock() - deps_.settings.dedupe_retention);
  for (const char* prefix : {kDeliveryPrefix, kOperationPrefix}) {
    store::ReadRequest request;
    request.partition = partition;
    request.prefix = prefix;
    request.limit = store::kMaxPageRows;
    for (bool more = true; more;) {
      PH_CO_RETURN_IF_ERROR(Stopped());
      PH_CO_ASSIGN_OR_RETURN(const store::ReadResult read, co_await deps_.store.Read(request));
      store::CommitRequest commit;
      commit.partition = partition;
      for (const store::Row& row : read.page) {
        request.after = row.key;
        PH_CO_ASSIGN_OR_RETURN(const int64_t at, WrittenAt(row));
        if (at < before && commit.mutations.size() < store::kMaxMutations) {
          commit.mutations.push_back({row.key, std::nullopt});
        }
      }
      result.dedupe_rows += commit.mutations.size();
      if (!commit.mutations.empty()) PH_CO_RETURN_IF_ERROR(co_await deps_.store.Commit(std::move(commit)));
      more = read.more;
    }
  }
  co_return absl::OkStatus();
}

// ---- moves

Task<absl::Status> Sweeper::RecoverAll() {
  PH_CO_ASSIGN_OR_RETURN(const std::vector<TenantId> tenants, co_await Tenants());
  for (const TenantId& tenant : tenants) {
    std::string after;
    while (true) {
      PH_CO_ASSIGN_OR_RETURN(const std::vector<FolderId> folders, co_await NextFolders(tenant, after));
      if (folders.empty()) break;
      for (const FolderId& folder_id : folders) {
        PH_CO_RETURN_IF_ERROR(UnlessDamaged(co_await Recover(tenant, folder_id), folder_id));
      }
    }
  }
  co_return absl::OkStatus();
}

Task<absl::Status> Sweeper::Recover(TenantId tenant, FolderId folder_id) {
  PH_CO_RETURN_IF_ERROR(Stopped());
  store::ReadRequest request;
  request.partition = FolderPartition(tenant, folder_id);
  request.keys = {HeadKey()};
  PH_CO_ASSIGN_OR_RETURN(const store::ReadResult read, co_await deps_.store.Read(std::move(request)));
  if (!read.values[0].has_value()) co_return absl::OkStatus();
  PH_CO_ASSIGN_OR_RETURN(const Head head, Head::Decode(*read.values[0]));
  if (head.intents == 0) co_return absl::OkStatus();
  PH_CO_ASSIGN_OR_RETURN(const std::shared_ptr<Account> account,
                         co_await mailboxes_.LoadAccount(tenant, head.account_id));
  const absl::Status opened = (co_await mailboxes_.OpenFolder(account, folder_id)).status();
  co_return absl::IsNotFound(opened) ? absl::OkStatus() : opened;
}

}  // namespace posthouse::mailbox
