// Every metric of ingress, posthouse_ingress_*. Threads: any.
#pragma once

#include <array>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "services/common/metrics/metrics.h"
#include "services/ingress/refusal.h"
#include "services/mail_formats/smtp/command.h"

namespace posthouse::ingress {

// The three listeners; also a metric label.
enum class Port { kMx, kSubmission, kSubmissions };
inline constexpr int kPorts = 3;
const char* PortName(Port port);  // "mx", "submission", "submissions"

// The outcome of a message. kCutOff: it was not read to its end.
enum class MessageEnd { kAccepted, kRefused, kDeferred, kCutOff };

class Metrics {
 public:
  explicit Metrics(metrics::Registry& registry);

  metrics::Counter& Connections(Port port) { return *connections_[Index(port)]; }
  metrics::Gauge& OpenConnections(Port port) { return *open_[Index(port)]; }
  // `why`: one of the listener's reasons.
  metrics::Counter& RefusedConnections(Port port, Reason why) {
    return *refused_connections_[Index(port)][static_cast<size_t>(why)];
  }
  // A pair that no code uses today counts as kOther of the stage.
  metrics::Counter& Refused(Stage stage, Reason reason);
  metrics::Counter& Command(smtp::Verb verb) { return *commands_[static_cast<size_t>(verb)]; }
  metrics::Counter& Replies(int first_digit) { return *replies_[static_cast<size_t>(first_digit)]; }
  metrics::Counter& Messages(MessageEnd end) { return *messages_[static_cast<size_t>(end)]; }
  metrics::Counter& Logins(absl::StatusCode code);
  // Sessions that are encrypted from now on, by TLS of `version` ("TLSv1.3").
  metrics::Counter& TlsSessions(absl::string_view version) { return *tls_sessions_[version == "TLSv1.2" ? 0 : 1]; }

  // From the end of data to the reply: the time that a sender waits.
  metrics::Histogram& accept_seconds;
  metrics::Histogram& resolve_seconds;
  metrics::Histogram& message_size;  // of accepted messages
  metrics::Counter& message_bytes;
  metrics::Counter& recipients;
  metrics::Counter& tls_started;
  metrics::Counter& tls_failed;
  metrics::Gauge& message_memory;
  metrics::Gauge& certificate_not_after;
  metrics::Counter& certificate_reload_failures;

 private:
  static size_t Index(Port port) { return static_cast<size_t>(port); }
  std::array<metrics::Counter*, kPorts> connections_{};
  std::array<metrics::Gauge*, kPorts> open_{};
  std::array<std::array<metrics::Counter*, kConnectReasons>, kPorts> refused_connections_{};
  std::array<std::array<metrics::Counter*, kReasons>, kStages> refused_{};
  std::array<metrics::Counter*, smtp::kVerbs> commands_{};
  std::array<metrics::Counter*, 6> replies_{};
  std::array<metrics::Counter*, 4> messages_{};
  std::array<metrics::Counter*, 2> tls_sessions_{};
  metrics::Counter* login_ok_ = nullptr;
  metrics::Counter* login_wrong_ = nullptr;
  metrics::Counter* login_denied_ = nullptr;
  metrics::Counter* login_unavailable_ = nullptr;
};

}  // namespace posthouse::ingress
