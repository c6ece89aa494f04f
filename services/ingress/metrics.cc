#include "services/ingress/metrics.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace posthouse::ingress {
namespace {

// The pairs that occur. Registered at the start, so that each series begins at zero.
const std::pair<Stage, std::vector<Reason>> kRefused[] = {
    {Stage::kConnect,
     {Reason::kConnectionLimit, Reason::kAddressLimit, Reason::kBadProxy, Reason::kTlsHandshake, Reason::kOther}},
    {Stage::kAuth,
     {Reason::kSyntax, Reason::kSequence, Reason::kUnsupported, Reason::kEncryptionRequired, Reason::kWrongPassword,
      Reason::kLoginDenied, Reason::kLoginLimit, Reason::kUnavailable, Reason::kOther}},
    {Stage::kMail,
     {Reason::kSyntax, Reason::kSequence, Reason::kUnsupported, Reason::kAuthRequired, Reason::kTooLarge,
      Reason::kNotOwnAddress, Reason::kUnavailable, Reason::kOther}},
    {Stage::kRcpt,
     {Reason::kSyntax, Reason::kSequence, Reason::kAuthRequired, Reason::kNeedsSmtpUtf8, Reason::kTooManyRecipients,
      Reason::kNoSuchMailbox, Reason::kBadAddress, Reason::kRelayDenied, Reason::kSuspended, Reason::kUnavailable,
      Reason::kTooLarge, Reason::kOverQuota, Reason::kLoop, Reason::kOther}},
    {Stage::kData,
     {Reason::kSyntax, Reason::kSequence, Reason::kAuthRequired, Reason::kNoRecipients, Reason::kTooLarge,
      Reason::kLoop, Reason::kBareLineEnd, Reason::kOverQuota, Reason::kMemory, Reason::kQueueFull,
      Reason::kQueueRefused, Reason::kUnavailable, Reason::kCutOff, Reason::kOther}},
    {Stage::kSession,
     {Reason::kMaxErrors, Reason::kTimeout, Reason::kTooSlow, Reason::kTooMuchData, Reason::kDraining,
      Reason::kUnsupported, Reason::kOther}},
};

}  // namespace

const char* PortName(Port port) {
  static constexpr const char* kNames[] = {"mx", "submission", "submissions"};
  return kNames[static_cast<size_t>(port)];
}

Metrics::Metrics(metrics::Registry& r)
    : accept_seconds(r.AddHistogram("posthouse_ingress_accept_seconds",
                                    "Time from the end of data to the reply, of accepted messages.")),
      resolve_seconds(
          r.AddHistogram("posthouse_ingress_resolve_seconds", "Time to resolve one recipient, cache hits included.")),
      message_size(r.AddHistogram("posthouse_ingress_message_size_bytes", "Sizes of accepted messages.", {},
                                  {1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864})),
      message_bytes(r.AddCounter("posthouse_ingress_message_bytes_total", "Bytes of accepted messages.")),
      recipients(r.AddCounter("posthouse_ingress_recipients_total", "Recipients of accepted messages.")),
      tls_started(
          r.AddCounter("posthouse_ingress_starttls_total", "STARTTLS handshakes by result.", {{"result", "ok"}})),
      tls_failed(
          r.AddCounter("posthouse_ingress_starttls_total", "STARTTLS handshakes by result.", {{"result", "failed"}})),
      message_memory(r.AddGauge("posthouse_ingress_message_memory_bytes",
                                "Memory for messages in transit, of ingress.message_memory_bytes.")),
      certificate_not_after(r.AddGauge("posthouse_ingress_certificate_not_after_timestamp_seconds",
                                       "Expiry of the first certificate in use to expire, Unix time; 0 without one.")),
      certificate_reload_failures(r.AddCounter("posthouse_ingress_certificate_reload_failures_total",
                                               "Changed certificate files that could not be loaded.")) {
  for (const Port port : {Port::kMx, Port::kSubmission, Port::kSubmissions}) {
    const metrics::Labels labels = {{"port", PortName(port)}};
    connections_[Index(port)] = &r.AddCounter("posthouse_ingress_connections_total", "Sessions started.", labels);
    open_[Index(port)] = &r.AddGauge("posthouse_ingress_open_connections", "Connections open now.", labels);
    for (size_t why = 0; why < kConnectReasons; ++why) {
      refused_connections_[Index(port)][why] = &r.AddCounter(
          "posthouse_ingress_refused_connections_total", "Connections refused before their session started, by reason.",
          {{"port", PortName(port)}, {"reason", ReasonName(static_cast<Reason>(why))}});
    }
  }
  for (const auto& [stage, reasons] : kRefused) {
    for (const Reason reason : reasons) {
      refused_[static_cast<size_t>(stage)][static_cast<size_t>(reason)] = &r.AddCounter(
          "posthouse_ingress_refused_total",
          "What was refused, by the stage of the session and by reason; some senders are refused rightly.",
          {{"stage", StageName(stage)}, {"reason", ReasonName(reason)}});
    }
  }
  for (int verb = 0; verb < smtp::kVerbs; ++verb) {
    const std::string name = absl::AsciiStrToLower(smtp::VerbName(static_cast<smtp::Verb>(verb)));
    commands_[static_cast<size_t>(verb)] =
        &r.AddCounter("posthouse_ingress_commands_total", "Commands by verb.", {{"verb", name}});
  }
  for (int digit = 2; digit <= 5; ++digit) {
    replies_[static_cast<size_t>(digit)] =
        &r.AddCounter("posthouse_ingress_replies_total", "Replies by class.", {{"class", absl::StrCat(digit, "yz")}});
  }
  static constexpr const char* kTlsVersions[] = {"TLSv1.2", "TLSv1.3"};
  for (size_t i = 0; i < tls_sessions_.size(); ++i) {
    tls_sessions_[i] = &r.AddCounter("posthouse_ingress_tls_sessions_total", "Sessions encrypted, by version of TLS.",
                                     {{"version", kTlsVersions[i]}});
  }
  static constexpr const char* kEnds[] = {"accepted", "refused", "deferred", "cut_off"};
  for (size_t i = 0; i < messages_.size(); ++i) {
    messages_[i] = &r.AddCounter("posthouse_ingress_messages_total", "Messages by outcome.", {{"result", kEnds[i]}});
  }
  const auto login = [&](const char* result) {
    return &r.AddCounter("posthouse_ingress_logins_total", "AUTH commands by result.", {{"result", result}});
  };
  login_ok_ = login("ok");
  login_wrong_ = login("wrong");
  login_denied_ = login("denied");
  login_unavailable_ = login("unavailable");
}

metrics::Counter& Metrics::Refused(Stage stage, Reason reason) {
  const auto& counters = refused_[static_cast<size_t>(stage)];
  metrics::Counter* const counter = counters[static_cast<size_t>(reason)];
  return counter != nullptr ? *counter : *counters[static_cast<size_t>(Reason::kOther)];
}

metrics::Counter& Metrics::Logins(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return *login_ok_;
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kInvalidArgument:
      return *login_wrong_;
    case absl::StatusCode::kPermissionDenied:
      return *login_denied_;
    default:
      return *login_unavailable_;
  }
}

}  // namespace posthouse::ingress
