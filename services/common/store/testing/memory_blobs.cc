#include "services/common/store/testing/memory_blobs.h"

#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/common/status/status.h"

namespace posthouse::store {

class MemoryBlobs::Writer final : public BlobWriter {
 public:
  Writer(std::shared_ptr<MemoryDisk> disk, std::string tenant, std::string name)
      : disk_(std::move(disk)), tenant_(std::move(tenant)), name_(std::move(name)) {}

  Task<absl::Status> Append(absl::Cord bytes) override {
    PH_CO_RETURN_IF_ERROR(ValidateBlobName(tenant_, name_));
    if (finished_) co_return absl::FailedPreconditionError("blob is finished");
    absl::MutexLock lock(&disk_->mutex_);
    if (disk_->full()) co_return MemoryDisk::FullError();
    bytes_.Append(std::move(bytes));
    co_return absl::OkStatus();
  }

  Task<absl::Status> Finish() override {
    PH_CO_RETURN_IF_ERROR(ValidateBlobName(tenant_, name_));
    if (finished_) co_return absl::FailedPreconditionError("blob is finished");
    finished_ = true;
    co_await disk_->WaitWhileStalled();
    absl::MutexLock lock(&disk_->mutex_);
    if (disk_->full()) co_return MemoryDisk::FullError();
    if (!disk_->blobs_.try_emplace({tenant_, name_}, MemoryDisk::Blob{std::move(bytes_)}).second) {
      co_return absl::AlreadyExistsError(absl::StrCat("blob ", name_, " exists"));
    }
    co_return absl::OkStatus();
  }

 private:
  const std::shared_ptr<MemoryDisk> disk_;
  const std::string tenant_;
  const std::string name_;
  absl::Cord bytes_;
  bool finished_ = false;
};

std::unique_ptr<BlobWriter> MemoryBlobs::Create(const std::string& tenant, const std::string& name) {
  return std::make_unique<Writer>(disk_, tenant, name);
}

Task<absl::StatusOr<absl::Cord>> MemoryBlobs::Get(std::string tenant, std::string name, uint64_t offset,
                                                  uint64_t length) {
  if (length > kMaxBlobPieceBytes * 16) co_return absl::InvalidArgumentError("blob range too long");
  co_await disk_->WaitWhileStalled();
  absl::StatusOr<absl::Cord> blob = Find(tenant, name);
  if (!blob.ok()) co_return blob.status();
  if (offset >= blob->size()) co_return absl::Cord();
  co_return blob->Subcord(offset, length);
}

Task<absl::StatusOr<uint64_t>> MemoryBlobs::Size(std::string tenant, std::string name) {
  co_await disk_->WaitWhileStalled();
  absl::StatusOr<absl::Cord> blob = Find(tenant, name);
  if (!blob.ok()) co_return blob.status();
  co_return blob->size();
}

Task<absl::Status> MemoryBlobs::Delete(std::string tenant, std::string name) {
  PH_CO_RETURN_IF_ERROR(ValidateBlobName(tenant, name));
  co_await disk_->WaitWhileStalled();
  absl::MutexLock lock(&disk_->mutex_);
  disk_->blobs_.erase({tenant, name});
  co_return absl::OkStatus();
}

Task<absl::StatusOr<BlobPage>> MemoryBlobs::List(std::string tenant, std::string cursor, size_t limit) {
  PH_CO_RETURN_IF_ERROR(ValidateListLimit(limit));
  co_await disk_->WaitWhileStalled();
  absl::MutexLock lock(&disk_->mutex_);
  PH_CO_RETURN_IF_ERROR(disk_->read_error_);
  std::map<std::string, BlobInfo> in_order;
  for (auto it = disk_->blobs_.lower_bound({tenant, ""}); it != disk_->blobs_.end() && it->first.first == tenant;
       ++it) {
    in_order[disk_->BlobCursor(it->first.second)] = {it->first.second, it->second.bytes.size()};
  }
  BlobPage page;
  for (auto it = in_order.upper_bound(cursor); it != in_order.end(); ++it) {
    if (page.blobs.size() == limit) {
      page.next = disk_->BlobCursor(page.blobs.back().name);
      break;
    }
    page.blobs.push_back(it->second);
  }
  co_return page;
}

absl::StatusOr<absl::Cord> MemoryBlobs::Find(const std::string& tenant, const std::string& name) {
  PH_RETURN_IF_ERROR(ValidateBlobName(tenant, name));
  absl::MutexLock lock(&disk_->mutex_);
  PH_RETURN_IF_ERROR(disk_->read_error_);
  const auto blob = disk_->blobs_.find({tenant, name});
  if (blob == disk_->blobs_.end()) return absl::NotFoundError(absl::StrCat("no blob ", name));
  return blob->second.bytes;
}

}  // namespace posthouse::store
