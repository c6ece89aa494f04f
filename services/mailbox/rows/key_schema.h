// Keys of the mailbox's rows. No other file builds or splits a key.
//
//   partition        row              value            written                       read
//   mailbox ("")     V                SystemRow        App start                     App start
//                    t/<tenant>       TenantRow        first account of a tenant     sweeper, reconciler
//                    e/<since:be64><tenant>/<account>  ErasedRow  end of an erasure  eraser
//   acct/<account>   S                AccountRow       every tree change (guard)     AccountModel::Load
//                    f/<node:16>      FolderRow        create, rename, subscribe     AccountModel::Load
//                    n/<parent:16><name>  node id      no longer; removed with f/    nobody
//                    c/<version:be64> TreeChange       every tree change             AccountModel::Patch
//                    s/<full name>    SubscriptionRow  subscribe without a folder    AccountModel::Load
//                    z/<folder>       DoomedRow        deletion of the folder        AccountModel::Load
//   mb/<folder>      H                FolderHead       every commit (guard)          FolderModel::Load
//                    m/<uid:be32>     MessageRow       append, flags, expunge        index load, fetch
//                    q/<modseq:be64>  ChangeRow        every commit                  GetChanges, QRESYNC
//                    d/<delivery id>  DedupeRow        delivery (guard: absent)      conflict only
//                    a/<len><op>      DedupeRow        append (guard: absent)        conflict only
//                    a/<len><op><batch:be32>  CopyBatchRow  copy, in the target      copy
//                    k/<n:be16>       keyword name     first use of a keyword        FolderModel::Load
//                    x/<len><op>      MoveIntentRow    move, in the source           FolderModel::Load
//                    r                RecentRow        SELECT (guard: itself)        \Recent, STATUS RECENT
//   mb/<folder>/c    e/<uid:be32>     EnvelopeRow      append, rebuild               fetch
//                    s/<uid:be32>     StructureRow     append, rebuild               fetch
//                    h/<uid:be32>     HeaderRow        append, rebuild               fetch, search
//
// Integers are big-endian, so byte order is numeric order; variable parts come last or
// carry their length in one byte. Values are protobuf behind the byte kSchemaTag, except
// n/ (16 raw bytes) and k/ (the name), which are tagged too. Invariants:
//   every modseq in (head.log_floor, head.highest_modseq] has exactly one q/ row;
//   a folder is named by one f/ row, or by one z/ row while its partition is destroyed;
//   uid < head.uid_next for every m/ row, and no UID is used twice (RFC 9051 §2.3.1.1);
//   head.exists, unseen, deleted, size_bytes are sums over the m/ rows.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/common/ids/ids.h"
#include "services/common/store/store.h"

namespace posthouse::mailbox {

// The first byte of every value. A newer version writes another tag.
inline constexpr char kSchemaTag = 1;
// Row V has this number. The service does not start on a store with a higher one.
inline constexpr uint32_t kSchemaVersion = 1;

inline constexpr size_t kMaxDeliveryIdBytes = 900;
inline constexpr size_t kMaxOperationIdBytes = 64;

// The partitions. Ids are as FolderNode has them.
store::Partition SystemPartition();
store::Partition AccountPartition(const TenantId& tenant, const AccountId& account);
store::Partition FolderPartition(const TenantId& tenant, const FolderId& folder);
store::Partition CachePartition(const TenantId& tenant, const FolderId& folder);
// The prefix of FolderPartition ids. FolderOfPartition answers FolderId() for a cache partition.
inline constexpr char kFolderPartitionPrefix[] = "mb/";
FolderId FolderOfPartition(absl::string_view partition_id);
// The folder of a cache partition; FolderId(): it is none.
FolderId FolderOfCachePartition(absl::string_view partition_id);

// The keys, in the order of the table above.
std::string SystemKey();
std::string TenantKey(const TenantId& tenant);
inline constexpr char kTenantPrefix[] = "t/";
std::string ErasedKey(int64_t since, const TenantId& tenant, const AccountId& account);
inline constexpr char kErasedPrefix[] = "e/";

std::string AccountKey();
std::string FolderKey(absl::string_view node_id);  // node ids: 32 hex digits
inline constexpr char kFolderPrefix[] = "f/";
std::string TreeChangeKey(uint64_t tree_version);
inline constexpr char kTreeChangePrefix[] = "c/";
std::string NameKey(absl::string_view parent_node_id, absl::string_view name);
std::string SubscriptionKey(absl::string_view full_name);
inline constexpr char kSubscriptionPrefix[] = "s/";
std::string DoomedKey(const FolderId& folder);
inline constexpr char kDoomedPrefix[] = "z/";

std::string HeadKey();
std::string MessageKey(Uid uid);
inline constexpr char kMessagePrefix[] = "m/";
std::string ChangeKey(Modseq modseq);
inline constexpr char kChangePrefix[] = "q/";
std::string DeliveryKey(absl::string_view delivery_id);
inline constexpr char kDeliveryPrefix[] = "d/";
std::string OperationKey(absl::string_view operation_id);
std::string CopyBatchKey(absl::string_view operation_id, uint32_t batch);
inline constexpr char kOperationPrefix[] = "a/";
std::string KeywordKey(uint16_t number);
inline constexpr char kKeywordPrefix[] = "k/";
std::string RecentKey();
std::string IntentKey(absl::string_view operation_id);
inline constexpr char kIntentPrefix[] = "x/";

// Of the cache partition.
std::string EnvelopeKey(Uid uid);
inline constexpr char kEnvelopePrefix[] = "e/";
std::string StructureKey(Uid uid);
inline constexpr char kStructurePrefix[] = "s/";
std::string HeaderKey(Uid uid);
inline constexpr char kHeaderPrefix[] = "h/";

// The parts of a key; kDataLoss when the key has another form.
absl::StatusOr<Uid> UidOfKey(absl::string_view key);
absl::StatusOr<Modseq> ModseqOfKey(absl::string_view key);
absl::StatusOr<uint16_t> NumberOfKeywordKey(absl::string_view key);
absl::StatusOr<std::string> OperationOfIntentKey(absl::string_view key);
absl::StatusOr<std::string> NodeOfFolderKey(absl::string_view key);
absl::StatusOr<int64_t> SinceOfErasedKey(absl::string_view key);
std::string RestOfKey(absl::string_view key);  // after "t/", "s/", "z/"

// Ids of tree nodes and folders: 16 random bytes, printed as 32 lower-case hex digits.
bool IsId(absl::string_view hex);
std::string IdToBytes(absl::string_view hex);
std::string IdToHex(absl::string_view bytes);
std::string NewId();  // random, hex
uint64_t RandomNumber();

}  // namespace posthouse::mailbox
