// ClientTransaction: one mail transaction of an outbound session: MAIL, RCPTs, DATA and the
// message, with PIPELINING or without, and an outcome for each recipient. Part of Client.
//
// Threads: as Client.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "services/common/async/task.h"
#include "services/mail_formats/smtp/capabilities.h"
#include "services/mail_formats/smtp/client.h"
#include "services/mail_formats/smtp/client_channel.h"
#include "services/mail_formats/smtp/data_encoder.h"

namespace posthouse::smtp {

class ClientTransaction {
 public:
  // All but the message outlive this.
  ClientTransaction(ClientChannel& channel, const ClientOptions& options, const Capabilities& capabilities,
                    ClientMessage message)
      : channel_(channel), options_(options), capabilities_(capabilities), message_(std::move(message)) {}

  // Once.
  Task<SendResult> Run();
  // The server accepted MAIL and nothing ended its transaction: a RSET must.
  bool open() const { return open_; }
  // The end of the data was sent.
  bool sent() const { return sent_; }

 private:
  Task<bool> Envelope();
  Task<bool> SendGroup(bool with_mail, size_t end, bool with_data);
  Task<bool> ReadMail(Outcome& mail);
  Task<bool> ReadRecipients(const std::vector<size_t>& asked, bool mail_accepted);
  Task<bool> ReadData();
  Task<void> EndUnwantedData();
  Task<void> Body();
  Task<absl::Status> WriteBody(DataEncoder& encoder, std::string& out);
  Task<void> EndOfData(std::string rest);
  Outcome WithoutReply(const absl::Status& error);
  void SettleRest(const Outcome& outcome);

  ClientChannel& channel_;
  const ClientOptions& options_;
  const Capabilities& capabilities_;
  ClientMessage message_;
  SendResult result_;
  std::vector<size_t> hopeful_;  // accepted at RCPT, without a final result
  size_t asked_ = 0;             // recipients whose RCPT was answered
  bool open_ = false;
  bool sent_ = false;
};

}  // namespace posthouse::smtp
