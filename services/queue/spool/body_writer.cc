#include "services/queue/spool/body_writer.h"

#include <utility>

#include "services/common/status/status.h"
#include "services/queue/spool/key_schema.h"
#include "services/queue/spool/queue_id.h"

namespace posthouse::queue {
namespace {

std::shared_ptr<const std::string> Share(std::string bytes, const MemoryUse& use) {
  const size_t size = bytes.size();
  use->fetch_add(size, std::memory_order_relaxed);
  return std::shared_ptr<const std::string>(new std::string(std::move(bytes)), [use, size](const std::string* p) {
    use->fetch_sub(size, std::memory_order_relaxed);
    delete p;
  });
}

class BodyWriterImpl final : public BodyWriter {
 public:
  BodyWriterImpl(store::Store& store, absl::Time now, MemoryUse use, size_t budget, std::shared_ptr<Writing> writing)
      : store_(store),
        use_(std::move(use)),
        budget_(budget),
        writing_(std::move(writing)),
        queue_id_(NewQueueId(now)) {}
  ~BodyWriterImpl() override { Uncount(); }

  uint64_t size() const override { return size_; }
  const std::string& queue_id() const override { return queue_id_; }

  Task<absl::Status> Append(std::string piece) override {
    size_ += piece.size();
    if (blob_ == nullptr && kept_.size() + piece.size() <= store_.Limits().max_row_body_bytes) {
      Keep(std::move(piece));
      co_return absl::OkStatus();
    }
    if (blob_ == nullptr) {
      mark_ = writing_->Mark(queue_id_);
      blob_ = store_.blobs().Create(kStoreTenant, queue_id_);
      if (!kept_.empty()) PH_CO_RETURN_IF_ERROR(co_await blob_->Append(absl::Cord(kept_)));
    }
    absl::Cord bytes(piece);
    if (keep_ && (size_ > kMaxMemoryBodyBytes || use_->load(std::memory_order_relaxed) + piece.size() > budget_)) {
      keep_ = false;
      std::string().swap(kept_);
      Uncount();
    }
    if (keep_) Keep(std::move(piece));
    co_return co_await blob_->Append(std::move(bytes));
  }

  Task<absl::StatusOr<Body>> Finish() override {
    if (blob_ != nullptr) PH_CO_RETURN_IF_ERROR(co_await blob_->Finish());
    Body body;
    body.queue_id = queue_id_;
    body.size_bytes = size_;
    body.blob = blob_ != nullptr;
    if (keep_) body.memory = Share(std::move(kept_), use_);
    Uncount();
    body.being_written = mark_;
    co_return body;
  }

 private:
  void Keep(std::string piece) {
    use_->fetch_add(piece.size(), std::memory_order_relaxed);
    counted_ += piece.size();
    if (kept_.empty()) {
      kept_ = std::move(piece);
    } else {
      kept_.append(piece);
    }
  }
  void Uncount() { use_->fetch_sub(std::exchange(counted_, 0), std::memory_order_relaxed); }

  store::Store& store_;
  const MemoryUse use_;
  const size_t budget_;
  const std::shared_ptr<Writing> writing_;
  const std::string queue_id_;
  std::unique_ptr<store::BlobWriter> blob_;
  std::string kept_;
  uint64_t size_ = 0;
  size_t counted_ = 0;  // of kept_, in use_
  bool keep_ = true;
  std::shared_ptr<void> mark_;
};

}  // namespace

std::unique_ptr<BodyWriter> NewBodyWriter(store::Store& store, absl::Time now, MemoryUse use, size_t budget,
                                          std::shared_ptr<Writing> writing) {
  return std::make_unique<BodyWriterImpl>(store, now, std::move(use), budget, std::move(writing));
}

}  // namespace posthouse::queue
