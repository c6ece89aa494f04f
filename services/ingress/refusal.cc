#include "services/ingress/refusal.h"

#include <cstddef>

namespace posthouse::ingress {

const char* StageName(Stage stage) {
  static constexpr const char* kNames[] = {"connect", "auth", "mail", "rcpt", "data", "session"};
  static_assert(sizeof(kNames) / sizeof(kNames[0]) == kStages);
  return kNames[static_cast<size_t>(stage)];
}

const char* ReasonName(Reason reason) {
  static constexpr const char* kNames[] = {
      "limit",
      "address_limit",
      "bad_proxy",
      "tls_handshake",
      "syntax",
      "sequence",
      "unsupported",
      "auth_required",
      "encryption_required",
      "wrong_password",
      "login_denied",
      "login_limit",
      "unavailable",
      "not_own_address",
      "too_large",
      "needs_smtputf8",
      "too_many_recipients",
      "no_such_mailbox",
      "bad_address",
      "relay_denied",
      "suspended",
      "over_quota",
      "no_recipients",
      "loop",
      "bare_line_end",
      "memory",
      "queue_full",
      "queue_refused",
      "max_errors",
      "timeout",
      "too_slow",
      "too_much_data",
      "draining",
      "cut_off",
      "other",
  };
  static_assert(sizeof(kNames) / sizeof(kNames[0]) == kReasons);
  return kNames[static_cast<size_t>(reason)];
}

bool IsOurs(Reason reason) {
  switch (reason) {
    case Reason::kConnectionLimit:
    case Reason::kUnavailable:
    case Reason::kMemory:
    case Reason::kQueueFull:
    case Reason::kQueueRefused:
      return true;
    default:
      return false;
  }
}

}  // namespace posthouse::ingress
