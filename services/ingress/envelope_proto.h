// The envelope of a mail transaction as the queue's proto. Include from .cc files only.
#pragma once

#include <string>

#include "posthouse/queue/v1/queue.pb.h"
#include "services/ingress/envelope.h"

namespace posthouse::ingress {

// Where a message came from.
struct Origin {
  std::string client_address, client_name;
  std::string authenticated_as, tenant;  // "" without AUTH
  std::string traceparent;
};

// One EnvelopeRecipient for each address that a RCPT TO led to.
queue::v1::Envelope ToProto(const Envelope& envelope, const Origin& origin);

}  // namespace posthouse::ingress
