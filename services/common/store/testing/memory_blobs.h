// MemoryBlobs: the BlobStore of a MemoryStore. Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "services/common/async/task.h"
#include "services/common/store/store.h"
#include "services/common/store/testing/memory_disk.h"

namespace posthouse::store {

class MemoryBlobs final : public BlobStore {
 public:
  explicit MemoryBlobs(std::shared_ptr<MemoryDisk> disk) : disk_(std::move(disk)) {}

  std::unique_ptr<BlobWriter> Create(const std::string& tenant, const std::string& name) override;
  Task<absl::StatusOr<absl::Cord>> Get(std::string tenant, std::string name, uint64_t offset, uint64_t length) override;
  Task<absl::StatusOr<uint64_t>> Size(std::string tenant, std::string name) override;
  Task<absl::Status> Delete(std::string tenant, std::string name) override;
  Task<absl::StatusOr<BlobPage>> List(std::string tenant, std::string cursor, size_t limit) override;

 private:
  class Writer;
  absl::StatusOr<absl::Cord> Find(const std::string& tenant, const std::string& name);

  const std::shared_ptr<MemoryDisk> disk_;
};

}  // namespace posthouse::store
