#include "services/mailbox/message/body_receiver.h"

#include <algorithm>
#include <utility>

#include "absl/strings/cord.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/mail_formats/message/parser.h"
#include "services/mailbox/message/cached_message.h"
#include "services/mailbox/rows/key_schema.h"

namespace posthouse::mailbox {

BodyReceiver::BodyReceiver(MailboxDeps& deps, std::vector<TenantId> tenants)
    : deps_(deps),
      tenants_(std::move(tenants)),
      blob_(ObjectId::New(absl::ToUnixMillis(deps.clock()))),
      hold_(deps.pins),
      parser_(std::make_unique<message::Parser>()) {
  hold_.Pin(blob_);
}

BodyReceiver::~BodyReceiver() = default;

Task<absl::Status> BodyReceiver::Add(std::string bytes) {
  size_bytes_ += bytes.size();
  if (size_bytes_ > deps_.settings.max_message_bytes) {
    too_large_ = true;
    co_return absl::InvalidArgumentError("message too large");
  }
  parser_->Feed(bytes);
  if (pending_.empty()) {
    pending_ = std::move(bytes);
  } else {
    pending_.append(bytes);
  }
  if (pending_.size() > kInMemoryBytes) PH_CO_RETURN_IF_ERROR(co_await Flush());
  co_return absl::OkStatus();
}

Task<absl::Status> BodyReceiver::Flush() {
  if (writers_.empty()) {
    head_ = pending_.substr(0, kFirstBytes);
    for (const TenantId& tenant : tenants_) {
      writers_.push_back(deps_.store.blobs().Create(tenant.value(), blob_.Hex()));
    }
  }
  // Not Cord(std::string&&): Debian's GCC and our Clang mangle that constructor differently.
  const absl::Cord bytes{absl::string_view(pending_)};
  pending_.clear();
  for (const auto& writer : writers_) PH_CO_RETURN_IF_ERROR(co_await writer->Append(bytes));
  co_return absl::OkStatus();
}

Task<absl::StatusOr<ReceivedMessage>> BodyReceiver::Finish(uint64_t expected_bytes) {
  if (expected_bytes != 0 && expected_bytes != size_bytes_) {
    co_return absl::InvalidArgumentError("commit.size_bytes differs from the bytes received");
  }
  if (size_bytes_ == 0) co_return absl::InvalidArgumentError("empty message");
  ReceivedMessage received;
  received.blob = blob_;
  received.size_bytes = size_bytes_;
  received.cached = std::make_shared<CachedMessage>(BuildCachedMessage(
      parser_->Finish(), writers_.empty() ? absl::string_view(pending_) : absl::string_view(head_), blob_));
  parser_.reset();
  finished_ = true;
  if (writers_.empty()) {
    const absl::Cord bytes{absl::string_view(pending_)};
    for (const TenantId& tenant : tenants_) {
      PH_CO_RETURN_IF_ERROR(co_await deps_.store.blobs().Put(tenant.value(), blob_.Hex(), bytes));
    }
    co_return received;
  }
  if (!pending_.empty()) PH_CO_RETURN_IF_ERROR(co_await Flush());
  for (const auto& writer : writers_) PH_CO_RETURN_IF_ERROR(co_await writer->Finish());
  co_return received;
}

Task<void> BodyReceiver::Discard() {
  if (!finished_) co_return;
  for (const TenantId& tenant : tenants_) {
    log::LogIfError(co_await deps_.store.blobs().Delete(tenant.value(), blob_.Hex()), "discarding an unused body");
  }
}

}  // namespace posthouse::mailbox
