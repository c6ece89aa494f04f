#include "services/gateway/metrics.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_replace.h"

namespace posthouse::gateway {
namespace {

constexpr const char* kResults[] = {"ok", "wrong", "denied", "limit", "unavailable"};
constexpr const char* kCommandResultNames[] = {"ok", "no", "bad", "unavailable", "lost"};
constexpr const char* kTlsVersions[] = {"TLSv1.2", "TLSv1.3"};
constexpr const char* kImapCommands[] = {
    "CAPABILITY",  "NOOP",      "LOGOUT",     "ID",     "STARTTLS",  "AUTHENTICATE", "LOGIN",       "ENABLE",
    "SELECT",      "EXAMINE",   "CREATE",     "DELETE", "RENAME",    "SUBSCRIBE",    "UNSUBSCRIBE", "LIST",
    "LSUB",        "NAMESPACE", "STATUS",     "APPEND", "CHECK",     "CLOSE",        "UNSELECT",    "EXPUNGE",
    "UID EXPUNGE", "SEARCH",    "UID SEARCH", "FETCH",  "UID FETCH", "STORE",        "UID STORE",   "COPY",
    "UID COPY",    "MOVE",      "UID MOVE",   "IDLE",   "other"};
constexpr const char* kPop3Commands[] = {"CAPA", "USER", "PASS", "AUTH", "STLS", "STAT", "LIST", "RETR",
                                         "DELE", "NOOP", "RSET", "TOP",  "UIDL", "QUIT", "other"};
constexpr const char* kPorts[] = {"imap", "imaps", "pop3", "pop3s"};

// "UID FETCH" of IMAP and "retr" of POP3 alike.
std::string Label(absl::string_view command) {
  return absl::StrReplaceAll(absl::AsciiStrToLower(command), {{" ", "_"}});
}

}  // namespace

Metrics::Metrics(metrics::Registry& registry)
    : idle_woken(registry.AddCounter("posthouse_gateway_idle_wakeups_total",
                                     "Changes reported to IDLE sessions, by what woke them", {{"cause", "hint"}})),
      idle_polled(registry.AddCounter("posthouse_gateway_idle_wakeups_total",
                                      "Changes reported to IDLE sessions, by what woke them", {{"cause", "poll"}})),
      idle_sessions(registry.AddGauge("posthouse_gateway_idle_sessions", "IMAP sessions that are in IDLE now")),
      append_repeats(registry.AddCounter("posthouse_gateway_append_repeats_total",
                                         "APPENDs asked again because the answer of the mailbox was lost")),
      certificate_not_after(registry.AddGauge("posthouse_gateway_certificate_not_after_timestamp_seconds",
                                              "Expiry of the loaded certificate, Unix time")),
      certificate_reload_failures(registry.AddCounter("posthouse_gateway_certificate_reload_failures_total",
                                                      "Changed certificate files that could not be loaded")) {
  for (size_t i = 0; i < ports_.size(); ++i) {
    ports_[i].open =
        &registry.AddGauge("posthouse_gateway_open_connections", "Connections open now", {{"port", kPorts[i]}});
    ports_[i].refused =
        &registry.AddCounter("posthouse_gateway_refused_connections_total",
                             "Connections that the listener has refused since it started", {{"port", kPorts[i]}});
  }
  const auto fill = [&registry](PerProtocol& metrics, const std::string& protocol) {
    metrics.sessions = &registry.AddGauge("posthouse_gateway_sessions", "Open sessions", {{"protocol", protocol}});
    metrics.in = &registry.AddCounter("posthouse_gateway_received_bytes_total", "Bytes from clients, decrypted",
                                      {{"protocol", protocol}});
    metrics.out = &registry.AddCounter("posthouse_gateway_sent_bytes_total", "Bytes to clients, before encryption",
                                       {{"protocol", protocol}});
    for (size_t i = 0; i < metrics.tls.size(); ++i) {
      metrics.tls[i] =
          &registry.AddCounter("posthouse_gateway_tls_connections_total", "Connections encrypted, by version of TLS",
                               {{"protocol", protocol}, {"version", kTlsVersions[i]}});
    }
    for (size_t i = 0; i < metrics.logins.size(); ++i) {
      metrics.logins[i] = &registry.AddCounter("posthouse_gateway_logins_total", "Login attempts by result",
                                               {{"protocol", protocol}, {"result", kResults[i]}});
    }
  };
  const auto add = [&registry](PerProtocol& metrics, const std::string& protocol, const char* name) {
    const std::string label = Label(name);
    PerCommand& command = metrics.commands[label];
    command.seconds =
        &registry.AddHistogram("posthouse_gateway_command_seconds", "Time from the complete command to its reply",
                               {{"protocol", protocol}, {"command", label}});
    for (size_t i = 0; i < kCommandResults; ++i) {
      command.results[i] =
          &registry.AddCounter("posthouse_gateway_commands_total", "Commands by result, for the client",
                               {{"protocol", protocol}, {"command", label}, {"result", kCommandResultNames[i]}});
    }
  };
  fill(imap_, "imap");
  fill(pop3_, "pop3");
  for (const char* name : kImapCommands) add(imap_, "imap", name);
  for (const char* name : kPop3Commands) add(pop3_, "pop3", name);
}

void Metrics::Connections(size_t port, size_t open, uint64_t refused) {
  ports_.at(port).open->Set(static_cast<double>(open));
  ports_.at(port).refused->RaiseTo(static_cast<double>(refused));
}

void Metrics::Login(absl::string_view protocol, LoginResult result) {
  Of(protocol).logins[static_cast<size_t>(result)]->Add();
}
metrics::Gauge& Metrics::Sessions(absl::string_view protocol) { return *Of(protocol).sessions; }
void Metrics::BytesIn(absl::string_view protocol, size_t bytes) { Of(protocol).in->Add(static_cast<double>(bytes)); }
void Metrics::BytesOut(absl::string_view protocol, size_t bytes) { Of(protocol).out->Add(static_cast<double>(bytes)); }

void Metrics::TlsStarted(absl::string_view protocol, absl::string_view version) {
  Of(protocol).tls[version == kTlsVersions[0] ? 0 : 1]->Add();
}

void Metrics::Command(absl::string_view protocol, absl::string_view command, CommandResult result, absl::Duration took,
                      absl::string_view trace_id) {
  const auto& commands = Of(protocol).commands;
  auto it = commands.find(Label(command));
  if (it == commands.end()) it = commands.find("other");
  it->second.seconds->Observe(took, trace_id);
  it->second.results[static_cast<size_t>(result)]->Add();
}

}  // namespace posthouse::gateway
