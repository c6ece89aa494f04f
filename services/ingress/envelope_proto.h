// The envelope of a mail transaction as the queue's proto. Include from .cc files only.
// Threads: stateless.
#pragma once

#include <string>

#include "absl/time/time.h"
#include "posthouse/queue/v1/queue.pb.h"
#include "services/common/ids/ids.h"
#include "services/ingress/envelope.h"

namespace posthouse::ingress {

// Where a message came from.
struct Origin {
  std::string client_address, client_name;
  std::string authenticated_as;  // "" without AUTH, and so is `tenant`
  TenantId tenant;
  std::string traceparent;
};

// One EnvelopeRecipient for each place that the RCPT TOs lead to: spellings, aliases and
// groups that lead to one mailbox and detail, or to one foreign address, are one delivery.
// It has the address and ORCPT of the first RCPT TO, and reports what any of them asks for.
queue::v1::Envelope ToProto(const Envelope& envelope, const Origin& origin);

// The oldest `current_at` of the recipients.
absl::Time ResolvedAt(const Envelope& envelope);

}  // namespace posthouse::ingress
