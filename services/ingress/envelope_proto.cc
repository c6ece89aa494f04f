#include "services/ingress/envelope_proto.h"

#include "posthouse/routing/v1/routing.pb.h"
#include "services/mail_formats/smtp/envelope_proto.h"

namespace posthouse::ingress {
namespace v1 = ::posthouse::queue::v1;

v1::Envelope ToProto(const Envelope& envelope, const Origin& origin) {
  v1::Envelope out;
  out.set_reverse_path(envelope.reverse_path);
  smtp::ToProto(envelope.parameters, &out);
  out.set_tenant(origin.tenant);
  out.set_authenticated_as(origin.authenticated_as);
  out.set_client_address(origin.client_address);
  out.set_client_name(origin.client_name);
  out.set_traceparent(origin.traceparent);
  for (const Recipient& recipient : envelope.recipients) {
    if (out.tenant().empty()) out.set_tenant(recipient.answer->tenant());
    for (const routing::v1::Recipient& resolved : recipient.answer->recipients()) {
      v1::EnvelopeRecipient* const to = out.add_recipients();
      to->set_address(resolved.address());
      to->set_original(recipient.original);
      *to->mutable_resolved() = resolved;
      smtp::ToProto(recipient.parameters, to);
    }
  }
  return out;
}

}  // namespace posthouse::ingress
