#include "services/queue/spool/body_writer.h"

#include <utility>

#include "absl/strings/cord.h"
#include "services/common/status/status.h"
#include "services/queue/spool/key_schema.h"

namespace posthouse::queue {
namespace {

// `bytes`, counted in `use` until the last reader is done with them.
std::shared_ptr<const std::string> Share(std::string bytes, const MemoryUse& use) {
  const size_t size = bytes.size();
  return std::shared_ptr<const std::string>(new std::string(std::move(bytes)), [use, size](const std::string* p) {
    use->fetch_sub(size, std::memory_order_relaxed);
    delete p;
  });
}

// Without a copy. (Debian's Abseil and Clang mangle Cord(std::string&&) differently.)
absl::Cord MoveToCord(std::string bytes) {
  const auto owned = std::make_shared<const std::string>(std::move(bytes));
  return absl::MakeCordFromExternal(*owned, [owned] {});
}

}  // namespace

BodyWriter::BodyWriter(store::Store& store, absl::Time now, MemoryUse use, size_t budget,
                       std::shared_ptr<BlobsInProgress> in_progress)
    : store_(store),
      use_(std::move(use)),
      budget_(budget),
      in_progress_(std::move(in_progress)),
      queue_id_(NewQueueId(now)) {}

BodyWriter::~BodyWriter() { KeepNothing(); }

Task<absl::Status> BodyWriter::Append(std::string piece) {
  size_ += piece.size();
  if (blob_ == nullptr && size_ <= store_.Limits().max_row_body_bytes) {
    Keep(std::move(piece));
    co_return absl::OkStatus();
  }
  if (blob_ == nullptr) {
    write_guard_ = in_progress_->Guard(queue_id_);
    blob_ = store_.blobs().Create(kStoreTenant, queue_id_.Text());
    if (!kept_.empty()) PH_CO_RETURN_IF_ERROR(co_await blob_->Append(absl::Cord(kept_)));
  }
  if (keep_ && !MayKeep(piece.size())) {
    keep_ = false;
    KeepNothing();
  }
  if (!keep_) co_return co_await blob_->Append(MoveToCord(std::move(piece)));
  absl::Cord bytes(piece);
  Keep(std::move(piece));
  co_return co_await blob_->Append(std::move(bytes));
}

Task<absl::StatusOr<Body>> BodyWriter::Finish() {
  if (blob_ != nullptr) PH_CO_RETURN_IF_ERROR(co_await blob_->Finish());
  Body body;
  body.queue_id = queue_id_;
  body.size_bytes = size_;
  body.blob = blob_ != nullptr;
  if (keep_) body.memory = Share(std::exchange(kept_, std::string()), use_);
  body.write_guard = write_guard_;
  co_return body;
}

bool BodyWriter::MayKeep(size_t more) const {
  return size_ <= kMaxMemoryBodyBytes && use_->load(std::memory_order_relaxed) + more <= budget_;
}

void BodyWriter::Keep(std::string piece) {
  use_->fetch_add(piece.size(), std::memory_order_relaxed);
  if (kept_.empty()) {
    kept_ = std::move(piece);
  } else {
    kept_.append(piece);
  }
}

void BodyWriter::KeepNothing() {
  use_->fetch_sub(kept_.size(), std::memory_order_relaxed);
  std::string().swap(kept_);
}

}  // namespace posthouse::queue
