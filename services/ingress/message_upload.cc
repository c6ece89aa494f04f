#include "services/ingress/message_upload.h"

#include <utility>

#include "services/ingress/replies.h"

namespace posthouse::ingress {

MessageUpload::MessageUpload(std::shared_ptr<const SmtpPolicy> policy, UploadOptions options,
                             std::unique_ptr<EnqueueCall> call)
    : policy_(std::move(policy)),
      options_(std::move(options)),
      decoder_(options_.format, options_.bare_lf),
      editor_(options_.completion.has_value() ? HeaderEditor(*options_.completion) : HeaderEditor()),
      call_(std::move(call)) {}

void MessageUpload::Refuse(Reason reason, const smtp::Reply& reply) {
  if (!refusal_.has_value()) {
    refusal_ = reply;
    reason_ = reason;
  }
  call_.reset();  // the queue drops what it has of the message
}

void MessageUpload::CheckLines() {
  if (decoder_.violation() == smtp::DataDecoder::Violation::kNone) return;
  Refuse(Reason::kBareLineEnd, BadLines(decoder_.violation()));
}

Task<std::string> MessageUpload::Add(std::string input) {
  std::string decoded;
  decoded.reserve(input.size());
  const size_t used = decoder_.Feed(input, &decoded);
  received_ += used;
  CheckLines();
  co_await Pass(std::move(decoded));
  co_return used == input.size() ? std::string() : input.substr(used);
}

Task<void> MessageUpload::FinishChunks() {
  std::string decoded;
  decoder_.Finish(&decoded);
  CheckLines();
  co_await Pass(std::move(decoded));
}

// Counts decoded bytes, edits them while they are header, and passes them on.
Task<void> MessageUpload::Pass(std::string decoded) {
  bytes_ += decoded.size();
  if (bytes_ > policy_->max_message_bytes) Refuse(Reason::kTooLarge, TooLarge());
  if (call_ == nullptr) co_return;
  std::string piece;
  if (editor_.in_body()) {
    piece = std::move(decoded);
  } else {
    piece.reserve(decoded.size() + options_.received_field.size() + 256);
    if (!started_) piece = options_.received_field;
    started_ = true;
    editor_.Feed(decoded, &piece);
    if (done()) editor_.Finish(&piece);
    if (editor_.received() > policy_->max_received) {
      Refuse(Reason::kLoop, Looping());
      co_return;
    }
  }
  passed_ += piece.size();
  if (!piece.empty()) co_await call_->Write(std::move(piece));
}

Task<smtp::Reply> MessageUpload::Commit() {
  if (refusal_.has_value()) co_return *refusal_;
  absl::StatusOr<std::string> queue_id = co_await call_->Commit();
  enqueue_status_ = queue_id.status();
  reason_ = call_->out_of_memory() ? Reason::kMemory : ReasonForMessage(enqueue_status_);
  if (queue_id.ok()) queue_id_ = *std::move(queue_id);
  co_return ReplyForMessage(enqueue_status_, queue_id_);
}

}  // namespace posthouse::ingress
