#include "services/mail_formats/smtp/envelope_proto.h"

namespace posthouse::smtp {
namespace {

namespace v1 = ::posthouse::queue::v1;

// Each pair of values once, for both directions. The first row is also what an
// unknown value means.
constexpr struct {
  Body body;
  v1::BodyType proto;
} kBodies[] = {
    {Body::kSevenBit, v1::BODY_TYPE_7BIT},
    {Body::kEightBitMime, v1::BODY_TYPE_8BITMIME},
    {Body::kBinaryMime, v1::BODY_TYPE_BINARYMIME},
};
constexpr struct {
  Ret ret;
  v1::Ret proto;
} kRets[] = {
    {Ret::kUnset, v1::RET_UNSPECIFIED},
    {Ret::kHeaders, v1::RET_HDRS},
    {Ret::kFull, v1::RET_FULL},
};
constexpr struct {
  bool Notify::* flag;
  v1::Notify proto;
} kNotify[] = {
    {&Notify::never, v1::NOTIFY_NEVER},
    {&Notify::success, v1::NOTIFY_SUCCESS},
    {&Notify::failure, v1::NOTIFY_FAILURE},
    {&Notify::delay, v1::NOTIFY_DELAY},
};

}  // namespace

void ToProto(const MailParameters& parameters, v1::Envelope* out) {
  for (const auto& row : kBodies) {
    if (row.body == parameters.body) out->set_body(row.proto);
  }
  for (const auto& row : kRets) {
    if (row.ret == parameters.ret) out->set_ret(row.proto);
  }
  out->set_smtputf8(parameters.smtputf8);
  out->set_envid(parameters.envid);
}

MailParameters FromProto(const v1::Envelope& envelope) {
  MailParameters parameters;
  for (const auto& row : kBodies) {
    if (row.proto == envelope.body()) parameters.body = row.body;
  }
  for (const auto& row : kRets) {
    if (row.proto == envelope.ret()) parameters.ret = row.ret;
  }
  parameters.smtputf8 = envelope.smtputf8();
  parameters.envid = envelope.envid();
  return parameters;
}

void ToProto(const RcptParameters& parameters, v1::EnvelopeRecipient* out) {
  out->clear_notify();
  for (const auto& row : kNotify) {
    if (parameters.notify.*row.flag) out->add_notify(row.proto);
  }
  out->set_orcpt(parameters.orcpt.ToString());
}

RcptParameters FromProto(const v1::EnvelopeRecipient& recipient) {
  RcptParameters parameters;
  for (const int value : recipient.notify()) {
    for (const auto& row : kNotify) {
      if (row.proto == value) parameters.notify.*row.flag = true;
    }
  }
  parameters.orcpt = Orcpt::FromString(recipient.orcpt());
  return parameters;
}

}  // namespace posthouse::smtp
