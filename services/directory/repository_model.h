// Part of Repository: how one partition of the directory is loaded, changed and fenced by a
// GuardedPartition. For repository*.cc only.
//
// Threads: as GuardedModel.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "posthouse/directory/v1/store.pb.h"
#include "services/common/async/task.h"
#include "services/common/store/guarded_partition.h"
#include "services/directory/repository.h"

namespace posthouse::directory {

// Another writer has taken the place of this one.
absl::Status FencedError();

struct PartitionState {
  v1::PartitionHead head;
  std::deque<uint64_t> logged;  // revisions of the log rows
};

struct PartitionDraft : store::Draft {
  v1::PartitionHead head;
  v1::ChangeRecord record;  // revision 0: this commit only moves the head
  std::vector<std::function<void(Index&)>> follow;
  bool claims = false;
};

struct Repository::Model : store::GuardedModel<PartitionState, PartitionDraft> {
  Model(Repository& r, store::Partition p) : repository(&r), partition(std::move(p)) {}

  // The head and the revisions of the log, of one instant.
  Task<absl::StatusOr<store::Loaded<PartitionState>>> Load(unsigned parts);
  void Begin(const PartitionState& state, PartitionDraft& draft) const { draft.head = state.head; }
  absl::StatusOr<store::SealedDraft> Seal(const PartitionState& state, PartitionDraft& draft);
  void Apply(PartitionState& state, PartitionDraft& draft);

  Repository* const repository;
  const store::Partition partition;
  bool claimed = false;  // the head has been this writer's
};

struct Repository::Partition {
  std::shared_ptr<store::GuardedPartition<Model>> guarded;
};

}  // namespace posthouse::directory
