// Every metric of the gateway, posthouse_gateway_*. Threads: any.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/common/metrics/metrics.h"

namespace posthouse::gateway {

enum class LoginResult { kOk, kWrong, kDenied, kLimit, kUnavailable };
// How a command ended, for the client. kUnavailable: NO [UNAVAILABLE], -ERR [SYS/TEMP] and other faults of ours; kLost:
// the connection broke while the command ran.
enum class CommandResult { kOk, kNo, kBad, kUnavailable, kLost };
inline constexpr size_t kCommandResults = 5;

class Metrics {
 public:
  explicit Metrics(metrics::Registry& registry);

  void Login(absl::string_view protocol, LoginResult result);
  // `protocol`: "imap" or "pop3".
  metrics::Gauge& Sessions(absl::string_view protocol);
  void BytesIn(absl::string_view protocol, size_t bytes);
  void BytesOut(absl::string_view protocol, size_t bytes);
  // `command` in any case; an unknown one counts as "other".
  // `trace_id`: of the session.
  void Command(absl::string_view protocol, absl::string_view command, CommandResult result, absl::Duration took,
               absl::string_view trace_id = "");
  // A connection that is encrypted from now on, by TLS of `version` ("TLSv1.3").
  void TlsStarted(absl::string_view protocol, absl::string_view version);
  // IMAP sessions in IDLE that reported changes after a hint, or after the poll that replaces a lost hint.
  metrics::Counter& idle_woken;
  metrics::Counter& idle_polled;
  // IMAP sessions that are in IDLE now.
  metrics::Gauge& idle_sessions;
  // APPENDs whose answer from the mailbox was lost, so that they were asked again.
  metrics::Counter& append_repeats;
  metrics::Gauge& certificate_not_after;
  metrics::Counter& certificate_reload_failures;
  // `port`: 0 to 3 for imap, imaps, pop3, pop3s.
  void Connections(size_t port, size_t open, uint64_t refused);

 private:
  struct PerCommand {
    metrics::Histogram* seconds = nullptr;
    std::array<metrics::Counter*, kCommandResults> results{};
  };
  struct PerProtocol {
    std::array<metrics::Counter*, 5> logins{};
    metrics::Gauge* sessions = nullptr;
    metrics::Counter* in = nullptr;
    metrics::Counter* out = nullptr;
    std::array<metrics::Counter*, 2> tls{};
    absl::flat_hash_map<std::string, PerCommand> commands;
  };
  PerProtocol& Of(absl::string_view protocol) { return protocol == "pop3" ? pop3_ : imap_; }

  struct PerPort {
    metrics::Gauge* open = nullptr;
    metrics::Counter* refused = nullptr;
  };
  PerProtocol imap_;
  PerProtocol pop3_;
  std::array<PerPort, 4> ports_;
};

}  // namespace posthouse::gateway
