#include "services/ingress/envelope_proto.h"

#include "posthouse/routing/v1/routing.pb.h"

namespace posthouse::ingress {
namespace {

namespace v1 = ::posthouse::queue::v1;

v1::BodyType ToProto(smtp::Body body) {
  switch (body) {
    case smtp::Body::kEightBitMime:
      return v1::BODY_TYPE_8BITMIME;
    case smtp::Body::kBinaryMime:
      return v1::BODY_TYPE_BINARYMIME;
    case smtp::Body::kSevenBit:
      break;
  }
  return v1::BODY_TYPE_7BIT;
}

v1::Ret ToProto(smtp::Ret ret) {
  if (ret == smtp::Ret::kHeaders) return v1::RET_HDRS;
  return ret == smtp::Ret::kFull ? v1::RET_FULL : v1::RET_UNSPECIFIED;
}

void AddNotify(const smtp::Notify& notify, v1::EnvelopeRecipient* to) {
  if (notify.never) to->add_notify(v1::NOTIFY_NEVER);
  if (notify.success) to->add_notify(v1::NOTIFY_SUCCESS);
  if (notify.failure) to->add_notify(v1::NOTIFY_FAILURE);
  if (notify.delay) to->add_notify(v1::NOTIFY_DELAY);
}

}  // namespace

v1::Envelope ToProto(const Envelope& envelope, const Origin& origin) {
  v1::Envelope out;
  out.set_reverse_path(envelope.reverse_path);
  out.set_body(ToProto(envelope.body));
  out.set_smtputf8(envelope.smtputf8);
  out.set_ret(ToProto(envelope.ret));
  out.set_envid(envelope.envid);
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
      AddNotify(recipient.notify, to);
      to->set_orcpt(recipient.orcpt);
    }
  }
  return out;
}

}  // namespace posthouse::ingress
