#include "services/mailbox/message/intake.h"

#include <algorithm>
#include <utility>

#include "absl/strings/cord.h"
#include "services/common/log/log.h"
#include "services/mail_formats/message/parser.h"
#include "services/common/status/status.h"
#include "services/mailbox/message/derive.h"
#include "services/mailbox/rows/key_schema.h"

namespace posthouse::mailbox {

Intake::Intake(Context& context, std::vector<std::string> tenants)
    : context_(context),
      tenants_(std::move(tenants)),
      blob_(NewBlobId(absl::ToUnixMillis(context.clock()))),
      hold_(context.pins),
      parser_(std::make_unique<message::Parser>()) {
  hold_.Pin(blob_);
}

Intake::~Intake() = default;

Task<absl::Status> Intake::Add(std::string bytes) {
  size_bytes_ += bytes.size();
  if (size_bytes_ > context_.settings.max_message_bytes) {
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

Task<absl::Status> Intake::Flush() {
  if (writers_.empty()) {
    head_ = pending_.substr(0, kDeriveHeadBytes);
    for (const std::string& tenant : tenants_) {
      writers_.push_back(context_.store.blobs().Create(tenant, IdToHex(blob_)));
    }
  }
  // Not Cord(std::string&&): Debian's GCC and our Clang mangle that constructor differently.
  const absl::Cord bytes{absl::string_view(pending_)};
  pending_.clear();
  for (const auto& writer : writers_) PH_CO_RETURN_IF_ERROR(co_await writer->Append(bytes));
  co_return absl::OkStatus();
}

Task<absl::StatusOr<TakenMessage>> Intake::Finish(uint64_t expected_bytes) {
  if (expected_bytes != 0 && expected_bytes != size_bytes_) {
    co_return absl::InvalidArgumentError("the size in the commit is not what was sent");
  }
  if (size_bytes_ == 0) co_return absl::InvalidArgumentError("empty message");
  TakenMessage taken;
  taken.blob = blob_;
  taken.size_bytes = size_bytes_;
  taken.cached = std::make_shared<CachedMessage>(
      Derive(parser_->Finish(), writers_.empty() ? absl::string_view(pending_) : absl::string_view(head_), blob_));
  parser_.reset();
  finished_ = true;
  if (writers_.empty()) {
    const absl::Cord bytes{absl::string_view(pending_)};
    for (const std::string& tenant : tenants_) {
      PH_CO_RETURN_IF_ERROR(co_await context_.store.blobs().Put(tenant, IdToHex(blob_), bytes));
    }
    co_return taken;
  }
  if (!pending_.empty()) PH_CO_RETURN_IF_ERROR(co_await Flush());
  for (const auto& writer : writers_) PH_CO_RETURN_IF_ERROR(co_await writer->Finish());
  co_return taken;
}

Task<void> Intake::Discard() {
  if (!finished_) co_return;
  for (const std::string& tenant : tenants_) {
    log::LogIfError(co_await context_.store.blobs().Delete(tenant, IdToHex(blob_)), "discarding an unused body");
  }
}

}  // namespace posthouse::mailbox
