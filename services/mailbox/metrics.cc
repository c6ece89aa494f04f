#include "services/mailbox/metrics.h"

namespace posthouse::mailbox {
namespace {

std::array<metrics::Counter*, kDeliveryResults> DeliveryCounters(metrics::Registry& registry) {
  const char* const names[kDeliveryResults] = {"stored",     "duplicate", "over_quota",
                                               "no_account", "temporary", "too_large"};
  std::array<metrics::Counter*, kDeliveryResults> out{};
  for (size_t i = 0; i < kDeliveryResults; ++i) {
    out[i] = &registry.AddCounter("posthouse_mailbox_deliveries_total", "Recipients delivered to, by outcome.",
                                  {{"outcome", names[i]}});
  }
  return out;
}

metrics::Counter& Refused(metrics::Registry& registry, const std::string& reason) {
  return registry.AddCounter("posthouse_mailbox_refused_accounts_total",
                             "Requests for an account that this store does not serve, by reason.",
                             {{"reason", reason}});
}

}  // namespace

Metrics::Metrics(metrics::Registry& r)
    : deliveries(DeliveryCounters(r)),
      appends(r.AddCounter("posthouse_mailbox_appends_total", "Appends by outcome.", {{"outcome", "stored"}})),
      append_duplicates(
          r.AddCounter("posthouse_mailbox_appends_total", "Appends by outcome.", {{"outcome", "duplicate"}})),
      append_failures(r.AddCounter("posthouse_mailbox_appends_total", "Appends by outcome.", {{"outcome", "failed"}})),
      visible_seconds(r.AddHistogram("posthouse_mailbox_accepted_to_visible_seconds",
                                     "From acceptance by the system until the message is in its folder.")),
      group_messages(r.AddHistogram("posthouse_mailbox_append_group_messages", "Messages added by one commit.", {},
                                    {1, 2, 4, 8, 16, 32, 64, 128, 256})),
      expunged(r.AddCounter("posthouse_mailbox_expunged_messages_total", "Messages expunged.")),
      copied(r.AddCounter("posthouse_mailbox_copied_messages_total", "Messages copied or moved.")),
      moves_recovered(r.AddCounter("posthouse_mailbox_moves_recovered_total", "Interrupted moves that were finished.")),
      keywords_dropped(
          r.AddCounter("posthouse_mailbox_keywords_dropped_total",
                       "Keywords that appended or copied messages lost because their folder can have no further one.")),
      fetched(r.AddCounter("posthouse_mailbox_fetched_messages_total", "Messages answered by Fetch.")),
      cache_rebuilds(r.AddCounter("posthouse_mailbox_cache_rebuilds_total",
                                  "Messages parsed again because a cache row was missing.")),
      account_commits(r, "account"),
      folder_commits(r, "folder"),
      swept_blobs(r.AddCounter("posthouse_mailbox_swept_blobs_total", "Bodies deleted because no row named them.")),
      swept_bytes(
          r.AddCounter("posthouse_mailbox_swept_bytes_total", "Bytes of bodies deleted because no row named them.")),
      swept_folders(r.AddCounter("posthouse_mailbox_swept_folders_total", "Partitions of deleted folders dropped.")),
      sweep_seconds(r.AddHistogram("posthouse_mailbox_sweep_seconds", "Duration of a sweep.", {},
                                   {0.01, 0.1, 1, 10, 60, 600, 3600})),
      corrupt_rows(
          r.AddCounter("posthouse_mailbox_corrupt_rows_total", "Rows that do not parse: damage, or a newer version.")),
      damaged_messages(r.AddCounter("posthouse_mailbox_damaged_messages_total",
                                    "Messages that a fetch left out because something of them is damaged.")),
      refused_no_account(Refused(r, "no_account")),
      refused_not_here(Refused(r, "not_here")),
      refused_unknown(Refused(r, "directory_away")),
      erased_accounts(
          r.AddCounter("posthouse_mailbox_erased_accounts_total", "Deleted accounts whose mail was erased.")),
      erasures_pending(r.AddGauge("posthouse_mailbox_erasures_pending",
                                  "Deleted accounts whose grace time is over and whose mail is not erased yet.")),
      hints_sent(r.AddCounter("posthouse_mailbox_hints_sent_total", "Change hints sent to gateways.")),
      watch_streams(r.AddGauge("posthouse_mailbox_watch_streams", "Open Watch streams, one per gateway.")),
      watched_folders(r.AddGauge("posthouse_mailbox_watched_folders", "Folders that a gateway watches.")),
      open_folders(r.AddGauge("posthouse_mailbox_open_folders", "Folders held open.")),
      open_folder_bytes(r.AddGauge("posthouse_mailbox_open_folder_bytes", "Memory of the folders held open.")),
      open_accounts(r.AddGauge("posthouse_mailbox_open_accounts", "Accounts held open.")) {}

}  // namespace posthouse::mailbox
