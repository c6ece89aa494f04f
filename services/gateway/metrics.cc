#include "services/gateway/metrics.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_replace.h"

namespace posthouse::gateway {
namespace {

constexpr const char* kResults[] = {"ok", "wrong", "denied", "limit", "unavailable"};
constexpr const char* kImapCommands[] = {
    "CAPABILITY", "NOOP",   "LOGOUT",    "ID",          "STARTTLS",  "AUTHENTICATE", "LOGIN",  "ENABLE",     "SELECT",
    "EXAMINE",    "CREATE", "DELETE",    "RENAME",      "SUBSCRIBE", "UNSUBSCRIBE",  "LIST",   "LSUB",       "NAMESPACE",
    "STATUS",     "APPEND", "CHECK",     "CLOSE",       "UNSELECT",  "EXPUNGE",      "UID EXPUNGE", "SEARCH", "UID SEARCH",
    "FETCH",      "UID FETCH", "STORE",  "UID STORE",   "COPY",      "UID COPY",     "MOVE",   "UID MOVE",   "IDLE", "other"};
constexpr const char* kPop3Commands[] = {"CAPA", "USER", "PASS", "AUTH", "STLS", "STAT", "LIST", "RETR", "DELE",
                                         "NOOP", "RSET", "TOP",  "UIDL", "QUIT", "UTF8", "LANG", "other"};

}  // namespace

Metrics::Metrics(metrics::Registry& registry)
    : idle_woken(registry.AddCounter("posthouse_gateway_idle_wakeups_total", "IDLE sessions told of changes",
                                     {{"cause", "hint"}})),
      idle_polled(registry.AddCounter("posthouse_gateway_idle_wakeups_total", "IDLE sessions told of changes",
                                      {{"cause", "poll"}})) {
  const auto fill = [&registry](PerProtocol& metrics, const std::string& protocol) {
    metrics.sessions = &registry.AddGauge("posthouse_gateway_sessions", "Open sessions", {{"protocol", protocol}});
    metrics.in = &registry.AddCounter("posthouse_gateway_received_bytes_total", "Bytes from clients, decrypted",
                                      {{"protocol", protocol}});
    metrics.out = &registry.AddCounter("posthouse_gateway_sent_bytes_total", "Bytes to clients, before encryption",
                                       {{"protocol", protocol}});
    for (size_t i = 0; i < metrics.logins.size(); ++i) {
      metrics.logins[i] = &registry.AddCounter("posthouse_gateway_logins_total", "Login attempts by result",
                                               {{"protocol", protocol}, {"result", kResults[i]}});
    }
  };
  const auto command = [&registry](PerProtocol& metrics, const std::string& protocol, const char* name) {
    const std::string label = absl::StrReplaceAll(absl::AsciiStrToLower(name), {{" ", "_"}});
    metrics.commands[name] = &registry.AddHistogram("posthouse_gateway_command_seconds",
                                                    "From a whole command to its tagged reply",
                                                    {{"protocol", protocol}, {"command", label}});
  };
  fill(imap_, "imap");
  fill(pop3_, "pop3");
  for (const char* name : kImapCommands) command(imap_, "imap", name);
  for (const char* name : kPop3Commands) command(pop3_, "pop3", name);
}

void Metrics::Login(absl::string_view protocol, LoginResult result) {
  Of(protocol).logins[static_cast<size_t>(result)]->Add();
}
metrics::Gauge& Metrics::Sessions(absl::string_view protocol) { return *Of(protocol).sessions; }
void Metrics::BytesIn(absl::string_view protocol, size_t bytes) { Of(protocol).in->Add(static_cast<double>(bytes)); }
void Metrics::BytesOut(absl::string_view protocol, size_t bytes) { Of(protocol).out->Add(static_cast<double>(bytes)); }

void Metrics::Command(absl::string_view protocol, absl::string_view command, absl::Duration took) {
  const auto& commands = Of(protocol).commands;
  auto it = commands.find(std::string(command));
  if (it == commands.end()) it = commands.find("other");
  it->second->Observe(took);
}

}  // namespace posthouse::gateway
