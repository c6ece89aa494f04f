#include "services/queue/dsn/report.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/common/utf8/utf8.h"
#include "services/mail_formats/message/transfer_encoder.h"

namespace posthouse::queue::dsn {
namespace {

// Under the 998 of RFC 5322 §2.1.1 with any field name or indent before the text.
constexpr size_t kFoldAt = 700;
constexpr size_t kMaxText = 4096;

// One line of printable text: control characters become spaces, invalid UTF-8 becomes "?",
// and without `utf8` so do all characters that are not ASCII.
std::string Line(absl::string_view text, bool utf8) {
  std::string line;
  text = text.substr(0, kMaxText);
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    if (length == 1) {
      line.push_back(absl::ascii_iscntrl(static_cast<unsigned char>(text[0])) ? ' ' : text[0]);
    } else if (length > 1 && utf8) {
      line.append(text.data(), length);
    } else {
      line.push_back('?');
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return line;
}

// Breaks a line that is too long, at a space if possible.
std::string Fold(absl::string_view line, absl::string_view indent) {
  std::string folded;
  while (line.size() > kFoldAt) {
    size_t cut = line.rfind(' ', kFoldAt);
    if (cut == absl::string_view::npos || cut < kFoldAt / 2) {
      cut = kFoldAt;
      while (cut > 0 && (static_cast<unsigned char>(line[cut]) & 0xc0) == 0x80) --cut;  // not inside a character
    }
    absl::StrAppend(&folded, line.substr(0, cut), "\r\n", indent);
    line.remove_prefix(cut);
    while (!line.empty() && line[0] == ' ') line.remove_prefix(1);
  }
  absl::StrAppend(&folded, line);
  return folded;
}

std::string Date(absl::Time time) {
  return absl::FormatTime("%a, %d %b %E4Y %H:%M:%S +0000", time, absl::UTCTimeZone());  // RFC 5322 §3.3
}

void Field(std::string* out, absl::string_view name, absl::string_view value) {
  absl::StrAppend(out, Fold(absl::StrCat(name, ": ", value), " "), "\r\n");
}

absl::string_view ActionName(Action action) {
  switch (action) {
    case Action::kFailed:
      return "failed";
    case Action::kDelayed:
      return "delayed";
    case Action::kDelivered:
      return "delivered";
    case Action::kRelayed:
      return "relayed";
  }
  return "failed";
}

// "rfc822; user@example.org", or as RFC 6533 §3 writes what is not ASCII.
std::string TypedAddress(absl::string_view address, bool utf8) {
  if (IsAscii(address)) return absl::StrCat("rfc822; ", Line(address, false));
  return absl::StrCat("utf-8; ", utf8 ? Line(address, true) : ToUtf8AddrXtext(address));
}

std::string OriginalRecipient(const RecipientReport& recipient, bool utf8) {
  const size_t semicolon = recipient.orcpt.find(';');
  if (semicolon == std::string::npos) return TypedAddress(recipient.orcpt, utf8);
  const absl::string_view address = absl::string_view(recipient.orcpt).substr(semicolon + 1);
  if (!IsAscii(address)) return TypedAddress(address, utf8);
  return absl::StrCat(Line(absl::string_view(recipient.orcpt).substr(0, semicolon), false), "; ", Line(address, false));
}

bool Has(const Report& report, Action action) {
  return std::any_of(report.recipients.begin(), report.recipients.end(),
                     [action](const RecipientReport& r) { return r.action == action; });
}

absl::string_view Subject(const Report& report) {
  if (Has(report, Action::kFailed)) return "Undelivered mail: returned to its sender";
  if (Has(report, Action::kDelayed)) return "Delayed mail: delivery will be tried again";
  return "Delivery report: your message arrived";
}

std::string HumanText(const Report& report, bool utf8) {
  std::string text = absl::StrCat("This is the mail system at ", report.hostname, ".\r\n");
  const auto section = [&](Action action, absl::string_view heading) {
    if (!Has(report, action)) return;
    absl::StrAppend(&text, "\r\n", heading, "\r\n");
    for (const RecipientReport& r : report.recipients) {
      if (r.action != action) continue;
      absl::StrAppend(&text, "\r\n  <", Fold(Line(r.final_address, utf8), "    "), ">");
      if (!r.original_address.empty() && r.original_address != r.final_address) {
        absl::StrAppend(&text, "\r\n    for <", Fold(Line(r.original_address, utf8), "    "), ">");
      }
      if (!r.diagnostic.empty()) {
        const std::string said =
            absl::StrCat(r.remote_mta.empty() ? "" : absl::StrCat("Host ", r.remote_mta, " replied: "), r.diagnostic);
        absl::StrAppend(&text, "\r\n    ", Fold(Line(said, utf8), "    "));
      } else if (!r.reason.empty()) {
        absl::StrAppend(&text, "\r\n    ", Fold(Line(r.reason, utf8), "    "));
      }
      if (action == Action::kDelayed && r.retry_until != absl::InfinitePast()) {
        absl::StrAppend(&text, "\r\n    Delivery will be tried until ", Date(r.retry_until), ".");
      }
      absl::StrAppend(&text, "\r\n");
    }
  };
  section(Action::kFailed,
          "Your message could not be delivered to these recipients. Delivery will not be tried again:");
  section(Action::kDelayed,
          "Your message has not been delivered to these recipients yet.\r\nYou need not do anything: delivery will be "
          "tried again.");
  section(Action::kDelivered, "Your message was delivered to these recipients:");
  section(Action::kRelayed, "Your message was relayed for these recipients, to hosts that send no delivery reports:");
  absl::StrAppend(&text, "\r\nThe queue id of your message was ", report.original_queue_id, ".\r\n",
                  report.full ? "Your message is attached." : "The header of your message is attached.", "\r\n");
  return text;
}

// message/delivery-status, RFC 3464 §2: a group for the message, one per recipient.
std::string StatusFields(const Report& report, bool utf8) {
  std::string fields;
  if (!report.envid.empty()) Field(&fields, "Original-Envelope-Id", Line(report.envid, false));
  Field(&fields, "Reporting-MTA", absl::StrCat("dns; ", report.hostname));
  Field(&fields, "Arrival-Date", Date(report.arrival));
  Field(&fields, "X-Posthouse-Queue-Id", report.original_queue_id);
  for (const RecipientReport& r : report.recipients) {
    absl::StrAppend(&fields, "\r\n");
    if (!r.orcpt.empty()) Field(&fields, "Original-Recipient", OriginalRecipient(r, utf8));
    Field(&fields, "Final-Recipient", TypedAddress(r.final_address, utf8));
    Field(&fields, "Action", ActionName(r.action));
    Field(&fields, "Status", r.status);
    if (!r.remote_mta.empty()) Field(&fields, "Remote-MTA", absl::StrCat("dns; ", Line(r.remote_mta, false)));
    if (!r.diagnostic.empty()) {
      Field(&fields, "Diagnostic-Code", absl::StrCat("smtp; ", Line(r.diagnostic, utf8)));
    } else if (!r.reason.empty()) {
      Field(&fields, "Diagnostic-Code", absl::StrCat("X-Posthouse; ", Line(r.reason, utf8)));
    }
    if (r.last_attempt != absl::InfinitePast()) Field(&fields, "Last-Attempt-Date", Date(r.last_attempt));
    if (r.action == Action::kDelayed && r.retry_until != absl::InfinitePast()) {
      Field(&fields, "Will-Retry-Until", Date(r.retry_until));
    }
  }
  return fields;
}

// Longer than RFC 5322 §2.1.1 allows.
bool HasLongLine(absl::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    if (end - at > 998) return true;
    at = end + 1;
  }
  return false;
}

struct ReturnedPart {
  std::string type;
  std::string encoding;  // "7bit" or "8bit" ...
  std::string bytes;
};

// The whole message where the report may carry it, else its header.
ReturnedPart Returned(const Report& report, bool utf8) {
  const absl::string_view header = HeaderOf(report.content);
  const bool ascii_header = IsAscii(header);
  if (report.full && (ascii_header || utf8)) {
    const bool ascii = IsAscii(report.content);
    return {ascii_header ? "message/rfc822" : "message/global", ascii ? "7bit" : "8bit", report.content};
  }
  const bool plain = !HasLongLine(header);
  if (ascii_header && plain) return {"text/rfc822-headers", "7bit", std::string(header)};
  if (utf8 && plain) return {"message/global-headers", "8bit", std::string(header)};
  // A text/* part may be encoded, so every host can carry a raw 8-bit header, or one with
  // overlong lines.
  return {"text/rfc822-headers; charset=utf-8", "quoted-printable", message::EncodeQuotedPrintable(header)};
}

}  // namespace

absl::string_view HeaderOf(absl::string_view bytes) {
  if (absl::StartsWith(bytes, "\r\n")) return bytes.substr(0, 2);
  const size_t end = bytes.find("\r\n\r\n");
  return end == absl::string_view::npos ? bytes : bytes.substr(0, end + 4);
}

std::string ToUtf8AddrXtext(absl::string_view address) {
  std::string out;
  while (!address.empty()) {
    const size_t length = Utf8Length(address);
    const auto at = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(address[i])); };
    uint32_t point = 0xfffd;
    if (length == 1) point = at(0);
    if (length == 2) point = (at(0) & 0x1f) << 6 | (at(1) & 0x3f);
    if (length == 3) point = (at(0) & 0x0f) << 12 | (at(1) & 0x3f) << 6 | (at(2) & 0x3f);
    if (length == 4) point = (at(0) & 7) << 18 | (at(1) & 0x3f) << 12 | (at(2) & 0x3f) << 6 | (at(3) & 0x3f);
    // RFC 6533 §3: "+", "=" and "\\" are encoded too.
    if (point > 0x20 && point < 0x7f && point != '+' && point != '=' && point != '\\') {
      out.push_back(static_cast<char>(point));
    } else {
      absl::StrAppendFormat(&out, "\\x{%02X}", point);
    }
    address.remove_prefix(std::max<size_t>(length, 1));
  }
  return out;
}

Composed Compose(const Report& report) {
  const bool utf8 = !IsAscii(report.to);
  const std::string boundary = absl::StrCat("=_", report.queue_id);
  const ReturnedPart returned = Returned(report, utf8);
  const std::string text = HumanText(report, utf8);
  const std::string status = StatusFields(report, utf8);

  Composed composed;
  composed.smtputf8 = utf8;
  composed.eight_bit = utf8 || returned.encoding == "8bit";
  std::string& out = composed.message;
  Field(&out, "Date", Date(report.now));
  Field(&out, "From", absl::StrCat("Mail Delivery System <MAILER-DAEMON@", report.hostname, ">"));
  Field(&out, "To", absl::StrCat("<", Line(report.to, utf8), ">"));
  Field(&out, "Subject", Subject(report));
  Field(&out, "Message-ID", absl::StrCat("<", report.queue_id, "@", report.hostname, ">"));
  Field(&out, "Auto-Submitted", "auto-replied");  // RFC 3834 §5
  Field(&out, "MIME-Version", "1.0");
  // RFC 6522 §3
  absl::StrAppend(&out, "Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"", boundary,
                  "\"\r\n");
  if (composed.eight_bit) absl::StrAppend(&out, "Content-Transfer-Encoding: 8bit\r\n");
  absl::StrAppend(&out, "\r\nThis is a report in MIME format.\r\n");

  const auto part = [&](absl::string_view type, absl::string_view encoding, absl::string_view description,
                        absl::string_view body) {
    absl::StrAppend(&out, "\r\n--", boundary, "\r\nContent-Description: ", description, "\r\nContent-Type: ", type,
                    "\r\nContent-Transfer-Encoding: ", encoding, "\r\n\r\n");
    absl::StrAppend(&out, body);
  };
  part("text/plain; charset=utf-8", IsAscii(text) ? "7bit" : "8bit", "Notification", text);
  part(utf8 ? "message/global-delivery-status" : "message/delivery-status", IsAscii(status) ? "7bit" : "8bit",
       "Delivery report", status);
  part(returned.type, returned.encoding, report.full ? "Undelivered message" : "Header of the message", returned.bytes);
  absl::StrAppend(&out, "\r\n--", boundary, "--\r\n");
  return composed;
}

}  // namespace posthouse::queue::dsn
