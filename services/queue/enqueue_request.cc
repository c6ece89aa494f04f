#include "services/queue/enqueue_request.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "services/mail_formats/smtp/params.h"

namespace posthouse::queue {
namespace {

constexpr auto kMaxRecipients = static_cast<int>(smtp::kMaxEnvelopeRecipients);
constexpr size_t kMaxAddress = 1000;  // RFC 5321 §4.5.3.1.3: 256; UTF-8 and quoting need more
constexpr size_t kMaxText = 1000;
constexpr size_t kMaxMessageId = 500;
constexpr size_t kMaxEnvelope = 2 * 1024 * 1024;  // fits into one commit with any recipients

// Text for header fields and logs: it must not begin a new line.
bool IsClean(absl::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
}

absl::Status CheckText(absl::string_view field, absl::string_view text, size_t max) {
  if (text.size() > max) return absl::InvalidArgumentError(absl::StrCat(field, " is longer than ", max, " bytes"));
  if (!IsClean(text)) return absl::InvalidArgumentError(absl::StrCat(field, " has CR, LF or NUL"));
  return absl::OkStatus();
}

absl::Status CheckRecipient(const v1::EnvelopeRecipient& recipient) {
  if (recipient.address().empty()) return absl::InvalidArgumentError("a recipient has no address");
  const auto& local = recipient.resolved().local();
  const std::pair<absl::string_view, absl::string_view> kTexts[] = {
      {"recipient address", recipient.address()},
      {"original recipient", recipient.original()},
      {"ORCPT", recipient.orcpt()},
      {"resolved address", recipient.resolved().address()},
      {"remote domain", recipient.resolved().remote().domain()},
      {"account id", local.account().account_id()},
      {"tenant", local.account().tenant()},
      {"home", local.account().home()},
      {"detail", local.detail()},
  };
  for (const auto& [field, text] : kTexts) {
    const absl::Status status = CheckText(field, text, kMaxAddress);
    if (!status.ok()) return status;
  }
  if (recipient.resolved().has_remote() && recipient.resolved().remote().domain().empty()) {
    return absl::InvalidArgumentError("a remote recipient has no domain");
  }
  if (recipient.notify_size() > 4) return absl::InvalidArgumentError("too many NOTIFY values");
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckHeader(const v1::EnqueueRequest::Header& header) {
  const v1::Envelope& envelope = header.envelope();
  if (header.idempotency_key().size() > 64)
    return absl::InvalidArgumentError("idempotency_key is longer than 64 bytes");
  if (envelope.recipients().empty()) return absl::InvalidArgumentError("no recipients");
  if (envelope.recipients_size() > kMaxRecipients) {
    return absl::OutOfRangeError(absl::StrCat("more than ", kMaxRecipients, " recipients"));
  }
  const std::pair<absl::string_view, absl::string_view> kTexts[] = {
      {"reverse_path", envelope.reverse_path()},
      {"envid", envelope.envid()},
      {"tenant", envelope.tenant()},
      {"authenticated_as", envelope.authenticated_as()},
      {"client_address", envelope.client_address()},
      {"client_name", envelope.client_name()},
      {"traceparent", envelope.traceparent()},
  };
  for (const auto& [field, text] : kTexts) {
    const absl::Status status = CheckText(field, text, kMaxText);
    if (!status.ok()) return status;
  }
  for (const v1::EnvelopeRecipient& recipient : envelope.recipients()) {
    const absl::Status status = CheckRecipient(recipient);
    if (!status.ok()) return status;
  }
  if (envelope.recipients_size() > 100 && envelope.ByteSizeLong() > kMaxEnvelope) {
    return absl::OutOfRangeError("the envelope is larger than 2 MiB");
  }
  return absl::OkStatus();
}

std::shared_ptr<ItemRecord> NewItemRecord(v1::EnqueueRequest::Header* header, absl::Time now,
                                          absl::Duration expire_after) {
  auto record = std::make_shared<ItemRecord>();
  record->idempotency_key = std::move(*header->mutable_idempotency_key());
  v1::Item& item = record->item;
  v1::Envelope* envelope = header->mutable_envelope();
  ToProto(now, item.mutable_accepted());
  ToProto(now + expire_after, item.mutable_expires());
  for (v1::EnvelopeRecipient& from : *envelope->mutable_recipients()) {
    v1::ItemRecipient* recipient = item.add_recipients();
    *recipient->mutable_recipient() = std::move(from);
    recipient->set_state(v1::RECIPIENT_STATE_QUEUED);
    *recipient->mutable_next_attempt() = item.accepted();
  }
  envelope->clear_recipients();
  *item.mutable_envelope() = std::move(*envelope);
  *item.mutable_next_attempt() = item.accepted();
  return record;
}

std::string MessageIdOf(absl::string_view bytes) {
  constexpr absl::string_view kName = "message-id:";
  size_t at = 0;
  while (at < bytes.size()) {
    const size_t end = std::min(bytes.find('\n', at), bytes.size());
    const absl::string_view line = absl::StripSuffix(bytes.substr(at, end - at), "\r");
    at = end + 1;
    if (line.empty()) break;  // the header ends
    if (line.size() < kName.size() || !absl::EqualsIgnoreCase(line.substr(0, kName.size()), kName)) continue;
    std::string value(line.substr(kName.size()));
    // Folded behind the colon (RFC 5322 §2.2.3).
    while (at < bytes.size() && (bytes[at] == ' ' || bytes[at] == '\t') && value.size() < kMaxMessageId) {
      const size_t next = std::min(bytes.find('\n', at), bytes.size());
      const absl::string_view more = bytes.substr(at, next - at);
      absl::StrAppend(&value, absl::StripSuffix(more, "\r"));
      at = next + 1;
    }
    std::string id(absl::StripAsciiWhitespace(value));
    if (id.size() > kMaxMessageId) id.resize(kMaxMessageId);
    id.erase(
        std::remove_if(id.begin(), id.end(), [](char c) { return absl::ascii_iscntrl(static_cast<unsigned char>(c)); }),
        id.end());
    // The proto field is a `string`, and a Message-ID is ASCII (RFC 5322 §3.6.4).
    for (char& c : id) c = (static_cast<unsigned char>(c) & 0x80) != 0 ? '?' : c;
    return id;
  }
  return "";
}

}  // namespace posthouse::queue
