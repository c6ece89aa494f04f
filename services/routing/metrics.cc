#include "services/routing/metrics.h"

#include <algorithm>

namespace posthouse::routing {
namespace {

// Counters of one family, one for each label value.
template <size_t N>
void Fill(metrics::Registry& registry, std::array<metrics::Counter*, N>& counters, const std::string& name,
          const std::string& help, const std::string& label, const std::array<const char*, N>& values) {
  for (size_t i = 0; i < N; ++i) counters[i] = &registry.AddCounter(name, help, {{label, values[i]}});
}

// A value of a newer version counts as the first label, "other".
template <size_t N>
void Count(std::array<metrics::Counter*, N>& counters, size_t value) {
  counters[value < N ? value : 0]->Add();
}

constexpr size_t kTypes = 5;
constexpr std::array<const char*, kTypes> kTypeNames = {"other", "a", "aaaa", "mx", "txt"};
// In the order of dns::QueryEnd.
constexpr std::array<const char*, dns::kQueryEnds> kEndNames = {"noerror", "nxdomain",  "servfail",  "refused",
                                                                "formerr", "no_answer", "no_server", "other"};

size_t TypeIndex(dns::RecordType type) {
  switch (type) {
    case dns::RecordType::kA:
      return 1;
    case dns::RecordType::kAaaa:
      return 2;
    case dns::RecordType::kMx:
      return 3;
    case dns::RecordType::kTxt:
      return 4;
    default:
      return 0;
  }
}

}  // namespace

std::function<void(dns::RecordType, dns::QueryEnd)> DnsAnswerCounter(metrics::Registry& registry) {
  std::array<std::array<metrics::Counter*, dns::kQueryEnds>, kTypes> counters{};
  for (size_t type = 0; type < kTypes; ++type) {
    for (size_t end = 0; end < dns::kQueryEnds; ++end) {
      counters[type][end] = &registry.AddCounter(
          "posthouse_routing_dns_answers_total",
          "Queries that DNS servers got, by type and by response code; no_answer: none in time, no_server: each server "
          "failed, refused or could not be reached.",
          {{"type", kTypeNames[type]}, {"rcode", kEndNames[end]}});
    }
  }
  return [counters](dns::RecordType type, dns::QueryEnd end) {
    counters[TypeIndex(type)][static_cast<size_t>(end)]->Add();
  };
}

Metrics::Metrics(metrics::Registry& r)
    : dns_seconds_(
          r.AddHistogram("posthouse_routing_dns_query_seconds", "Time of a DNS query that the cache did not answer.")),
      directory_stream_(
          r.AddGauge("posthouse_routing_directory_stream", "1 while the directory's change stream is up.")),
      ipv6_(r.AddGauge("posthouse_routing_ipv6_used", "1 while AAAA records are used beside A records.")),
      recipient_cache_(
          r.AddGauge("posthouse_routing_recipient_cache_entries", "Answers of the directory in the cache.")),
      dns_cache_(r.AddGauge("posthouse_routing_dns_cache_entries", "DNS answers in the cache.")) {
  Fill<7>(r, recipients_, "posthouse_routing_recipients_total", "Recipients resolved, by outcome.", "outcome",
          {"other", "accept", "no_such_mailbox", "bad_address", "relay_denied", "suspended", "temporary"});
  Fill<4>(r, recipient_sources_, "posthouse_routing_recipient_answers_total", "Answers of the directory, by source.",
          "source", {"cache", "directory", "stale", "none"});
  Fill<7>(r, destinations_, "posthouse_routing_destinations_total", "Destinations resolved, by outcome.", "outcome",
          {"other", "hosts", "no_such_domain", "null_mx", "loop", "temporary", "private"});
  Fill<5>(r, dns_, "posthouse_routing_dns_queries_total", "DNS queries, by result.", "result",
          {"hit", "answered", "negative", "stale", "failed"});
}

void Metrics::Recipient(v1::ResolveRecipientResponse::Outcome outcome) {
  Count(recipients_, static_cast<size_t>(outcome));
}

void Metrics::RecipientSource(RecipientResolver::Source source) {
  Count(recipient_sources_, static_cast<size_t>(source));
}

void Metrics::Destination(v1::ResolveDestinationResponse::Outcome outcome) {
  Count(destinations_, static_cast<size_t>(outcome));
}

void Metrics::Dns(dns::QueryResult result, absl::Duration took) {
  Count(dns_, static_cast<size_t>(result));
  if (result != dns::QueryResult::kHit) dns_seconds_.Observe(took);
}

void Metrics::CacheSizes(size_t recipients, size_t dns) {
  recipient_cache_.Set(static_cast<double>(recipients));
  dns_cache_.Set(static_cast<double>(dns));
}

}  // namespace posthouse::routing
