#include "services/ingress/arrival.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/mail_formats/smtp/received.h"

namespace posthouse::ingress {
namespace {

std::string ReceivedField(const Arrival& arrival) {
  const net::Connection& connection = arrival.connection;
  const SmtpDialogue& dialogue = arrival.dialogue;
  smtp::ReceivedInfo info;
  info.client_name = dialogue.client_name();
  info.client_address = connection.peer().address;
  info.by = arrival.settings.hostname;
  info.esmtp = dialogue.esmtp();
  info.tls = connection.tls();
  info.authenticated = dialogue.login().has_value();
  info.smtputf8 = dialogue.envelope().parameters.smtputf8;
  if (info.tls) info.tls_comment = absl::StrCat(connection.tls_info().version, ", ", connection.tls_info().cipher);
  info.id = arrival.trace.trace_id;
  const std::vector<Recipient>& recipients = dialogue.envelope().recipients;
  if (recipients.size() == 1) info.for_address = recipients.front().original;
  info.at = absl::Now();
  return smtp::FormatReceived(info);
}

}  // namespace

UploadOptions UploadOptionsOf(const Arrival& arrival, smtp::DataFormat format) {
  const bool authenticated = arrival.dialogue.login().has_value();
  UploadOptions options;
  options.format = format;
  // Bare CR and LF are repaired in the mail of our own users only (RFC 5321 §2.3.8).
  options.bare_lf = authenticated ? smtp::BareLinePolicy::kNormalize : arrival.settings.bare_lf;
  options.received_field = ReceivedField(arrival);
  if (authenticated) {
    options.completion.emplace();
    options.completion->date = absl::StrCat("Date: ", smtp::FormatDate(absl::Now()), "\r\n");
    options.completion->message_id =
        absl::StrCat("Message-ID: <", arrival.trace.trace_id, "@", arrival.settings.hostname, ">\r\n");
  }
  return options;
}

Origin OriginOf(const Arrival& arrival) {
  const SmtpDialogue& dialogue = arrival.dialogue;
  Origin origin;
  origin.client_address = arrival.connection.peer().address;
  origin.client_name = dialogue.client_name();
  if (dialogue.login().has_value()) {
    origin.authenticated_as = dialogue.login()->address;
    origin.tenant = dialogue.login()->tenant;
  }
  origin.traceparent = arrival.trace.ToHeader();
  return origin;
}

}  // namespace posthouse::ingress
