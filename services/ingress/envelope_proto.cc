#include "services/ingress/envelope_proto.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "posthouse/routing/v1/routing.pb.h"
#include "services/mail_formats/smtp/envelope_proto.h"

namespace posthouse::ingress {
namespace v1 = ::posthouse::queue::v1;

namespace {

// The place where a message for `recipient` ends up.
std::string PlaceOf(const routing::v1::Recipient& recipient) {
  const absl::string_view nul("\0", 1);
  if (recipient.has_local() && !recipient.local().account().account_id().empty()) {
    return absl::StrCat("local", nul, recipient.local().account().account_id(), nul, recipient.local().detail());
  }
  // RFC 5321 §2.4: a foreign host alone may fold its local parts; domains are equal in any case.
  const absl::string_view address = recipient.address();
  const size_t at = address.rfind('@');
  if (at == absl::string_view::npos) return std::string(address);
  return absl::StrCat("remote", nul, address.substr(0, at), nul, absl::AsciiStrToLower(address.substr(at)));
}

// Reports what either asks for. Not given means failure and delay (RFC 3461 §4.1).
smtp::Notify Either(const smtp::Notify& a, const smtp::Notify& b) {
  if (a == b || b.never) return a;
  if (a.never) return b;
  smtp::Notify both;
  both.success = a.success || b.success;
  both.failure = a.failure || b.failure || !a.given() || !b.given();
  both.delay = a.delay || b.delay || !a.given() || !b.given();
  return both;
}

void Merge(const smtp::RcptParameters& parameters, v1::EnvelopeRecipient* to) {
  smtp::RcptParameters merged = smtp::FromProto(*to);
  merged.notify = Either(merged.notify, parameters.notify);
  smtp::ToProto(merged, to);
}

}  // namespace

v1::Envelope ToProto(const Envelope& envelope, const Origin& origin) {
  v1::Envelope out;
  out.set_reverse_path(envelope.reverse_path);
  smtp::ToProto(envelope.parameters, &out);
  out.set_tenant(origin.tenant.value());
  out.set_authenticated_as(origin.authenticated_as);
  out.set_client_address(origin.client_address);
  out.set_client_name(origin.client_name);
  out.set_traceparent(origin.traceparent);
  absl::flat_hash_map<std::string, int> places;  // index of its recipient in `out`
  for (const Recipient& recipient : envelope.recipients) {
    if (out.tenant().empty()) out.set_tenant(recipient.answer->tenant());
    for (const routing::v1::Recipient& resolved : recipient.answer->recipients()) {
      const auto [place, is_new] = places.emplace(PlaceOf(resolved), out.recipients_size());
      if (!is_new) {
        Merge(recipient.parameters, out.mutable_recipients(place->second));
        continue;
      }
      v1::EnvelopeRecipient* const to = out.add_recipients();
      to->set_address(resolved.address());
      to->set_original(recipient.original);
      *to->mutable_resolved() = resolved;
      smtp::ToProto(recipient.parameters, to);
    }
  }
  return out;
}

absl::Time ResolvedAt(const Envelope& envelope) {
  absl::Time oldest = absl::InfiniteFuture();
  for (const Recipient& recipient : envelope.recipients) oldest = std::min(oldest, recipient.current_at);
  return oldest;
}

}  // namespace posthouse::ingress
