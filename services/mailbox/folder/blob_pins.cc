#include "services/mailbox/folder/blob_pins.h"

namespace posthouse::mailbox {

void BlobPins::Hold::Pin(const ObjectId& blob) {
  blobs_.push_back(blob);
  absl::MutexLock lock(&pins_.mutex_);
  ++pins_.held_[blob];
}

BlobPins::Hold::~Hold() {
  absl::MutexLock lock(&pins_.mutex_);
  for (const ObjectId& blob : blobs_) {
    const auto it = pins_.held_.find(blob);
    if (--it->second == 0) pins_.held_.erase(it);
    if (pins_.sweeping_) pins_.released_.insert(blob);
  }
}

void BlobPins::BeginSweep() {
  absl::MutexLock lock(&mutex_);
  sweeping_ = true;
}

bool BlobPins::MayDelete(const ObjectId& blob) const {
  absl::MutexLock lock(&mutex_);
  return !held_.contains(blob) && !released_.contains(blob);
}

void BlobPins::EndSweep() {
  absl::MutexLock lock(&mutex_);
  sweeping_ = false;
  released_.clear();
}

size_t BlobPins::size() const {
  absl::MutexLock lock(&mutex_);
  return held_.size();
}

}  // namespace posthouse::mailbox
