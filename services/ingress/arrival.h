// Arrival: where a message comes from, for its Received field and its envelope.
// Threads: that of the session. Arrival borrows everything.
#pragma once

#include "services/common/net/connection.h"
#include "services/common/rpc/trace.h"
#include "services/ingress/envelope_proto.h"
#include "services/ingress/message_upload.h"
#include "services/ingress/settings.h"
#include "services/ingress/smtp_dialogue.h"

namespace posthouse::ingress {

// What a session knows when the data of a message begins.
struct Arrival {
  const net::Connection& connection;
  const SmtpDialogue& dialogue;
  const Settings& settings;
  const rpc::TraceContext& trace;
};

// What the upload of the message, and its envelope, need of the arrival.
UploadOptions UploadOptionsOf(const Arrival& arrival, smtp::DataFormat format);
Origin OriginOf(const Arrival& arrival);

}  // namespace posthouse::ingress
