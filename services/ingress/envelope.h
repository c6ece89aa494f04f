// Envelope: reverse-path, recipients and parameters of one mail transaction (RFC 5321
// §2.3.1). Plain data without protos; envelope_proto.h converts it.
// Threads: values.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "services/common/ids/ids.h"
#include "services/mail_formats/smtp/params.h"

namespace posthouse::routing::v1 {
class ResolveRecipientResponse;
}

namespace posthouse::ingress {

// The account that has logged in.
struct Login {
  std::string address;  // primary address
  TenantId tenant;
  AccountId account_id;
  std::vector<std::string> may_send_as;  // normalised (NormalizeLocalAddress)
  // What the directory knew at the login, for LiveSessions.
  Home home;
  uint64_t placement_epoch = 0;
  uint64_t credential_revision = 0;
  uint64_t directory_revision = 0;
};

// What a mailbox holds, and its quota; limit 0: none.
struct MailboxUsage {
  uint64_t bytes = 0, limit_bytes = 0;
  uint64_t messages = 0, limit_messages = 0;
};

// What a mailbox takes.
struct MailboxRoom {
  uint64_t max_message_bytes = 0;     // 0: no limit
  std::optional<MailboxUsage> usage;  // when it has a quota and was asked in time
};

// Where the mail for an address goes. It can take a message if one of them can.
struct Places {
  std::vector<MailboxRoom> mailboxes;
  bool others = false;  // also to other systems, or to mailboxes that were not asked
};

// The answer of routing about one address, as the state machine needs it.
struct Resolution {
  enum class Outcome {
    kAccept,
    kNoSuchMailbox,
    kBadAddress,
    kRelayDenied,
    kSuspended,
    kTooDeep,  // aliases are nested too deep to be resolved
    kTooMany,  // aliases lead to too many addresses
    kTemporary
  };
  Outcome outcome = Outcome::kTemporary;
  // The answer is made from the directory as it was at this moment of the monotonic clock, or later.
  absl::Time current_at = absl::InfinitePast();
  uint32_t recipients = 1;  // that it leads to
  Places places;            // of these
  // The account and the subaddress of the only recipient, when that is a mailbox.
  AccountId account_id;
  std::string detail;
  std::shared_ptr<const routing::v1::ResolveRecipientResponse> answer;  // set with kAccept
};

// A recipient that was accepted at RCPT TO.
struct Recipient {
  std::string original;  // as in RCPT TO
  smtp::RcptParameters parameters;
  std::shared_ptr<const routing::v1::ResolveRecipientResponse> answer;
  Places places;                                 // as in Resolution
  absl::Time current_at = absl::InfinitePast();  // as in Resolution
};

struct Envelope {
  std::string reverse_path;  // "": null
  smtp::MailParameters parameters;
  std::vector<Recipient> recipients;
};

}  // namespace posthouse::ingress
