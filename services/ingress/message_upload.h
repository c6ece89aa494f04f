// MessageUpload: one message from the client's bytes to the queue.
//
//   bytes ─▶ DataDecoder ─▶ HeaderEditor ─▶ EnqueueCall     our Received field first
//
// When a message must be refused (too large, a loop, bare line ends), the upload drops
// the call to the queue and only counts the remaining bytes. The client gets the
// refusal at the end of its data.
//
// Threads: one session.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "services/common/async/task.h"
#include "services/ingress/enqueue.h"
#include "services/ingress/header_editor.h"
#include "services/ingress/policy.h"
#include "services/ingress/refusal.h"
#include "services/mail_formats/smtp/data_decoder.h"
#include "services/mail_formats/smtp/reply.h"

namespace posthouse::ingress {

struct UploadOptions {
  smtp::DataFormat format = smtp::DataFormat::kDotStuffed;
  smtp::BareLinePolicy bare_lf = smtp::BareLinePolicy::kReject;  // of this client
  std::string received_field;                                    // goes on top
  std::optional<HeaderEditor::Completion> completion;            // submission
};

class MessageUpload {
 public:
  // `policy` has the limits.
  MessageUpload(std::shared_ptr<const SmtpPolicy> policy, UploadOptions options, std::unique_ptr<EnqueueCall> call);

  // Consumes bytes from the front of `input` and returns the rest, which is empty
  // unless done(). Waits while the queue is slower than the client.
  Task<std::string> Add(std::string input);
  bool done() const { return decoder_.done(); }
  // BDAT: the last chunk was read.
  Task<void> FinishChunks();

  // Why the message is refused, as far as it was read.
  const std::optional<smtp::Reply>& refusal() const { return refusal_; }
  // The reason of refusal(), or of Commit()'s negative reply.
  Reason reason() const { return reason_; }
  // The client sent more than twice the limit: the session stops reading and closes.
  bool Flooded() const { return received_ > 2 * policy_->max_message_bytes + (1 << 20); }
  uint64_t bytes() const { return bytes_; }  // as the client sent it, decoded
  // What the fields that we add have, less what we remove; once it is done, unless it is refused.
  uint64_t added() const { return passed_ > bytes_ ? passed_ - bytes_ : 0; }

  // Refuses the message unless it is refused already; the queue drops what it has.
  void Refuse(Reason reason, const smtp::Reply& reply);
  // Call once, at the end of the message. Returns the reply for the client: positive
  // only when the queue has taken responsibility.
  Task<smtp::Reply> Commit();
  // Set when Commit()'s reply is positive.
  const std::string& queue_id() const { return queue_id_; }
  const absl::Status& enqueue_status() const { return enqueue_status_; }

 private:
  Task<void> Pass(std::string decoded);
  void CheckLines();

  const std::shared_ptr<const SmtpPolicy> policy_;
  const UploadOptions options_;
  smtp::DataDecoder decoder_;
  HeaderEditor editor_;
  std::unique_ptr<EnqueueCall> call_;  // null: the message is refused
  std::optional<smtp::Reply> refusal_;
  Reason reason_ = Reason::kOther;
  uint64_t received_ = 0;  // from the client, with dots and after a refusal
  uint64_t bytes_ = 0;     // of the decoded message
  uint64_t passed_ = 0;    // to the queue
  bool started_ = false;   // the Received field was passed on
  std::string queue_id_;
  absl::Status enqueue_status_;
};

}  // namespace posthouse::ingress
