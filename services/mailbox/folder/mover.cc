#include "services/mailbox/folder/mover.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <string>

#include "posthouse/mailbox/v1/store.pb.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/uid_set/uid_set.h"
#include "services/mailbox/folder/account.h"
#include "services/mailbox/folder/folder_state.h"
#include "services/mailbox/folder/mailboxes.h"
#include "services/mailbox/rows/key_schema.h"

namespace posthouse::mailbox {
namespace {

UidSet SourcesOf(const CopyBatch& batch) {
  UidSet out;
  for (const auto& [from, to] : batch.uids) out.Add(from);
  return out;
}

// Steps 2 and 3 for an intent that is written.
Task<absl::StatusOr<CopyBatch>> MoveBatch(MailboxDeps& deps, std::shared_ptr<Folder> from, std::shared_ptr<Folder> to,
                                          MoveIntent intent) {
  CopyBatch done;
  PH_CO_ASSIGN_OR_RETURN(std::optional<CopyBatch> before,
                         co_await to->ReadCopyBatch(intent.operation_id, intent.batch));
  if (before.has_value()) {
    done = *std::move(before);
  } else {
    BlobPins::Hold hold(deps.pins);
    PH_CO_ASSIGN_OR_RETURN(std::vector<CopyItem> items, co_await from->ReadForCopy(intent.uids, Uid(), hold));
    PH_CO_ASSIGN_OR_RETURN(done,
                           co_await to->AddCopies(intent.operation_id, intent.batch, std::move(items), intent.last,
                                                  /*move=*/true));
  }
  PH_CO_RETURN_IF_ERROR(co_await from->FinishIntent(intent.operation_id, SourcesOf(done)));
  co_return done;
}

Usage::Amount AmountOf(const std::vector<MessageMeta>& messages) {
  Usage::Amount amount;
  for (const MessageMeta& m : messages) {
    amount.bytes += static_cast<int64_t>(m.size_bytes);
    amount.messages += 1;
  }
  return amount;
}

// How many of the messages, which have these keyword bits, fit one commit together with the keywords
// that they may bring to the target: at least one.
size_t FitOneCommit(const std::vector<std::string>& keyword_bits) {
  std::string all;
  size_t keywords = 0;
  const size_t most = std::min(keyword_bits.size(), Folder::kBatch);
  for (size_t i = 0; i < most; ++i) {
    all.resize(std::max(all.size(), keyword_bits[i].size()));
    for (size_t byte = 0; byte < keyword_bits[i].size(); ++byte) {
      const auto fresh = static_cast<unsigned char>(keyword_bits[i][byte] & ~all[byte]);
      keywords += static_cast<size_t>(std::popcount(fresh));
      all[byte] = static_cast<char>(all[byte] | fresh);
    }
    if (i > 0 && i + 1 + keywords > FolderDraft::kMaxChangeRows) return i;
  }
  return most;
}

// Reserves room for all remaining messages before the first is copied: a copy over quota must
// leave the target as it was (RFC 9051 §6.4.7).
Task<absl::StatusOr<Usage::Reservation>> ReserveFor(Mailboxes& mailboxes, std::shared_ptr<Account> account,
                                                    std::shared_ptr<Folder> from, UidSet uids, Uid after, Quota quota) {
  PH_CO_RETURN_IF_ERROR(co_await mailboxes.CountUsage(account));
  PH_CO_ASSIGN_OR_RETURN(const std::vector<MessageMeta> messages,
                         co_await from->Select(std::move(uids), after, SIZE_MAX));
  Usage::Reservation room = account->usage()->Reserve(AmountOf(messages), quota);
  if (!room.ok()) co_return absl::ResourceExhaustedError("over quota");
  co_return std::move(room);
}

}  // namespace

Task<absl::StatusOr<CopyDone>> CopyMessages(MailboxDeps& deps, Mailboxes& mailboxes, std::shared_ptr<Account> account,
                                            std::shared_ptr<Folder> from, std::shared_ptr<Folder> to, CopyOrder order) {
  if (order.operation_id.size() > kMaxOperationIdBytes) co_return absl::InvalidArgumentError("operation_id too long");
  std::optional<AsyncMutex::Guard> moving;
  if (order.move) {
    moving.emplace(co_await from->move_mutex().Lock());
    // A move needs an id of its own for its intent.
    if (order.operation_id.empty()) order.operation_id = IdToBytes(NewId());
  }
  CopyDone result;
  PH_CO_ASSIGN_OR_RETURN(const FolderSnapshot target, co_await to->Snapshot());
  result.to_uid_validity = target.head.uid_validity;
  // Copying a folder into itself must not copy the copies.
  if (from == to && target.head.uid_next > Uid(1)) {
    UidSet bounded;
    for (const UidSet::Range& r : order.uids.ranges()) {
      const uint32_t last = std::min(r.last, target.head.uid_next.value() - 1);
      if (r.first <= last) bounded.Add(r.first, last);
    }
    order.uids = std::move(bounded);
  }
  Uid after;
  std::optional<Usage::Reservation> room;
  for (uint32_t number = 0;; ++number) {
    CopyBatch batch;
    std::optional<CopyBatch> before;
    if (!order.operation_id.empty()) {
      PH_CO_ASSIGN_OR_RETURN(before, co_await to->ReadCopyBatch(order.operation_id, number));
    }
    if (before.has_value()) {
      batch = *std::move(before);
      // An earlier request copied it, and may not have removed it from the source.
      if (order.move) PH_CO_RETURN_IF_ERROR(co_await from->FinishIntent(order.operation_id, SourcesOf(batch)));
    } else {
      if (order.all && number == 0) {
        PH_CO_ASSIGN_OR_RETURN(const std::vector<MessageMeta> found,
                               co_await from->Select(order.uids, Uid(), SIZE_MAX));
        result.gone = found.size() < order.uids.Count();
        if (result.gone) break;
      }
      std::vector<std::string> bits;
      PH_CO_ASSIGN_OR_RETURN(const std::vector<MessageMeta> next,
                             co_await from->Select(order.uids, after, Folder::kBatch + 1, &bits));
      const size_t fit = FitOneCommit(bits);
      const bool last = fit == next.size();
      const std::vector<MessageMeta> chosen(next.begin(), next.begin() + static_cast<ptrdiff_t>(fit));
      if (chosen.empty()) break;
      UidSet uids;
      for (const MessageMeta& m : chosen) uids.Add(m.uid);
      if (order.move) {
        MoveIntent intent{order.operation_id, to->id().folder_id, uids, number, last};
        const absl::Status intended = co_await from->WriteIntent(intent);
        absl::StatusOr<CopyBatch> moved = CopyBatch();
        if (intended.ok()) moved = co_await MoveBatch(deps, from, to, intent);
        if (!intended.ok() || !moved.ok()) {
          from->SetRecoveryNeeded();
          co_return intended.ok() ? moved.status() : intended;
        }
        batch = *std::move(moved);
      } else {
        if (!room.has_value() && order.quota.limited()) {
          PH_CO_ASSIGN_OR_RETURN(Usage::Reservation reserved,
                                 co_await ReserveFor(mailboxes, account, from, order.uids, after, order.quota));
          room.emplace(std::move(reserved));
        }
        BlobPins::Hold hold(deps.pins);
        PH_CO_ASSIGN_OR_RETURN(std::vector<CopyItem> items, co_await from->ReadForCopy(uids, Uid(), hold));
        result.gone = order.all && number == 0 && items.size() < chosen.size();
        if (result.gone) break;
        PH_CO_ASSIGN_OR_RETURN(
            batch, co_await to->AddCopies(order.operation_id, number, std::move(items), last, /*move=*/false));
        if (room.has_value()) room->Give(AmountOf(chosen));
      }
      if (batch.covered_to.empty()) batch.covered_to = Uid(uids.Max());
      batch.last = last;
    }
    result.uids.insert(result.uids.end(), batch.uids.begin(), batch.uids.end());
    after = std::max(after, batch.covered_to);
    if (batch.last) break;
  }
  PH_CO_ASSIGN_OR_RETURN(result.from_state, co_await from->Snapshot());
  co_return result;
}

Task<absl::Status> RecoverMoves(MailboxDeps& deps, Mailboxes& mailboxes, std::shared_ptr<Account> account,
                                std::shared_ptr<Folder> from) {
  const AsyncMutex::Guard moving = co_await from->move_mutex().Lock();
  PH_CO_ASSIGN_OR_RETURN(const std::vector<MoveIntent> intents, co_await from->ReadIntents());
  for (const MoveIntent& intent : intents) {
    // By memory; another process may have made the target.
    if (!account->FindById(intent.to_folder_id).ok()) PH_CO_RETURN_IF_ERROR(co_await account->Refresh());
    if (!account->FindById(intent.to_folder_id).ok()) {
      // The target was deleted with the copies: the messages stay in the source.
      PH_CO_RETURN_IF_ERROR(co_await from->FinishIntent(intent.operation_id, UidSet()));
      continue;
    }
    const std::shared_ptr<Folder> to = mailboxes.Get(*account, intent.to_folder_id);
    const absl::StatusOr<CopyBatch> moved = co_await MoveBatch(deps, from, to, intent);
    if (!moved.ok()) co_return moved.status();
    deps.metrics.moves_recovered.Add();
    LOG_EVENT(kInfo, "move_recovered")
        .Str("folder_id", from->id().folder_id.value())
        .Int("messages", moved->uids.size());
  }
  co_return absl::OkStatus();
}

}  // namespace posthouse::mailbox
