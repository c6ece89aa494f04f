// Intake: one message on its way from the client's bytes to the queue.
//
//   bytes ─▶ DataDecoder ─▶ HeaderEditor ─▶ EnqueueCall     Received: field first
//
// Decides on its own that a message will be refused (too large, looping, bare line
// ends); from then on bytes are only counted. The client is read to the end of its
// data in any case, and told at the end.
//
// Threads: one session.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "services/common/async/task.h"
#include "services/mail_formats/smtp/data_decoder.h"
#include "services/mail_formats/smtp/reply.h"
#include "services/ingress/enqueue.h"
#include "services/ingress/header_editor.h"

namespace posthouse::ingress {

struct IntakeOptions {
  smtp::DataFormat format = smtp::DataFormat::kDotStuffed;
  smtp::BareLinePolicy bare_lf = smtp::BareLinePolicy::kReject;
  uint64_t max_bytes = 0;
  uint32_t max_received = 50;
  std::string received_field;                          // goes on top
  std::optional<HeaderEditor::Completion> completion;  // submission
};

class Intake {
 public:
  Intake(IntakeOptions options, std::unique_ptr<EnqueueCall> call);

  // Takes bytes from the front of `input`; returns the rest, which is empty unless
  // done(). Waits while the queue is slower than the client.
  Task<std::string> Take(std::string input);
  bool done() const { return decoder_.done(); }
  // The last chunk was read (BDAT).
  Task<void> FinishChunks();

  // Why the message will not be taken, as far as is known.
  const std::optional<smtp::Reply>& refusal() const { return refusal_; }
  // Hopelessly more than is allowed: stop reading and close.
  bool Flooded() const { return received_ > 2 * options_.max_bytes + (1 << 20); }
  uint64_t bytes() const { return bytes_; }

  // Once, at the end: hands the message over. The reply for the client.
  Task<smtp::Reply> Commit();
  // With Commit()'s positive reply.
  const std::string& queue_id() const { return queue_id_; }
  const absl::Status& enqueue_status() const { return enqueue_status_; }

 private:
  Task<void> Pass(std::string decoded);
  void Refuse(const smtp::Reply& reply);

  const IntakeOptions options_;
  smtp::DataDecoder decoder_;
  HeaderEditor editor_;
  std::unique_ptr<EnqueueCall> call_;  // null: refused
  std::optional<smtp::Reply> refusal_;
  uint64_t received_ = 0;  // from the client, whatever becomes of it
  uint64_t bytes_ = 0;     // of the message as the client means it
  bool started_ = false;   // the field on top was sent on
  std::string queue_id_;
  absl::Status enqueue_status_;
};

}  // namespace posthouse::ingress
