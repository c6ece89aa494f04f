#include "services/common/store/store.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/async/when_all.h"
#include "services/common/status/status.h"

namespace posthouse::store {
namespace {

constexpr size_t kMaxNameBytes = 255;

bool IsPrintable(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 && byte != 0x7f;
  });
}

absl::Status ValidateKey(absl::string_view key) {
  if (key.empty()) return absl::InvalidArgumentError("empty key");
  if (key.size() > kMaxKeyBytes) return absl::InvalidArgumentError(absl::StrCat("key of ", key.size(), " bytes"));
  return absl::OkStatus();
}

absl::Status ValidateTenant(absl::string_view tenant) {
  if (tenant.size() > kMaxNameBytes || !IsPrintable(tenant)) return absl::InvalidArgumentError("bad tenant name");
  return absl::OkStatus();
}

bool HasDuplicateKeys(const std::vector<Mutation>& mutations) {
  constexpr size_t kFew = 12;
  if (mutations.size() <= kFew) {
    for (size_t i = 1; i < mutations.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        if (mutations[i].key == mutations[j].key) return true;
      }
    }
    return false;
  }
  absl::flat_hash_set<absl::string_view> seen;
  for (const Mutation& mutation : mutations) {
    if (!seen.insert(mutation.key).second) return true;
  }
  return false;
}

}  // namespace

absl::Status Validate(const Partition& partition) {
  PH_RETURN_IF_ERROR(ValidateTenant(partition.tenant));
  if (partition.id.empty() || partition.id.size() > kMaxKeyBytes || !IsPrintable(partition.id)) {
    return absl::InvalidArgumentError("bad partition id");
  }
  return absl::OkStatus();
}

absl::Status Validate(const ReadRequest& request) {
  PH_RETURN_IF_ERROR(Validate(request.partition));
  if (request.keys.size() > kMaxReadKeys) {
    return absl::InvalidArgumentError(absl::StrCat("read of ", request.keys.size(), " keys"));
  }
  for (const std::string& key : request.keys) PH_RETURN_IF_ERROR(ValidateKey(key));
  if (request.limit > kMaxPageRows) {
    return absl::InvalidArgumentError(absl::StrCat("page of ", request.limit, " rows"));
  }
  if (request.prefix.size() > kMaxKeyBytes || request.after.size() > kMaxKeyBytes) {
    return absl::InvalidArgumentError("prefix or start of page too long");
  }
  return absl::OkStatus();
}

absl::Status Validate(const CommitRequest& request) {
  PH_RETURN_IF_ERROR(Validate(request.partition));
  if (request.mutations.size() > kMaxMutations || request.preconditions.size() > kMaxMutations) {
    return absl::InvalidArgumentError(absl::StrCat("commit of ", request.mutations.size(), " mutations, ",
                                                   request.preconditions.size(), " preconditions"));
  }
  if (request.needs_blobs.size() > kMaxMutations) {
    return absl::InvalidArgumentError(absl::StrCat("commit that needs ", request.needs_blobs.size(), " blobs"));
  }
  for (const BlobName& blob : request.needs_blobs) PH_RETURN_IF_ERROR(ValidateBlobName(blob.tenant, blob.name));
  size_t bytes = 0;
  for (const Precondition& precondition : request.preconditions) {
    PH_RETURN_IF_ERROR(ValidateKey(precondition.key));
    // No row has an empty value, so this commit could never happen.
    if (precondition.value.has_value() && precondition.value->empty()) {
      return absl::InvalidArgumentError("precondition on an empty value");
    }
  }
  for (const Mutation& mutation : request.mutations) {
    PH_RETURN_IF_ERROR(ValidateKey(mutation.key));
    size_t row = mutation.key.size();
    if (mutation.value.has_value()) {
      if (mutation.value->empty()) return absl::InvalidArgumentError("empty value");
      row += mutation.value->size();
    }
    if (row > kMaxRowBytes) return absl::InvalidArgumentError(absl::StrCat("row of ", row, " bytes"));
    bytes += row;
  }
  if (bytes > kMaxCommitBytes) return absl::InvalidArgumentError(absl::StrCat("commit of ", bytes, " bytes"));
  if (HasDuplicateKeys(request.mutations)) return absl::InvalidArgumentError("two mutations of one key");
  return absl::OkStatus();
}

absl::Status ValidateBlobName(absl::string_view tenant, absl::string_view name) {
  PH_RETURN_IF_ERROR(ValidateTenant(tenant));
  if (name.empty() || name.size() > kMaxNameBytes || !IsPrintable(name)) {
    return absl::InvalidArgumentError("bad blob name");
  }
  return absl::OkStatus();
}

absl::Status ValidateListLimit(size_t limit) {
  if (limit >= 1 && limit <= kMaxPageRows) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("list of ", limit, " entries"));
}

std::string PrefixEnd(absl::string_view prefix) {
  std::string end(prefix);
  while (!end.empty()) {
    const auto last = static_cast<unsigned char>(end.back());
    if (last != 0xff) {
      end.back() = static_cast<char>(last + 1);
      return end;
    }
    end.pop_back();
  }
  return end;
}

Task<absl::Status> BlobStore::Put(std::string tenant, std::string name, absl::Cord bytes) {
  const std::unique_ptr<BlobWriter> writer = Create(tenant, name);
  absl::Status appended = co_await writer->Append(std::move(bytes));
  if (!appended.ok()) co_return appended;
  co_return co_await writer->Finish();
}

Task<absl::Status> Store::RaiseFormat(int format) {
  if (format <= Format()) co_return absl::OkStatus();
  co_return absl::UnimplementedError("this engine has one format");
}

absl::StatusOr<StoreImage> Store::TakeImage(const std::string& /*directory*/) {
  return absl::UnimplementedError("this store has no files to back up");
}

Task<std::vector<absl::Status>> Store::CommitAll(std::vector<CommitRequest> requests) {
  absl::Time deadline = absl::InfiniteFuture();
  for (const CommitRequest& request : requests) deadline = std::min(deadline, request.deadline);
  std::vector<Task<absl::Status>> commits;
  commits.reserve(requests.size());
  for (CommitRequest& request : requests) {
    request.deadline = deadline;
    commits.push_back(Commit(std::move(request)));
  }
  co_return co_await WhenAll(std::move(commits));
}

}  // namespace posthouse::store
