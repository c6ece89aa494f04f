// Refusal: one command, message, login or connection that ingress refused. Plain data.
// Threads: values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace posthouse::ingress {

// What was refused. kSession: the server ended the session. Also a metric label.
enum class Stage { kConnect, kAuth, kMail, kRcpt, kData, kSession };
inline constexpr int kStages = 6;
const char* StageName(Stage stage);  // "rcpt"

// Why. Also a metric label. The first four are the listener's (net::ConnectionRefusal, in its order).
enum class Reason {
  kConnectionLimit,
  kAddressLimit,
  kBadProxy,
  kTlsHandshake,
  kSyntax,
  kSequence,
  kUnsupported,  // a parameter or mechanism that is not offered
  kAuthRequired,
  kEncryptionRequired,
  kWrongPassword,
  kLoginDenied,
  kLoginLimit,   // too many wrong passwords from the address, its network, or for the account
  kUnavailable,  // another service did not answer
  kNotOwnAddress,
  kTooLarge,
  kNeedsSmtpUtf8,
  kTooManyRecipients,
  kNoSuchMailbox,
  kBadAddress,
  kRelayDenied,
  kSuspended,
  kOverQuota,
  kNoRecipients,
  kLoop,
  kBareLineEnd,
  kMemory,  // for messages in transit
  kQueueFull,
  kQueueRefused,
  kMaxErrors,
  kTimeout,
  kTooSlow,
  kTooMuchData,
  kDraining,
  kCutOff,  // the client left in the middle of a message
  kOther,
};
inline constexpr int kConnectReasons = 4;
inline constexpr int kReasons = static_cast<int>(Reason::kOther) + 1;
const char* ReasonName(Reason reason);  // "no_such_mailbox"
// Whether the cause is on our side, so that an operator should look.
bool IsOurs(Reason reason);

struct Refusal {
  absl::Time at;
  Stage stage = Stage::kSession;
  Reason reason = Reason::kOther;
  std::string port;             // PortName()
  std::string client;           // address
  std::string helo;             // argument of EHLO or HELO
  std::string from;             // as in MAIL FROM
  std::vector<std::string> to;  // as in RCPT TO; of a message all of them
  std::string login;            // user name of AUTH, also of a failed one
  std::string reply;            // what the client was told
  std::string error;            // what another service answered, if that is the cause
  uint64_t size_bytes = 0;      // of a message, as far as it was read
  std::string trace_id;
};

}  // namespace posthouse::ingress
